# SPDX-License-Identifier: LGPL-2.1-or-later
"""A frame that a consumer holds does not change, whatever carries it through the pipeline."""

import os
import signal
import time
import zlib
from collections import deque

import pytest

from support.pipeline import SINK, SOURCE, Frame, Gst, Pipeline
from support.session import Session

pytestmark = pytest.mark.usefixtures("runtime")

# So many as CI has time for; docs/benchmarks.md says what the full number gave.
FRAMES = int(os.environ.get("STEPSCOPE_CONTRACT_FRAMES", "5000"))
SMALL = "160x80"


def checksum(frame: Frame) -> int:
    with frame.buffer.map(Gst.MapFlags.READ) as info:
        return zlib.crc32(info.data)


def test_three_held_frames_never_change(game):
    """As fast as the game can draw; each frame is summed up when it comes and before it is let go,
    when three newer ones have come."""
    signal.alarm(max(200, FRAMES // 20))  # instead of the usual watchdog
    command, _ = game("wayland", "--rate", 0, "--buffers", 4)
    with Session(*command, options=("-r", "0"), size=SMALL), Pipeline(
            f"{SOURCE} max-buffers=4 ! {SINK} max-buffers=1") as pipeline:
        held = deque([(frame := pipeline.numbered(), checksum(frame))])
        del frame
        changed, last, began = [], held[0][0].number, time.monotonic()
        for _ in range(FRAMES):
            if len(held) == 3:
                frame, before = held.popleft()
                if checksum(frame) != before:
                    changed.append(last)
                del frame
            frame = pipeline.pull()
            held.append((frame, checksum(frame)))
            assert frame.number > last, "a picture came twice"
            last = frame.number
            del frame
        seconds = time.monotonic() - began
        stats = pipeline.stats()
        print(f"{FRAMES} frames in {seconds:.1f} s, {len(changed)} changed; {stats}")
        assert not changed
        assert held[0][0].check().intact


class Numbers:
    """What one appsink got: numbers of pictures, and whether each was whole when it was looked at, some
    time after it came."""

    def __init__(self, pipeline: Pipeline, sink: str = "sink"):
        self.pipeline = pipeline
        self.sink = pipeline.pipeline.get_by_name(sink)

    def take(self, count: int, hold: int = 1) -> list[int]:
        held: deque[Frame] = deque()
        numbers = []
        while len(numbers) < count:
            held.append(self.pipeline.pull(sink=self.sink))
            if len(held) > hold:
                frame = held.popleft()
                check = frame.check()
                # Before the game's first picture the screen is black.
                assert check.intact or check.number is None
                assert check.number is not None or not numbers
                if check.number is not None:
                    numbers.append(check.number)
                del frame
        return numbers


def fast_game(game) -> list[str]:
    command, _ = game("wayland", "--rate", 200, "--buffers", 4)
    return command


FAST = {"options": ("-r", "200"), "size": "320x180"}


def test_a_leaky_queue_drops_and_the_rest_is_whole(game):
    """What the queue throws away goes back at once: the newest pictures keep coming."""
    with Session(*fast_game(game), **FAST), Pipeline(
            f"{SOURCE} max-buffers=4 ! queue leaky=downstream max-size-buffers=1 "
            f"max-size-bytes=0 max-size-time=0 ! {SINK} max-buffers=1") as pipeline:
        first = pipeline.numbered().number
        numbers = []
        for _ in range(10):
            time.sleep(0.1)  # twenty pictures of the game
            numbers += Numbers(pipeline).take(1, hold=0)
        assert numbers == sorted(set(numbers))
        # Not the oldest are kept back: on the whole the consumer keeps up with the game.
        assert numbers[-1] - first > 100


def test_an_appsink_that_drops(game):
    with Session(*fast_game(game), **FAST), Pipeline(
            f"{SOURCE} max-buffers=4 ! {SINK} max-buffers=1 drop=true") as pipeline:
        pipeline.numbered()
        time.sleep(0.5)
        numbers = Numbers(pipeline).take(100)
        assert numbers == sorted(set(numbers))


def test_a_tee_gives_all_branches_the_same_memory(game):
    with Session(*fast_game(game), **FAST), Pipeline(
            f"{SOURCE} max-buffers=8 ! tee name=t t. ! queue ! {SINK} max-buffers=1 "
            f"t. ! queue ! {SINK.replace('name=sink', 'name=other')} max-buffers=1") as pipeline:
        other = pipeline.pipeline.get_by_name("other")
        seen: dict[int, tuple[int, int]] = {}
        for _ in range(100):
            one, two = pipeline.pull(), pipeline.pull(sink=other)
            assert one.check() == two.check()
            if one.number:
                assert one.inode == two.inode and one.pts == two.pts
                seen[one.number] = one.inode, one.pts
            del one, two
        assert len(seen) > 50


def test_videorate_repeats_and_drops_whole_pictures(game):
    """videorate keeps the last buffer, and pushes it twice where it has to."""
    command, _ = game("wayland", "--rate", 20, "--buffers", 4)
    with Session(*command, **FAST), Pipeline(
            f"{SOURCE} max-buffers=6 ! videorate ! video/x-raw,framerate=60/1 ! "
            f"{SINK} max-buffers=1") as pipeline:
        numbers = Numbers(pipeline).take(90, hold=2)
        assert numbers == sorted(numbers)
        assert len(set(numbers)) < len(numbers)
    with Session(*fast_game(game), **FAST), Pipeline(
            f"{SOURCE} max-buffers=6 ! videorate drop-only=true ! "
            f"video/x-raw,framerate=[1/1,30/1] ! {SINK} max-buffers=1") as pipeline:
        numbers = Numbers(pipeline).take(30, hold=2)
        assert numbers == sorted(set(numbers))


def test_two_pipelines_by_appsink_and_appsrc(game):
    """As interpipe does: buffers of one pipeline are pushed into another one, uncopied."""
    with Session(*fast_game(game), **FAST), Pipeline(
            f"{SOURCE} max-buffers=6 ! {SINK} max-buffers=1") as first:
        sample = first.numbered().sample
        second = Pipeline("appsrc name=source is-live=true format=time max-buffers=1 block=true "
                          f"! queue max-size-buffers=1 ! {SINK} max-buffers=1")
        second.source.set_property("caps", sample.get_caps())
        del sample
        with second:
            numbers, inodes, pushed = [], set(), set()
            for _ in range(100):
                frame = first.pull()
                pushed.add(frame.inode)
                assert second.source.emit("push-buffer", frame.buffer) == Gst.FlowReturn.OK
                del frame
                arrived = second.pull()
                check = arrived.check()
                assert check.intact
                numbers.append(check.number)
                inodes.add(arrived.inode)
                del arrived
            assert numbers == sorted(set(numbers))
            assert inodes <= pushed


def test_another_process_by_unixfd(game, tmp_path):
    """unixfdsink keeps each buffer until the process at the other end let it go."""
    if not Gst.ElementFactory.find("unixfdsink"):
        pytest.skip("unixfdsink is not installed")
    socket = tmp_path / "frames"
    with Session(*fast_game(game), **FAST), Pipeline(
            f"{SOURCE} max-buffers=6 ! unixfdsink name=sink socket-path={socket}") as sender, \
            Pipeline(f"unixfdsrc name=source socket-path={socket} ! {SINK} max-buffers=1"
                     ) as receiver:
        numbers = Numbers(receiver).take(200, hold=3)
        assert numbers == sorted(set(numbers))
        frame = receiver.pull()
        # The file descriptors travel, not the pixels; metas of ours can not.
        assert frame.inode
        check = frame.check()
        time.sleep(0.3)
        assert frame.check() == check
        sender.raise_errors()


def test_a_frame_outlives_a_restart(game):
    """Buffers of before are still whole when the pipeline has been stopped and started again."""
    with Session(*fast_game(game), **FAST), Pipeline(
            f"{SOURCE} max-buffers=4 ! {SINK} max-buffers=1") as pipeline:
        frame = pipeline.numbered()
        before = checksum(frame)
        for _ in range(3):
            pipeline.stop()
            pipeline.play()
            Numbers(pipeline).take(20)
            assert checksum(frame) == before
