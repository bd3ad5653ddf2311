# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whose memory the frames are, and that nobody writes to it while a consumer has it."""

import time

import numpy as np
import pytest

from support.pipeline import SINK, SOURCE, Pipeline, PipelineError
from support.processes import memory_inodes, wait_until
from support.session import Session

pytestmark = pytest.mark.usefixtures("runtime")

# Downstream may hold fewer frames than the game has buffers to spare: all pass through.
FEW = f"{SOURCE} max-buffers=2 ! {SINK}"
# Takes each frame at once, and keeps the newest only.
NEWEST = f"{SOURCE} ! {SINK} max-buffers=1 drop=true"


def test_frames_are_the_games_own_memory(game, backend):
    command, report = game(backend, "--rate", 60, "--buffers", 4)
    with Session(*command) as session, Pipeline(FEW) as pipeline:
        pipeline.settled()
        before = pipeline.stats()
        owner = report.pid if backend == "wayland" else session.xwayland()
        seen = set()
        for _ in range(60):
            frame = pipeline.pull()
            assert frame.check().intact
            seen.add(frame.inode)
            del frame
        assert seen <= memory_inodes(owner)
        after = pipeline.stats()
        assert after["passed-through"] - before["passed-through"] >= 60
        assert after["composed"] == before["composed"] and after["copied"] == before["copied"]


def test_each_buffer_is_imported_once(game, backend):
    command, _ = game(backend, "--rate", 0, "--buffers", 3)
    with Session(*command, options=("-r", "120")), Pipeline() as pipeline:
        inodes = set()
        for _ in range(120):
            frame = pipeline.pull()
            inodes.add(frame.inode)
            del frame
        # Ours may be imported too, before the game shows its first frame.
        assert len(inodes) <= pipeline.stats()["imports"] <= len(inodes) + 4


# The compositor lends all of a game's buffers but one. When the game shows that one, its picture is
# copied and the buffer goes back at once, so that the game draws on however long others are held.
@pytest.mark.parametrize("backend, buffers", [
    ("wayland", 2), ("wayland", 3), ("wayland", 5), ("x11", 2), ("x11", 3), ("x11", 4)])
def test_held_frames_never_change_and_the_game_goes_on(game, backend, buffers):
    command, report = game(backend, "--rate", 120, "--buffers", buffers)
    with Session(*command, options=("-r", "120")), Pipeline() as pipeline:
        pipeline.numbered()
        held = [pipeline.pull(10) for _ in range(4)]
        checks = [frame.check() for frame in held]
        assert all(check.intact for check in checks)
        shown = report.frames()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert [frame.check() for frame in held] == checks
        painted = report.frames() - shown
        assert painted > 30, "the game was starved while its frames were held"
        del held
        # And it flows on when they are let go.
        last = checks[-1].number
        pipeline.pull_until(lambda frame: frame.number > last + painted, "newer frames")
        starved = [event["starved_ns"] for event in report.events("release")]
        assert max(starved, default=0) < 1_000_000_000


def test_a_consumer_that_takes_no_more_frames_does_not_stop_the_game(game):
    command, report = game("wayland", "--vsync", "--buffers", 2)
    with Session(*command), Pipeline(f"{SOURCE} max-buffers=2 ! {SINK}") as pipeline:
        held = pipeline.numbered()
        check = held.check()
        shown = report.frames()
        report.wait_for("frame", timeout=10, number=shown + 30)
        assert held.check() == check
        del held
        pipeline.pull()
        pipeline.pull_until(lambda frame: frame.number >= shown + 30, "the newest frame")
        assert pipeline.stats()["dropped"] > 0


def test_memory_outlives_the_pipeline(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command):
        with Pipeline() as pipeline:
            frame = pipeline.pull_until(lambda frame: frame.check().intact, "a whole frame")
        # The pages are the game's, which may write to them now; they stay mapped all the same.
        assert frame.image().shape == (360, 640, 4)
    assert frame.image().shape == (360, 640, 4)


def test_memory_that_cant_be_sealed_is_copied(game):
    command, report = game("wayland", "--rate", 60, "--pool", "unsealable")
    with Session(*command), Pipeline() as pipeline:
        pipeline.numbered()
        frames = [pipeline.pull() for _ in range(3)]
        assert all(frame.check().intact for frame in frames)
        assert not {frame.inode for frame in frames} & memory_inodes(report.pid)
        stats = pipeline.stats()
        assert stats["copied"] >= 4 and stats["passed-through"] == 0


def test_buffers_that_share_a_file_pass_through(game):
    command, report = game("wayland", "--rate", 60, "--shared-pool", "--buffers", 4)
    with Session(*command), Pipeline(FEW) as pipeline:
        pipeline.settled()
        before = pipeline.stats()
        numbers = []
        for _ in range(30):
            frame = pipeline.pull()
            check = frame.check()
            assert check.intact and frame.inode in memory_inodes(report.pid)
            numbers.append(check.number)
            del frame
        assert numbers == sorted(set(numbers))
        assert pipeline.stats()["copied"] == before["copied"]


def test_a_format_with_alpha_comes_without(game):
    command, _ = game("wayland", "--rate", 60, "--argb", "--buffers", 4)
    with Session(*command), Pipeline(FEW) as pipeline:
        frame = pipeline.settled()
        assert frame.structure.get_value("format") == "BGRx" and frame.check().intact


