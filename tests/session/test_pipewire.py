# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions as PipeWire nodes: what stock consumers get, and what bad ones can't break."""

from __future__ import annotations

import bisect
import json
import os
import shutil
import signal
import statistics
import subprocess
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from support import beeps
from support.pipeline import SINK, Gst, Pipeline
from support.pipewire import Daemon, require
from support.processes import WATCHDOG, descriptors, memory_inodes, wait_until
from support.session import Session

QUEUE = "max-buffers=200"
# Longer for the record: seconds of Doom and of a recording with sound, and how often a consumer
# comes and goes.
DOOM_SECONDS = int(os.environ.get("STEPSCOPE_TEST_DOOM_SECONDS", "3"))
SOUND_SECONDS = float(os.environ.get("STEPSCOPE_TEST_SOUND_SECONDS", "6"))
CYCLES = int(os.environ.get("STEPSCOPE_TEST_CYCLES", "100"))


@pytest.fixture(autouse=True)
def with_pipewire():
    done = subprocess.run(["stepscope", "--help"], capture_output=True, text=True, check=False)
    if "--pipewire" not in done.stdout or not shutil.which("pipewire"):
        pytest.skip("PipeWire is not installed")


def source(session: Session, caps: str = "", sink: str = "sink") -> str:
    return (f"pipewiresrc target-object=stepscope.{session.name} ! video/x-raw{caps} "
            f"! {SINK.replace('name=sink', 'name=' + sink)} {QUEUE}")


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


def offered(session: Session, daemon: Daemon) -> dict:
    return daemon.wait_for_node(f"stepscope.{session.name}")


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


def record(session: Session, path: Path, seconds: float) -> None:
    """Picture and sound in one file."""
    name = f"stepscope.{session.name}"
    with Pipeline(f"""
            pipewiresrc target-object={name} ! video/x-raw ! queue ! videoconvert ! jpegenc ! queue
            ! matroskamux name=mux ! filesink name=sink location={path}
            pipewiresrc target-object={name}.sound stream-properties=props,stream.capture.sink=true
            ! audio/x-raw,rate=48000 ! queue ! audioconvert ! audio/x-raw,format=S16LE ! queue
            ! mux.""") as pipeline:
        time.sleep(seconds)
        pipeline.pipeline.send_event(Gst.Event.new_eos())
        assert pipeline.bus.timed_pop_filtered(60 * Gst.SECOND, Gst.MessageType.EOS)


def test_sound_and_picture_are_together(runtime, game, tmp_path):
    command, _ = game("wayland", "--rate", 60, "--beep")
    with Daemon() as daemon, Session(*command, options=("--pipewire", "-r", "0")) as session:
        sink = daemon.wait_for_node(f"stepscope.{session.name}.sound")
        assert sink["media.class"] == "Audio/Sink"
        offered(session, daemon)
        wait_until(lambda: ("beep", sink["node.name"]) in daemon.links(), "the game's sound")
        record(session, tmp_path / "beep.mkv", SOUND_SECONDS)
    apart = beeps.offsets(tmp_path / "beep.mkv")
    print("beeps after their flashes, in ms:", [round(offset * 1000, 1) for offset in apart])
    assert len(apart) >= 3
    # pipewiresrc dates a stream by the arrival of its first buffer, so that how far the two are apart
    # depends on how busy the machine was then. It must not change afterwards.
    assert max(abs(offset - statistics.median(apart)) for offset in apart) < 0.1, apart


def test_games_of_pulseaudio_play_to_the_session(runtime):
    require("chocolate-doom")
    with Daemon(pulse=True) as daemon:
        command = ("chocolate-doom", "-iwad", "/usr/share/games/doom/freedoom1.wad", "-window")
        with Session(*command, environment={"SDL_AUDIODRIVER": "pulseaudio"}) as session:
            sink = f"stepscope.{session.name}.sound"
            daemon.wait_for_node(sink)
            wait_until(lambda: [link for link in daemon.links() if link[1] == sink],
                       "a link from Doom")


