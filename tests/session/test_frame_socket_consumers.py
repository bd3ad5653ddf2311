# SPDX-License-Identifier: LGPL-2.1-or-later
"""The frame socket, and what becomes of consumers that break, stand still or lie."""

import contextlib
import fcntl
import os
import runpy
import select
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stepscope import FrameSocket, SessionLost, StepscopeError
from stepscope import frame_wire as wire
from support.frame_sink import FAST, PATTERN, Raw, Sink, frames_of
from support.pipeline import Pipeline, errors_of, launch
from support.processes import wait_until
from support.session import Session

pytestmark = pytest.mark.usefixtures("runtime")
MAKE_VECTORS = Path(__file__).parent.parent / "data/make_frame_socket_vectors.py"


def test_a_killed_consumer_gives_back_what_it_held():
    with Sink(FAST, "wait=credits consumer-timeout=0") as sink:
        script = ("from stepscope import FrameSocket; import sys, time\n"
                  f"s = FrameSocket('{sink.path}', credits=8)\n"
                  "held = [s.next() for _ in range(8)]\nprint('held', flush=True)\n"
                  "time.sleep(100)")
        with FrameSocket(sink.path, credits=2, name="good") as good:
            with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as hog:
                # Both get every frame, so this one has to take some meanwhile.
                while not select.select([hog.stdout], [], [], 0)[0]:
                    with contextlib.suppress(TimeoutError):
                        good.next(0.1).release()
                with pytest.raises(TimeoutError):
                    for _ in range(5):
                        good.next(0.5).release()
                hog.kill()
            numbers = frames_of(good, 200)
            assert numbers == list(range(numbers[0], numbers[0] + 200))
        sink.wait_log("consumer-disconnected.*closed the connection")


def test_a_killed_sink_is_noticed_and_its_socket_taken_over(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command) as session:
        with Sink("wlscreencopysrc") as sink, FrameSocket(sink.path) as consumer:
            consumer.next().release()
            sink.kill()
            with pytest.raises(SessionLost, match="went away"):
                for frame in consumer:
                    assert frame.number
            assert sink.path.exists(), "nobody was left to remove the socket"
            with Sink("wlscreencopysrc") as again:
                with FrameSocket(again.path, wait=10) as consumer:
                    consumer.next().release()
        assert session.process.poll() is None


def test_a_slow_consumer_keeps_nobody_for_ever():
    with Sink(FAST, "wait=credits consumer-timeout=300") as sink:
        with Raw(sink.path) as slow, FrameSocket(sink.path, name="good") as good:
            slow.hello(credits=3)
            frames_of(good, 50)
            failure = slow.failure()
            assert failure.code == 7 and "300 ms" in failure.text
            frames_of(good, 50)
        sink.wait_log("consumer-disconnected.*kept the others waiting")


def test_a_consumer_that_never_reads_is_left_behind():
    with Sink(PATTERN.replace("200/1", "1000/1")) as sink, Raw(sink.path) as mute:
        mute.hello(credits=250)
        with FrameSocket(sink.path, name="good") as good:
            frames_of(good, 300)
            memory = sink.resident_kib()
            for _ in range(20):
                for _ in range(40):
                    mute.socket.settimeout(1)
                    try:
                        mute.send(wire.given_input(99))  # each is refused with a message
                    except (BrokenPipeError, ConnectionResetError, TimeoutError):
                        break
                frames_of(good, 20)
            sink.wait_log("consumer-disconnected.*does not read")
            assert sink.resident_kib() < memory + 100_000
            frames_of(good, 50)


@pytest.mark.parametrize("what, data, code, text", [
    ("garbage", bytes(range(64)), 1, "message"),
    ("half a hello", wire.hello(0, 15, 0, "x")[:24], 1, "size"),
    ("no hello", wire.credits(1), 5, "hello"),
    ("a future version", wire.hello(0, 15, 0, "x", (2, 7)), 2, "speaks version 1"),
    ("two hellos", wire.hello(0, 15, 0, "x") * 2, 5, "twice"),
    ("a release of nothing", wire.hello(0, 15, 0, "x") + wire.release(7), 5, "does not hold"),
    ("too many credits", wire.hello(0, 15, 200, "x") + wire.credits(200), 5, "256 together"),
], ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "")
def test_who_breaks_the_rules_is_told_why_and_hurts_nobody(what, data, code, text):
    with Sink() as sink, FrameSocket(sink.path) as good:
        frames_of(good, 5)
        with Raw(sink.path) as bad:
            bad.send(data)
            failure = bad.failure()
            assert failure.code == code and text in failure.text, what
            assert not bad.receive(), "the connection goes on"
        frames_of(good, 20)
        sink.wait_log("consumer-(refused|disconnected)")


