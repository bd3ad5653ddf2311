# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that lie about their memory get a protocol error, or their picture is copied. Neither the
session, nor its consumer, nor the game beside them notices anything."""

import os
import re
import signal
import time
from pathlib import Path

import programs
import pytest

from stepscope.errors import SessionLost
from support.hostile import POOL_DESTROY, POOL_RESIZE, HostileClient
from support.pipeline import SINK, SOURCE, Pipeline
from support.processes import is_alive
from support.session import HEIGHT, WIDTH, Session

pytestmark = pytest.mark.usefixtures("runtime")

STRIDE = WIDTH * 4
SIZE = STRIDE * HEIGHT


@pytest.fixture
def stage(game):
    """A session with a healthy game, and a consumer of it."""
    command, report = game("wayland", "--rate", 60, "--buffers", 4)
    with Session(*command) as session, Pipeline(f"{SOURCE} max-buffers=2 ! {SINK}") as pipeline:
        pipeline.settled()
        yield session, pipeline, report
        check_unharmed(session, pipeline, report)


def check_unharmed(session: Session, pipeline: Pipeline, report) -> None:
    """The game is shown again, whole, and has drawn on."""
    assert session.process.poll() is None
    assert is_alive(report.pid)
    drawn = report.frames()
    frame = pipeline.pull_until(lambda frame: frame.number and frame.number > drawn,
                                "pictures of the game beside it")
    assert frame.check().intact
    pipeline.raise_errors()


def watch(pipeline: Pipeline, seconds: float = 0.3) -> None:
    """Reads every pixel of what is shown for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        frame = pipeline.sink.emit("try-pull-sample", 50_000_000)
        if frame:
            buffer = frame.get_buffer()
            buffer.extract_dup(0, buffer.get_size())
        del frame
    pipeline.raise_errors()


# What wl_shm forbids: width, height, stride, offset, format of the buffer in a pool of one picture.
FORBIDDEN = {
    "a stride shorter than a row": (WIDTH, HEIGHT, STRIDE - 4, 0, 1),
    "no stride": (WIDTH, HEIGHT, 0, 0, 1),
    "a stride below zero": (WIDTH, HEIGHT, -STRIDE, 0, 1),
    "a picture longer than the pool": (WIDTH, HEIGHT + 1, STRIDE, 0, 1),
    "an offset that leaves too little": (WIDTH, HEIGHT, STRIDE, 4, 1),
    "an offset below zero": (WIDTH, HEIGHT, STRIDE, -4, 1),
    "an offset beyond all": (WIDTH, HEIGHT, STRIDE, 0x7FFFFFFF, 1),
    "a width of zero": (0, HEIGHT, STRIDE, 0, 1),
    "a width below zero": (-WIDTH, HEIGHT, STRIDE, 0, 1),
    "a huge height": (WIDTH, 0x7FFFFFFF, STRIDE, 0, 1),
    "a huge stride": (WIDTH, HEIGHT, 0x7FFFFFFC, 0, 1),
    "an unknown format": (WIDTH, HEIGHT, STRIDE, 0, 0x12345678),
}


@pytest.mark.parametrize("lie", FORBIDDEN)
def test_a_buffer_that_can_not_be_is_a_protocol_error(stage, lie):
    session, pipeline, _ = stage
    width, height, stride, offset, layout = FORBIDDEN[lie]
    with HostileClient(session) as client:
        client.map_window()
        pool = client.pool(client.memory(SIZE), SIZE)
        buffer = client.buffer(pool, width, height, stride, offset, layout)
        client.show(buffer, width, height)
        with pytest.raises(SessionLost):
            client.roundtrip()
        assert client.error
    watch(pipeline, 0.1)


@pytest.mark.parametrize("kind, size", [("pipe", SIZE), ("memfd", 0), ("memfd", -1)])
def test_a_pool_that_can_not_be_is_a_protocol_error(stage, kind, size):
    session, _, _ = stage
    with HostileClient(session) as client:
        client.pool(client.memory(SIZE, kind=kind), size)
        with pytest.raises(SessionLost):
            client.roundtrip()


def test_a_pool_without_a_descriptor(stage):
    session, _, _ = stage
    with HostileClient(session) as client:
        client.pool(-1, SIZE)
        with pytest.raises(SessionLost):
            client.roundtrip()


@pytest.mark.parametrize("sealable", [True, False])
@pytest.mark.parametrize("real", [0, 4096, SIZE - 1])
def test_a_pool_larger_than_its_file(stage, sealable, real):
    """Reading it would be a SIGBUS: it is never handed out. The compositor reads it under guard."""
    session, pipeline, _ = stage
    before = pipeline.stats()["passed-through"]
    with HostileClient(session) as client:
        client.map_window()
        pool = client.pool(client.memory(real, sealable), SIZE)
        try:
            client.show(client.buffer(pool, WIDTH, HEIGHT, STRIDE), WIDTH, HEIGHT)
            client.roundtrip()
            watch(pipeline)
            client.roundtrip()
        except SessionLost:
            assert client.error
    assert pipeline.stats()["passed-through"] >= before