def test_no_sound(runtime, game):
    command, report = game("wayland")
    with Daemon() as daemon, Session(*command, options=("--pipewire", "--audio", "off")) as session:
        offered(session, daemon)
        assert f"stepscope.{session.name}.sound" not in daemon.nodes()
        inner = Path(session.control).parent / "runtime"
        assert not (inner / "pulse").exists() and not (inner / "pipewire-0").exists()
        environment = Path(f"/proc/{report.pid}/environ").read_text()
        assert "PIPEWIRE_" not in environment and "PULSE_" not in environment


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


def test_a_node_on_request(runtime, game):
    """By the control protocol, in a session that was started without --pipewire."""
    command, _ = game("wayland", "--rate", 35)
    with Daemon() as daemon, Session(*command) as session, session.client() as client:
        assert f"stepscope.{session.name}" not in daemon.nodes()
        client.offer_pipewire()

        def serials():
            client.roundtrip()
            return client.pipewire and client.pipewire[1] and client.pipewire[3]

        wait_until(serials, "serials of the nodes")
        video, video_serial, sound, sound_serial = client.pipewire
        nodes = daemon.nodes()
        assert int(nodes[video]["object.serial"]) == video_serial
        assert int(nodes[sound]["object.serial"]) == sound_serial
        with Pipeline(f"pipewiresrc target-object={video_serial} ! video/x-raw ! {SINK}") as pipeline:
            pipeline.numbered()
        daemon.stop(kill=True)
        wait_until(lambda: not serials(), "news that the nodes are gone")


class Follower:
    """Notes what a pipeline gets, in a thread, and gives it back at once."""

    def __init__(self, pipeline: Pipeline):
        self.pipeline = pipeline
        self.formats = 0
        self.frames: list[tuple[int, int, int]] = []  # number of the game's picture, PTS, sequence
        pipeline.sink.get_static_pad("sink").add_probe(
            Gst.PadProbeType.EVENT_DOWNSTREAM, self.count_formats)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.follow)

    def count_formats(self, _, info):
        self.formats += info.get_event().type == Gst.EventType.CAPS
        return Gst.PadProbeReturn.OK

    def follow(self):
        while not self.over.is_set():
            frame = self.pipeline.pull()
            self.frames.append((frame.number, frame.pts, frame.buffer.offset))
            del frame

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def wait_for_more(self, count: int) -> None:
        end = len(self.frames) + count
        wait_until(lambda: len(self.frames) >= end or not self.thread.is_alive(), "more frames")
        assert self.thread.is_alive()


def source_of(node: str) -> str:
    return f"pipewiresrc target-object={node} ! video/x-raw ! {SINK} {QUEUE}"


def properties_of(daemon: Daemon, node: str) -> dict:
    return daemon.nodes()[node]


def test_others_with_other_wishes(runtime, game):
    """Consumers of another size and rate come and go, and the first one does not notice."""
    command, _ = game("wayland", "--rate", 20)
    with Daemon() as daemon, \
            Session(*command, options=("--pipewire", "--pipewire-node", "320x180@10")) as session, \
            session.client() as client:
        offered(session, daemon)
        half = f"stepscope.{session.name}.320x180@10"
        daemon.wait_for_node(half)
        asked = client.create_pipewire_node(160, 120, 5, 1)
        wait_until(lambda: client.roundtrip() or asked.serial, "the node that was asked for")
        assert asked.name == f"stepscope.{session.name}.160x120@5"
        with Pipeline(source(session)) as first:
            first.numbered()
            for _ in range(20):  # memory is new at first, and the stream negotiated anew with it
                first.pull()
            with Follower(first) as follower:
                follower.wait_for_more(10)
                formats = follower.formats
                for _ in range(2):
                    others = []
                    for node, size, rate in ((half, (320, 180), 10), (asked.name, (160, 120), 5)):
                        other = Pipeline(source_of(node))
                        other.play()
                        others.append(other)
                        times = []
                        for _ in range(8):
                            frame = other.pull()
                            assert frame.size == size
                            times.append(frame.pts)
                            del frame
                        # Times are those of the commits, a little before their turn.
                        assert times[-1] - times[0] > 6 * Gst.SECOND / rate, times
                    for other in others:
                        other.stop()
                        follower.wait_for_more(5)
        steps = [(number - last, pts - before, sequence - order) for (last, before, order),
                 (number, pts, sequence) in pairwise(follower.frames)]
        print(f"{len(follower.frames)} frames of the first")
        assert follower.formats == formats
        assert all(number > 0 and pts > 0 for number, pts, _ in steps), steps
        assert all(sequence == 1 for _, _, sequence in steps), steps
        wait_until(lambda: int(properties_of(daemon, half)["stepscope.composed"]) >= 16, "counts")
        assert int(properties_of(daemon, half)["stepscope.passed-through"]) == 0
        assert int(properties_of(daemon, f"stepscope.{session.name}")["stepscope.passed-through"])
        # One goes after its time, the other is there for the session.
        asked.destroy()
        wait_until(lambda: asked.name not in daemon.nodes(), "the end of the node")
        assert half in daemon.nodes()