def test_who_says_nothing_is_not_waited_for():
    with Sink() as sink, Raw(sink.path) as mute, FrameSocket(sink.path) as good:
        frames_of(good, 20)
        assert mute.failure().code == 5
        frames_of(good, 20)


def test_unknown_messages_are_skipped():
    unknown = wire.HEADER.pack(0x7fff, 0, 24) + bytes(16)
    with Sink() as sink, Raw(sink.path) as consumer:
        consumer.send(unknown + wire.hello(0, 15, 1, "from the future", (1, 9)) + unknown)
        assert isinstance(consumer.receive()[0], wire.Welcome)


def test_a_thousand_connections_leave_nothing():
    # On a busy machine many come before the sink has seen the first of them go.
    with Sink(options="max-consumers=256") as sink, FrameSocket(sink.path) as good:
        frames_of(good, 5)
        before = sink.descriptors()
        for number in range(1000):
            with Raw(sink.path) as guest:
                if number % 2:
                    guest.hello(credits=4)
            if number % 100 == 0:
                frames_of(good, 1)
        frames_of(good, 20)
        wait_until(lambda: sink.descriptors()[0] <= before[0], f"as few as before: {before}")
        # While many hold pictures there are more of them, which stay for the next ones.
        assert sink.descriptors()[1] <= before[1] + 100
        frames_of(good, 5)


def test_more_consumers_than_allowed_are_turned_away():
    with Sink(options="max-consumers=1") as sink, FrameSocket(sink.path) as good:
        frames_of(good, 2)
        with pytest.raises(SessionLost, match="max-consumers"):
            FrameSocket(sink.path)
        frames_of(good, 2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_refused():
    with Sink() as sink:
        # What the file system would refuse already is opened, so that the check itself is seen.
        os.chmod(sink.path, 0o666)
        for folder in (sink.path.parent, *sink.path.parent.parents):
            if folder.stat().st_mode & 0o001 == 0:
                os.chmod(folder, 0o711)
        script = ("import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); "
                  f"s.connect('{sink.path}'); print(s.recv(4096))")
        done = subprocess.run([sys.executable, "-c", script], user=65534, group=65534,
                              extra_groups=[], capture_output=True, text=True, check=False,
                              env={"PATH": os.environ["PATH"]}, cwd="/")
        assert "belongs to user 65534" in done.stdout, done.stderr
        sink.wait_log("consumer-refused.*belongs to user 65534")


def test_socket_paths_that_cant_be(tmp_path):
    with Sink() as sink:
        source = "videotestsrc num-buffers=5 ! video/x-raw,format=BGRx ! fencesink"
        for path, text in ((sink.path, "in use"), (f"/tmp/{'x' * 200}", "205 bytes"),
                           (tmp_path / "none/frames", "there is no folder")):
            done = launch(f"{source} socket-path={path}")
            assert done.returncode != 0 and text in "".join(errors_of(done.stderr)), done.stderr
        assert "socket-path" in launch(source).stderr
        notes = sink.path.with_name("notes")
        notes.write_text("mine")
        assert "no socket" in launch(f"{source} socket-path={notes}").stderr
        assert notes.read_text() == "mine"
        notes.unlink()
    missing = launch(f"fencesrc socket-path={sink.path} ! fakesink").stderr
    assert "No such file" in missing and "is a pipeline with fencesink running?" in missing


def test_an_inherited_connection():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with Pipeline(f"{PATTERN} ! fencesink fd={theirs.fileno()}"):
        theirs.close()
        with FrameSocket(connection=ours) as consumer:
            assert len(frames_of(consumer, 10)) == 10


@pytest.mark.parametrize("seals", [fcntl.F_SEAL_SHRINK, 0])
def test_memory_that_can_shrink_is_not_read(seals):
    say = SimpleNamespace(**runpy.run_path(str(MAKE_VECTORS)))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    memory = os.memfd_create("frames", os.MFD_ALLOW_SEALING)
    os.pwrite(memory, bytes(range(64)), 0)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)
    theirs.send(say.welcome(1, 0, 1, 0, 256, os.getpid()) + say.stream(width=4, height=4))
    socket.send_fds(theirs, [say.slot(7, 1, [(0, 16, 0)], [64])], [memory])
    theirs.send(say.frame(1, 7))
    with theirs, FrameSocket(connection=ours) as consumer, consumer.next() as frame:
        if seals:
            assert frame.pixels.tobytes() == bytes(range(64))
        else:
            with pytest.raises(StepscopeError, match="not sealed against shrinking"):
                frame.pixels.sum()
    os.close(memory)
