# SPDX-License-Identifier: LGPL-2.1-or-later
"""PipeWire nodes that are asked for, of other sizes and rates."""

from __future__ import annotations

import subprocess
import threading
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from support.pipeline import SINK, Gst, Pipeline
from support.pipewire import Daemon
from support.pipewire_session import offered, source, source_of
from support.processes import wait_until
from support.session import Session

pytestmark = pytest.mark.usefixtures("with_pipewire")


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
                    with ExitStack() as others:
                        for node, size, rate in ((half, (320, 180), 10),
                                                 (asked.name, (160, 120), 5)):
                            other = others.enter_context(Pipeline(source_of(node)))
                            times = []
                            for _ in range(9):
                                frame = other.pull()
                                assert frame.size == size
                                times.append(frame.pts)
                                del frame
                            # Times are those of the commits, a little before their turn. What was
                            # shown before this pipeline played is all of its first moment.
                            assert times[-1] - times[2] > 5 * Gst.SECOND / rate, times
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