def test_two_captures_see_the_same_frames(game):
    command, _ = game("wayland", "--rate", 60, "--buffers", 4)
    with Session(*command), Pipeline(NEWEST) as one, Pipeline(NEWEST) as two:
        seen = [{}, {}]
        one.numbered()
        two.numbered()
        for _ in range(40):
            for pipeline, numbers in zip((one, two), seen):
                frame = pipeline.pull()
                assert frame.check().intact
                numbers[frame.number] = frame.inode, frame.reference_time
                del frame
        common = seen[0].keys() & seen[1].keys()
        assert len(common) >= 10
        assert all(seen[0][number] == seen[1][number] for number in common)


def test_a_slow_capture_does_not_hold_a_fast_one_up(game):
    command, _ = game("wayland", "--rate", 60, "--buffers", 3)
    with Session(*command), Pipeline() as slow, Pipeline() as fast:
        held = [slow.numbered()]
        check = held[0].check()
        start = fast.numbered().number
        fast.pull_until(lambda frame: frame.number > start + 60, "frames for the fast one", 10)
        assert held[0].check() == check


def test_embedding_the_cursor_costs_a_composed_frame_and_hiding_it_none(game, backend):
    command, report = game(backend, "--rate", 60, "--cursor", "arrow")
    with Session(*command) as session, session.client() as client, Pipeline() as pipeline:
        client.wait_for_window(backend=backend)
        pipeline.numbered()
        pipeline.move(400, 200)
        report.wait_for("pointer_focus", focused=True)
        pipeline.move(401, 201)
        report.wait_for("motion")
        time.sleep(0.2)  # for the game to set its cursor
        pipeline.pull_until(lambda frame: frame.check().intact, "the game alone")
        hidden = pipeline.stats()
        for _ in range(10):
            assert pipeline.pull().check().intact
        assert pipeline.stats()["composed"] == hidden["composed"]

        pipeline.source.set_property("cursor", "embedded")
        shown = pipeline.pull_until(lambda frame: frame.number and not frame.check().intact,
                                    "the cursor")
        wrong = np.argwhere((shown.image()[:, :, :3] != shown.image()[300, 600, :3]).any(axis=2))
        rows, columns = wrong[(wrong[:, 0] >= 64) | (wrong[:, 1] >= 136)].T
        assert 195 <= rows.min() and rows.max() <= 240
        assert 395 <= columns.min() and columns.max() <= 440
        assert pipeline.stats()["composed"] > hidden["composed"]

        pipeline.source.set_property("cursor", "hidden")
        pipeline.pull_until(lambda frame: frame.check().intact, "the game alone again")


def test_zero_copy_is_refused_with_the_reason(game):
    command, _ = game("wayland", "--rate", 60, "--pool", "unsealable")
    with Session(*command), Pipeline(f"{SOURCE} zero-copy=require ! {SINK}") as pipeline:
        text = pipeline.error()
        assert "zero-copy=require" in text and "\n" not in text and "shrinking" in text
    command, _ = game("wayland", "--rate", 60, "--size", "320x180", "--fixed-size")
    with Session(*command), Pipeline(f"{SOURCE} zero-copy=require ! {SINK}") as pipeline:
        text = pipeline.error()
        assert "zero-copy=require" in text and "\n" not in text and "size" in text


@pytest.mark.parametrize("backend", ["x11", "wayland"])
def test_zero_copy_can_be_required_and_had(game, backend):
    command, _ = game(backend, "--rate", 60, "--buffers", 4)
    with (Session(*command),
          Pipeline(f"{SOURCE} zero-copy=require max-buffers=2 ! {SINK}") as pipeline):
        for _ in range(30):
            try:
                assert pipeline.pull().number
            except PipelineError as error:
                pytest.fail(str(error))
        stats = pipeline.stats()
        assert stats["passed-through"] == stats["frames"]


def test_copies_on_request_leave_the_game_its_buffers(game):
    command, report = game("wayland", "--rate", 120, "--buffers", 2)
    with (Session(*command, options=("-r", "120")),
          Pipeline(f"{SOURCE} zero-copy=off ! {SINK}") as pipeline):
        pipeline.numbered()
        held = [pipeline.pull() for _ in range(10)]
        checks = [frame.check() for frame in held]
        shown = report.frames()
        wait_until(lambda: report.frames() > shown + 60, "frames of the game")
        assert [frame.check() for frame in held] == checks
        stats = pipeline.stats()
        assert stats["copied"] == stats["frames"] and stats["passed-through"] == 0


def test_the_statistics_add_up(game):
    command, _ = game("wayland", "--rate", 50, "--dialog-after", 0.5, "--second-for", 0.5,
                      "--exit-after", 2)
    with Session(*command), Pipeline(f"{SOURCE} ! video/x-raw,framerate=100/1 ! "
                                     f"{SINK}") as pipeline:
        count = pipeline.drain()
        stats = pipeline.stats()
    assert stats["frames"] == count
    assert count == sum(stats[name] for name in ("passed-through", "composed", "copied",
                                                 "repeated"))
    assert stats["composed"] > 5 and stats["passed-through"] > 20 and stats["repeated"] > 20


@pytest.mark.parametrize("backend", ["x11", "wayland"])
def test_frames_of_a_fast_game_come_in_order_and_whole(game, backend):
    command, _ = game(backend, "--rate", 0, "--buffers", 4, "--paint", "full")
    with Session(*command, options=("-r", "0"), size="320x180"), Pipeline() as pipeline:
        last = pipeline.numbered().number
        gaps = 0
        for _ in range(1000):
            frame = pipeline.pull()
            check = frame.check()
            del frame
            assert check.intact, f"frame {check.number} has {check.wrong_pixels} wrong pixels"
            assert check.number > last
            gaps += check.number - last - 1
            last = check.number
        if backend == "wayland":
            # What did not come was counted; what is still under way may be counted already.
            assert gaps <= pipeline.stats()["dropped"]
