# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions as PipeWire nodes: what stock consumers get, and what bad ones can't break."""

from __future__ import annotations

import bisect
import os
import signal
import statistics
import subprocess
import time
from itertools import pairwise

import pytest

from support.pipeline import SINK, Gst, Pipeline
from support.pipewire import Daemon, require
from support.pipewire_session import QUEUE, offered, source
from support.processes import WATCHDOG, descriptors, memory_inodes, wait_until
from support.session import Session

pytestmark = pytest.mark.usefixtures("with_pipewire")

# More for the record: seconds of Doom, and how often a consumer comes and goes.
DOOM_SECONDS = int(os.environ.get("STEPSCOPE_TEST_DOOM_SECONDS", "3"))
CYCLES = int(os.environ.get("STEPSCOPE_TEST_CYCLES", "100"))


def consume(session: Session, caps: str, frames: int, seconds: float) -> int:
    """Exit status of a consumer that wants so many frames; it is killed after some seconds."""
    command = ["gst-launch-1.0", "-q", "pipewiresrc", f"target-object=stepscope.{session.name}",
               f"num-buffers={frames}", "!", f"video/x-raw{caps}", "!", "fakesink"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()


def test_every_picture_with_its_time(runtime, game):
    """Nothing twice, in order, and with times as the compositor's own capture has them. What a busy
    machine is too slow for is lost, and the sequence numbers skip it."""
    command, _ = game("wayland", "--rate", 35)
    with Daemon() as daemon, Session(*command, options=("--pipewire",)) as session:
        offered(session, daemon)
        direct = f"wlscreencopysrc session={session.name} ! {SINK.replace('=sink', '=direct')} {QUEUE}"
        with Pipeline(source(session) + "  " + direct) as pipeline:
            times = {}
            frames = []
            reference = pipeline.pipeline.get_by_name("direct")
            pipeline.numbered()
            for _ in range(20):  # the first ones show what was there already, at a later time
                pipeline.pull()
                pipeline.pull(sink=reference)
            for _ in range(140):
                frame = pipeline.pull()
                check = frame.check()
                assert check.intact
                frames.append((check.number, frame.pts, frame.buffer.offset))
                del frame
                frame = pipeline.pull(sink=reference)
                times[frame.number] = frame.reference_time
                del frame
        for (number, pts, sequence), (next_number, next_pts, next_sequence) in pairwise(frames):
            assert next_number > number and next_pts > pts
            # A game may draw pictures that are never shown.
            assert next_number - number >= next_sequence - sequence > 0
        both = [(pts, times[number]) for number, pts, _ in frames if number in times]
        assert len(both) > 50
        # The direct capture shows a picture again, at a later time, where it was busy at the first.
        apart = [pts - time for pts, time in both]
        offset = statistics.median(apart)
        assert max(apart) - offset < 1_000_000, apart
        assert statistics.median(abs(each - offset) for each in apart) < 1_000_000, apart


class Commits:
    """Times of a session's commits, by the compositor's own capture of it. Where that was busy when
    a picture was shown it has a later time, at which it was shown again."""

    def __init__(self, session: Session):
        self.times: list[int] = []
        self.pipeline = Pipeline(f"wlscreencopysrc name=source session={session.name} "
                                 "! fakesink name=sink sync=false signal-handoffs=true")
        self.pipeline.sink.connect("handoff", lambda _, buffer, __: self.times.append(
            buffer.get_reference_timestamp_meta(None).timestamp))

    def __enter__(self) -> Commits:
        self.pipeline.play()
        return self

    def __exit__(self, *_) -> None:
        self.pipeline.stop()

    def nearest(self, time: int) -> int:
        """Place of the commit that is nearest to a time."""
        at = bisect.bisect(self.times, time)
        return min((k for k in (at - 1, at) if 0 <= k < len(self.times)),
                   key=lambda k: abs(self.times[k] - time))

    def match(self, pts: list[int]) -> tuple[list[int], int]:
        """A place for each of the times, which count from another beginning, and how many of them
        are within a millisecond. The beginning is the one that agrees with most of the commits."""
        def apart(begin: int) -> list[int]:
            return [abs(self.times[self.nearest(time + begin)] - time - begin) for time in pts]

        middle = pts[len(pts) // 2]
        begin = min((time - middle for time in self.times),
                    key=lambda begin: statistics.median(apart(begin)))
        exact = [self.nearest(time + begin) if away < Gst.MSECOND else None
                 for time, away in zip(pts, apart(begin))]
        places = [bisect.bisect(self.times, time + begin) if place is None else place
                  for time, place in zip(pts, exact)]
        return places, sum(place is not None for place in exact)


def test_doom(runtime):
    """An ordinary game, at its own rate: each buffer has the time of a commit, none comes twice, and
    of what a busy machine loses the numbers tell."""
    require("chocolate-doom")
    command = ("chocolate-doom", "-iwad", "/usr/share/games/doom/freedoom1.wad", "-window",
               "-warp", "1", "1")
    with Daemon() as daemon, Session(*command, options=("--pipewire", "-r", "0")) as session:
        offered(session, daemon)
        with Commits(session) as commits, Pipeline(source(session)) as pipeline:
            # The first ones may be of a commit that came before the other capture did.
            for _ in range(3):
                pipeline.pull()
            frames = []
            while len(frames) < 2 or frames[-1][0] - frames[0][0] < DOOM_SECONDS * Gst.SECOND:
                buffer = pipeline.pull().buffer
                assert buffer.pts != Gst.CLOCK_TIME_NONE
                frames.append((buffer.pts, buffer.offset))
                del buffer
    steps = [(pts - before, number - last) for (before, last), (pts, number) in pairwise(frames)]
    assert all(time > 0 and count > 0 for time, count in steps), steps
    lost = sum(count - 1 for _, count in steps)
    places, exact = commits.match([pts for pts, _ in frames[:-3]])
    commits_seen = places[-1] - places[0] + 1
    print(f"{len(frames)} frames in {(frames[-1][0] - frames[0][0]) / 1e9:.2f} s, {lost} lost; of "
          f"{len(places)} {exact} within 1 ms of one of {commits_seen} commits that the other "
          f"capture saw, the others before one that it saw late")
    # Each has one of its own, at its time or, where the other capture was late, after it.
    assert all(after > before for before, after in pairwise(places)), "one commit came twice"
    assert commits_seen - len(places) <= lost, "commits are lost without a word"
    assert len(places) - exact <= len(places) // 10, "times are not those of commits"


def test_the_games_own_memory_arrives(runtime, game):
    command, report = game("wayland", "--rate", 35)
    with Daemon() as daemon, Session(*command, options=("--pipewire",)) as session:
        offered(session, daemon)
        with Pipeline(source(session)) as pipeline:
            # Some are copied: memory that was not seen before, or a consumer that is late.
            pipeline.numbered()
            own = memory_inodes(report.pid)
            for _ in range(10):
                pipeline.pull_until(lambda frame: frame.inode in own, "the game's own memory")


@pytest.mark.parametrize("caps, size", [
    (",width=320,height=180", (320, 180)),
    (",format=RGBx", (640, 360)),
    (",framerate=10/1", (640, 360)),
    (",width=960,height=540,framerate=10/1", (960, 540))])
def test_consumers_choose(runtime, game, caps, size):
    command, _ = game("wayland", "--rate", 35)
    with Daemon() as daemon, Session(*command, options=("--pipewire",)) as session:
        offered(session, daemon)
        with Pipeline(source(session, caps)) as pipeline:
            frames = []
            for _ in range(12):
                frame = pipeline.pull()
                assert frame.size == size
                frames.append(frame.pts)
                del frame
            if "framerate" in caps:
                # Ten a second, with the grain of the game's own rate.
                assert frames[-1] - frames[1] > 9 * 100_000_000


@pytest.mark.parametrize("caps", [",width=0,height=0", ",width=100000,height=100000",
                                  ",framerate=10000/1", ",format=NV12"])
def test_impossible_wishes(runtime, game, caps):
    command, report = game("wayland", "--rate", 35)
    with Daemon() as daemon, Session(*command, options=("--pipewire",)) as session:
        offered(session, daemon)
        with Pipeline(source(session)) as pipeline:
            pipeline.numbered()
            # In a process of its own: pipewiresrc does not always survive a refusal.
            assert consume(session, caps, frames=1, seconds=3) != 0
            first = pipeline.pull().number
            assert pipeline.pull_until(lambda frame: frame.number > first + 20, "more frames")
        assert session.process.poll() is None


def test_no_daemon_then_one(runtime, game):
    command, _ = game("wayland")
    with Session(*command, options=("--pipewire",)) as session:
        wait_until(lambda: "no daemon can be reached" in session.output(), "a clear message")
        with Daemon() as daemon:
            offered(session, daemon)
            with Pipeline(source(session)) as pipeline:
                pipeline.numbered()
            daemon.stop(kill=True)
            wait_until(lambda: "went away" in session.output(), "a message about the daemon")
            daemon.start()
            offered(session, daemon)
            with Pipeline(source(session)) as pipeline:
                pipeline.numbered()


def test_consumers_come_and_go(runtime, game):
    """Nothing is kept of a consumer that left."""
    command, _ = game("wayland", "--rate", 60)
    with Daemon() as daemon, Session(*command, options=("--pipewire",)) as session:
        offered(session, daemon)

        def cycle():
            with Pipeline(source(session)) as pipeline:
                pipeline.pull()

        for _ in range(3):
            cycle()
        wait_until(lambda: not daemon.links(), "no links")
        before = len(descriptors(session.pid))
        for _ in range(CYCLES):
            cycle()
        wait_until(lambda: not daemon.links(), "no links")
        wait_until(lambda: len(descriptors(session.pid)) <= before + 1, "no more descriptors")


def test_linked_by_hand(runtime, game):
    """Without a session manager."""
    command, _ = game("wayland", "--rate", 35)
    with Daemon(manager=False) as daemon, Session(*command, options=("--pipewire",)) as session:
        node = f"stepscope.{session.name}"
        offered(session, daemon)
        # It waits for its link before it plays.
        command = ["gst-launch-1.0", "-q", "pipewiresrc", "client-name=watcher",
                   "autoconnect=false", "num-buffers=30", "!", "video/x-raw", "!", "fakesink"]
        with subprocess.Popen(command) as watcher:
            try:
                daemon.wait_for_node("watcher")
                wait_until(lambda: subprocess.run(
                    ["pw-link", f"{node}:capture_1", "watcher:input_1"], check=False,
                    capture_output=True).returncode == 0, "a link")
                assert watcher.wait(WATCHDOG) == 0
            finally:
                watcher.kill()


@pytest.mark.parametrize("end", ["stops", "holds"])
def test_bad_neighbours(runtime, game, end):
    """A second consumer that stands still, holds all that it gets, or dies."""
    command, _ = game("wayland", "--rate", 35)
    slow = ["identity", "sleep-time=5000000", "!"] if end == "holds" else []
    neighbour = ["gst-launch-1.0", "-q", "pipewiresrc", "client-name=neighbour", "!", "video/x-raw",
                 "!", *slow, "fakesink"]
    with Daemon() as daemon, Session(*command, options=("--pipewire",)) as session:
        neighbour.insert(3, f"target-object=stepscope.{session.name}")
        offered(session, daemon)
        with Pipeline(source(session)) as pipeline:
            pipeline.numbered()
            with subprocess.Popen(neighbour) as child:
                try:
                    wait_until(lambda: (f"stepscope.{session.name}", "neighbour")
                               in daemon.links("active"), "the neighbour")
                    if end == "stops":
                        child.send_signal(signal.SIGSTOP)
                    last = pipeline.numbered().number
                    pipeline.pull_until(lambda frame: (frame.number or 0) > last + 60,
                                        "more frames")
                finally:
                    child.kill()
            last = pipeline.numbered().number
            pipeline.pull_until(lambda frame: (frame.number or 0) > last + 60, "frames afterwards")