class Probe:
    """Our own consumer: what a node says about its pictures, as it comes."""

    def __init__(self, node: str):
        require("stepscope-pipewire-probe")
        self.process = subprocess.Popen(["stepscope-pipewire-probe", node],
                                        stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def next(self) -> dict:
        line = self.process.stdout.readline()
        assert line, "the consumer ended"
        return json.loads(line)

    def until(self, condition, what: str) -> dict:
        for _ in range(500):
            picture = self.next()
            if condition(picture):
                return picture
        raise AssertionError(f"no picture {what}; the last: {picture}")


def test_metadata(runtime, game):
    """Crop and damage of pictures, by a consumer of ours."""
    command, _ = game("wayland", "--rate", 20, "--paint", "stripe")
    with Daemon(manager=False) as daemon, \
            Session(*command, options=("--pipewire", "--pipewire-node", "320x180")) as session:
        offered(session, daemon)
        daemon.wait_for_node(f"stepscope.{session.name}.320x180")
        with Probe(f"stepscope.{session.name}") as probe:
            pictures = [probe.next() for _ in range(60)]
            for picture in pictures:
                assert picture["crop"] == [0, 0, 640, 360]
                assert picture["bytes"] == 640 * 360 * 4
                assert picture["damage"] and not picture["corrupted"]
                for x, y, width, height in picture["damage"]:
                    assert 0 <= x < x + width <= 640 and 0 <= y < y + height <= 360
            steps = [after["pts"] - before["pts"] for before, after in pairwise(pictures)]
            assert all(step > 0 for step in steps)
            orders = [after["sequence"] - before["sequence"] for before, after in pairwise(pictures)]
            assert all(order > 0 for order in orders)
            # What the game says: this one draws its number alone.
            small = probe.until(lambda picture: picture["damage"] != [[0, 0, 640, 360]],
                                "that changed in part")
            assert sum(width * height for _, _, width, height in small["damage"]) < 640 * 360 / 2
        with Probe(f"stepscope.{session.name}.320x180") as probe:
            for _ in range(10):
                picture = probe.next()
                # What changed has no exact place in a scaled picture.
                assert picture["crop"] == [0, 0, 320, 180]
                assert picture["damage"] == [[0, 0, 320, 180]]


def test_the_cursor_comes_along(runtime, game):
    """Beside the picture, with what it looks like; not where somebody has it drawn in."""
    command, report = game("wayland", "--rate", 20, "--cursor", "arrow")
    with Daemon(manager=False) as daemon, \
            Session(*command, options=("--pipewire", "--pipewire-node", "320x180")) as session:
        offered(session, daemon)
        daemon.wait_for_node(f"stepscope.{session.name}.320x180")
        direct = Pipeline(f"wlscreencopysrc name=source session={session.name} "
                          "! fakesink sync=false")
        with Probe(f"stepscope.{session.name}") as probe, direct:
            direct.move(400, 200)
            report.wait_for("pointer_focus", focused=True)
            direct.move(401, 202)
            shown = probe.until(lambda picture: picture["cursor"]["position"] == [401, 202]
                                and picture["cursor"].get("size") == [16, 16], "with the cursor")
            cursor = shown["cursor"]
            assert cursor["id"] and cursor["hotspot"] == [0, 0]
            assert cursor["first"] >> 24 == 255 and cursor["last"] >> 24 == 0  # its lower half
            direct.source.set_property("cursor", "embedded")
            probe.until(lambda picture: picture["cursor"]["id"] == 0, "with the cursor drawn in")
            direct.source.set_property("cursor", "hidden")
            again = probe.until(lambda picture: picture["cursor"]["id"] != 0, "with it beside")
            assert again["cursor"]["position"] == [401, 202]
            assert again["cursor"]["first"] == cursor["first"]
        with direct, Probe(f"stepscope.{session.name}.320x180") as probe:
            half = probe.until(lambda picture: picture["cursor"]["id"] != 0, "with a small cursor")
            assert half["cursor"]["position"] == [200, 101]
            assert half["cursor"]["size"] == [8, 8]


def test_pictures_on_request(runtime, game):
    """One for each request, and the newest; none without one."""
    require("stepscope-pipewire-probe")
    command, _ = game("wayland", "--rate", 20)
    with Daemon(manager=False) as daemon, Session(*command, options=("--pipewire",)) as session:
        offered(session, daemon)
        with subprocess.Popen(["stepscope-pipewire-probe", f"stepscope.{session.name}", "request"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as probe:
            try:
                pictures = []
                for turn in range(9):
                    probe.stdin.write("\n")
                    probe.stdin.flush()
                    picture = json.loads(probe.stdout.readline())
                    age = time.monotonic_ns() - picture["pts"]
                    if turn > 2:  # memory is new at first, and the stream negotiated anew with it
                        pictures.append(picture)
                        assert age < 900_000_000, age  # or it waited for the request
                    time.sleep(1)  # for twenty of the game's pictures
                for before, after in pairwise(pictures):
                    assert after["pts"] - before["pts"] > 500_000_000
                    assert after["sequence"] > before["sequence"]
            finally:
                probe.kill()
        # Others get pictures as ever.
        with Probe(f"stepscope.{session.name}") as ordinary:
            for _ in range(10):
                ordinary.next()


def test_the_command_for_a_node(runtime, game):
    command, _ = game("wayland", "--rate", 20)
    ask = Path(__file__).resolve().parents[2] / "agent" / "stepscope-pipewire"

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([ask, *arguments], capture_output=True, text=True, check=False)

    with Session(*command) as session:
        for arguments, text in (((session.name, "320"), "no size"),
                                ((session.name, "8x8"), "sides"),
                                ((session.name, "320x180@2000"), "no frame rate"),
                                (("nobody", "320x180"), "no session 'nobody'"),
                                ((session.name, "320x180"), "daemon")):
            done = run(*arguments)
            assert done.returncode == 2 and text in done.stderr, (arguments, done)
            assert len(done.stderr.splitlines()) == 1
        with Daemon() as daemon:
            done = run(session.name, "160x120@5")
            assert done.returncode == 0, done
            assert done.stdout == f"stepscope.{session.name}.160x120@5\n"
            with Pipeline(source_of(done.stdout.strip())) as pipeline:
                assert pipeline.pull().size == (160, 120)
            wait_until(lambda: done.stdout.strip() not in daemon.nodes(), "the end of the node")


@pytest.mark.parametrize("wish", [(8, 180, 10, 1), (320, 20000, 10, 1), (320, 180, 10, 0),
                                  (320, 180, 2000, 1)])
def test_impossible_nodes(runtime, game, wish):
    command, _ = game("wayland")
    with Daemon(), Session(*command, options=("--pipewire",)) as session:
        with session.client() as client, pytest.raises(Exception, match="sides|Hz"):
            client.create_pipewire_node(*wish)
            client.roundtrip()
        with session.client() as client:
            client.roundtrip()


def test_too_many_nodes(runtime, game):
    command, _ = game("wayland")
    with Daemon() as daemon, Session(*command, options=("--pipewire",)) as session:
        with session.client() as client:
            nodes = [client.create_pipewire_node(160, 100 + i) for i in range(16)]
            again = client.create_pipewire_node(160, 100)
            client.roundtrip()
            assert again.name == nodes[0].name
            wait_until(lambda: len([name for name in daemon.nodes() if ".160x1" in name]) == 16,
                       "16 nodes")
            with pytest.raises(Exception, match="at most 16"):
                client.create_pipewire_node(160, 200)
                client.roundtrip()
        wait_until(lambda: not [name for name in daemon.nodes() if ".160x1" in name], "no nodes")


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