@pytest.mark.parametrize("sealable", [True, False])
def test_a_pool_that_shrinks_while_it_is_shown(stage, sealable):
    """A sealed one can not shrink. One that can not be sealed is copied."""
    session, pipeline, _ = stage
    with HostileClient(session) as client:
        client.map_window()
        fd = client.memory(SIZE, sealable)
        os.pwrite(fd, b"\x55" * SIZE, 0)
        buffer = client.buffer(client.pool(fd, SIZE), WIDTH, HEIGHT, STRIDE)
        client.show(buffer, WIDTH, HEIGHT)
        client.roundtrip()
        frame = pipeline.pull_until(
            lambda frame: bytes(frame.image()[HEIGHT - 1, WIDTH - 1][:3]) == b"\x55" * 3,
            "the hostile client's picture")
        shared = frame.inode == os.fstat(fd).st_ino
        assert shared == sealable
        try:
            os.ftruncate(fd, 0)
            shrunk = True
        except PermissionError:
            shrunk = False
        assert shrunk != sealable
        # What the consumer has stays readable; what the compositor reads now is gone.
        assert bytes(frame.image()[HEIGHT - 1, WIDTH - 1][:3]) == b"\x55" * 3
        try:
            for _ in range(3):
                client.show(buffer, WIDTH, HEIGHT)
                client.roundtrip()
                watch(pipeline, 0.1)
        except SessionLost:
            assert shrunk and client.error
        assert frame.image().shape == (HEIGHT, WIDTH, 4)


def test_a_pool_that_shrinks_all_the_time(stage):
    """Between the compositor's look at the file and its reading: whatever the order, nobody dies."""
    session, pipeline, _ = stage
    for _ in range(20):
        with HostileClient(session) as client:
            client.map_window()
            fd = client.memory(SIZE, sealable=False)
            buffer = client.buffer(client.pool(fd, SIZE), WIDTH, HEIGHT, STRIDE)
            try:
                for _ in range(10):
                    os.ftruncate(fd, SIZE)
                    client.show(buffer, WIDTH, HEIGHT)
                    client.flush()
                    os.ftruncate(fd, 0)
                client.roundtrip()
            except SessionLost:
                assert client.error
        watch(pipeline, 0.02)


def test_a_pool_resized_beyond_its_file(stage):
    session, pipeline, _ = stage
    with HostileClient(session) as client:
        client.map_window()
        pool = client.pool(client.memory(SIZE, sealable=False), SIZE)
        client.send(pool, POOL_RESIZE, (64 * SIZE).to_bytes(4, "little"))
        try:
            buffer = client.buffer(pool, WIDTH, HEIGHT, STRIDE, 32 * SIZE)
            client.show(buffer, WIDTH, HEIGHT)
            client.roundtrip()
            watch(pipeline)
            client.roundtrip()
        except SessionLost:
            assert client.error


def test_a_pool_that_is_destroyed_under_its_buffer(stage):
    """Allowed: the buffer keeps the memory. So does the frame that a consumer has of it."""
    session, pipeline, _ = stage
    with HostileClient(session) as client:
        client.map_window()
        fd = client.memory(SIZE)
        os.pwrite(fd, b"\x33" * SIZE, 0)
        pool = client.pool(fd, SIZE)
        buffer = client.buffer(pool, WIDTH, HEIGHT, STRIDE)
        client.send(pool, POOL_DESTROY)
        client.show(buffer, WIDTH, HEIGHT)
        client.roundtrip()
        frame = pipeline.pull_until(lambda frame: bytes(frame.image()[0, 0][:3]) == b"\x33" * 3,
                                    "the picture")
        client.send(buffer, 0)  # wl_buffer.destroy
        client.roundtrip()
    watch(pipeline)
    assert bytes(frame.image()[HEIGHT - 1, WIDTH - 1][:3]) == b"\x33" * 3


def test_memory_sealed_against_writing_passes(stage):
    """Odd but harmless: the game itself can not write to it any more."""
    import fcntl

    session, pipeline, _ = stage
    with HostileClient(session) as client:
        client.map_window()
        fd = client.memory(SIZE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        try:
            client.show(client.buffer(client.pool(fd, SIZE), WIDTH, HEIGHT, STRIDE), WIDTH, HEIGHT)
            client.roundtrip()
            watch(pipeline)
        except SessionLost:
            assert client.error


# --- with the sanitizers ---------------------------------------------------------------------------

COMPLAINT = re.compile(r"Sanitizer|runtime error:")


@pytest.fixture
def sanitized_stage(game, monkeypatch):
    """The same of the compositor that was built with ASan and UBSan, which must not complain."""
    build = os.environ.get("STEPSCOPE_SANITIZED_BUILD")
    if not build:
        pytest.skip("no build with the sanitizers; `./run test` makes one")
    for name, value in programs.SANITIZER_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    command, report = game("wayland", "--rate", 60, "--buffers", 4)
    program = Path(build) / "compositor/stepscope"
    with Session(*command, program=program) as session:
        with Pipeline(f"{SOURCE} max-buffers=2 ! {SINK}") as pipeline:
            pipeline.settled()
            yield session, pipeline, report
            check_unharmed(session, pipeline, report)
        session.end()
        complaints = [line for line in session.output().splitlines() if COMPLAINT.search(line)]
        assert not complaints
        assert session.process.returncode == 128 + signal.SIGTERM


def test_lies_under_the_sanitizers(sanitized_stage):
    """One session for all of them: starting one is what takes long."""
    for lie in FORBIDDEN:
        test_a_buffer_that_can_not_be_is_a_protocol_error(sanitized_stage, lie)
    for kind, size in (("pipe", SIZE), ("memfd", 0), ("memfd", -1)):
        test_a_pool_that_can_not_be_is_a_protocol_error(sanitized_stage, kind, size)
    test_a_pool_without_a_descriptor(sanitized_stage)
    for sealable in (True, False):
        for real in (0, 4096, SIZE - 1):
            test_a_pool_larger_than_its_file(sanitized_stage, sealable, real)
        test_a_pool_that_shrinks_while_it_is_shown(sanitized_stage, sealable)
    test_a_pool_that_shrinks_all_the_time(sanitized_stage)
    test_a_pool_resized_beyond_its_file(sanitized_stage)
    test_a_pool_that_is_destroyed_under_its_buffer(sanitized_stage)
    test_memory_sealed_against_writing_passes(sanitized_stage)
