# SPDX-License-Identifier: LGPL-2.1-or-later
"""Frames in other processes: steps, inputs, streams and the elements on either side."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stepscope import FrameSocket, StepscopeError
from stepscope import frame_wire as wire
from support import frame_code
from support.frame_sink import FAST, RATE, STEPPED, Sink, frames_of
from support.pipeline import Gst, Pipeline, PipelineError, launch
from support.processes import memory_inodes
from support.session import Session

pytestmark = pytest.mark.usefixtures("runtime")


def test_ten_thousand_steps_through_the_socket(game):
    command, report = game("wayland", "--rate", RATE, "--size", "320x200", "--fullscreen",
                           "--buffers", 4)
    with (Session(*command, options=("--lockstep",), size="320x200"),
          Sink(STEPPED, "wait=steps"),
          FrameSocket(Sink().path, steps=True) as agent):
        frame = agent.next()
        passed = 0
        while passed < 10:  # at first nobody knows how many buffers the game has
            frame.release()
            frame = agent.step()
            shows = frame_code.read_frame_number(frame.pixels) is not None
            passed = passed + 1 if shows and frame.passed_through else 0
        own = memory_inodes(report.pid)
        step, number = frame.step, frame_code.read_frame_number(frame.pixels)
        commit = frame.commit
        for count in range(1, 10_001):
            frame.release()
            frame = agent.step()
            assert frame.step == step + count and frame.answers, "a step is missing"
            assert frame.commit > commit and not frame.repeated, "a picture came twice"
            assert frame.passed_through and frame.inode in own, "it is not the game's own memory"
            commit = frame.commit
            if count % 100 == 0:
                assert frame_code.read_frame_number(frame.pixels) == number + count
        assert frame.virtual_time == frame.step * 10**9 // RATE
        assert agent.imports <= 8


def test_inputs_reach_the_game_with_their_step(game):
    command, report = game("wayland", "--rate", RATE)
    with (Session(*command, options=("--lockstep",)), Sink(STEPPED, "wait=steps") as sink,
          FrameSocket(sink.path, steps=True) as agent):
        before = agent.next()
        while frame_code.read_frame_number(before.pixels) is None:
            before.release()
            before = agent.step()
        agent.key("Up", True)
        agent.key("Up", False)
        before.release()
        with agent.step() as frame:
            assert frame.input_sequence == 2
        agent.step().release()
        assert report.wait_for("key")
        agent.key("NoSuchKey", True)
        agent.step().release()
        agent.step().release()
        assert "NoSuchKey" in agent.refused[0].text and agent.refused[0].number == 3


def test_the_game_waits_for_who_steps_and_for_the_next_one(game):
    command, report = game("wayland", "--rate", RATE)
    with Session(*command, options=("--lockstep",)), Sink(STEPPED, "wait=steps") as sink:
        with FrameSocket(sink.path, steps=True) as agent:
            agent.next().release()
            last = 0
            for _ in range(20):
                with agent.step() as frame:
                    last = frame.step
            with pytest.raises(StepscopeError, match="another consumer steps"):
                FrameSocket(sink.path, steps=True)
        shown = report.frames()
        time.sleep(0.5)
        assert report.frames() == shown, "the game ran on by itself"
        with FrameSocket(sink.path, steps=True) as other:
            with other.next() as frame:
                assert frame.step == last, "who joins begins with the current picture"
            with other.step() as frame:
                assert frame.step == last + 1


def test_the_end_of_the_game_is_told(game):
    command, report = game("wayland", "--rate", RATE)
    with Session(*command, options=("--lockstep",)), Sink(STEPPED, "wait=steps") as sink:
        with FrameSocket(sink.path, steps=True) as agent:
            agent.next().release()
            agent.step().release()
            os.kill(report.pid, signal.SIGKILL)
            while (frame := agent.step()) is not None:
                frame.release()
            assert agent.ended.reason == wire.END_CRASHED and agent.ended.value == signal.SIGKILL


def test_memory_that_cant_be_shared_is_copied_once_or_refused():
    private = f"{FAST} ! identity drop-allocation=true"
    with Pipeline(f"{private} ! fencesink name=sink socket-path={Sink().path}") as pipeline:
        with FrameSocket(Sink().path) as consumer:
            with consumer.next() as frame:
                assert frame.path == 3 and frame.pixels.any()
            frames_of(consumer, 5)
        stats = pipeline.sink.get_property("stats")
        assert stats.get_value("copied") >= 6
    with Pipeline(f"{private} ! fencesink zero-copy=require socket-path={Sink().path}") as pipeline:
        assert "zero-copy=require" in pipeline.error()
    with Pipeline(f"{FAST} ! fencesink name=sink zero-copy=require socket-path={Sink().path}"
                  ) as pipeline, FrameSocket(Sink().path) as consumer:
        frames_of(consumer, 20)
        assert pipeline.sink.get_property("stats").get_value("copied") == 0


def test_a_resize_is_a_new_stream():
    small, large = "width=64,height=48", "width=320,height=200"
    parts = " ".join(f"videotestsrc num-buffers=5 ! video/x-raw,format=BGRx,{size},framerate=60/1 "
                     "! all." for size in (small, large))
    with Pipeline(f"concat name=all ! fencesink wait=credits socket-path={Sink().path} {parts}"):
        with FrameSocket(Sink().path) as consumer:
            sizes = [frame.pixels.shape[:2] for frame in consumer]
            assert sizes == [(48, 64)] * 5 + [(200, 320)] * 5
            assert consumer.stream.stream == 2 and consumer.ended.reason == wire.END_STREAM


def to_the_end(consumer: FrameSocket, steps: bool) -> int:
    """How many frames there are before it."""
    take = consumer.step if steps else consumer.next
    count = 0
    frame = consumer.next()
    while frame is not None:
        count += 1
        frame.release()
        frame = take()
    assert consumer.ended.reason == wire.END_STREAM
    return count


def seek(pipeline: Pipeline) -> None:
    """To the first six pictures."""
    assert pipeline.pipeline.seek(1.0, Gst.Format.TIME, Gst.SeekFlags.FLUSH, Gst.SeekType.SET, 0,
                                  Gst.SeekType.SET, 6 * Gst.SECOND // 60)


def stop_and_play(pipeline: Pipeline) -> None:
    pipeline.pipeline.set_state(Gst.State.READY)
    pipeline.play()


@pytest.mark.parametrize("again, options", [(seek, ""), (stop_and_play, "num-buffers=6")])
@pytest.mark.parametrize("wait", ["credits", "steps"])
def test_what_comes_after_the_end_is_for_those_who_connect_again(wait, again, options):
    source = FAST.replace("videotestsrc", f"videotestsrc {options}")
    steps = wait == "steps"
    with (Pipeline(f"{source} ! fencesink wait={wait} socket-path={Sink().path}") as pipeline,
          contextlib.ExitStack() as ended):
        pipeline.message(Gst.MessageType.ASYNC_DONE)
        for _ in range(3):
            again(pipeline)
            # Those of the turns before stay, with credits, and hold nobody up.
            consumer = ended.enter_context(FrameSocket(Sink().path, steps=steps))
            assert to_the_end(consumer, steps) == 6
            pipeline.wait_eos()


def test_fencesrc_has_the_same_memory(game):
    command, report = game("wayland", "--rate", 60, "--buffers", 4)
    with Session(*command), Sink("wlscreencopysrc max-buffers=8") as sink:
        with Pipeline(f"fencesrc name=source socket-path={sink.path} max-buffers=2 ! appsink "
                      "name=sink sync=false enable-last-sample=false") as pipeline:
            first = pipeline.numbered()
            assert first.check().intact and first.structure.get_value("format") == "BGRx"
            del first
            seen, last = set(), 0
            for _ in range(60):
                frame = pipeline.pull()
                assert frame.pts > last or last == 0
                last = frame.pts
                if frame.inode in memory_inodes(report.pid):
                    seen.add(frame.inode)
                del frame
            assert seen, "none of the frames is in the game's own memory"
            assert pipeline.source.get_property("stats").get_value("copied") == 0
            sink.kill()
            assert "went away" in pipeline.error()


def test_fencesrc_steps_the_game(game):
    command, report = game("wayland", "--rate", RATE)
    with Session(*command, options=("--lockstep",)), Sink(STEPPED, "wait=steps") as sink:
        with Pipeline(f"fencesrc name=source steps=true socket-path={sink.path} ! appsink name=sink "
                      "sync=false max-buffers=1 enable-last-sample=false") as pipeline:
            steps = [pipeline.pull().buffer.offset for _ in range(50)]
            assert steps == list(range(steps[0], steps[0] + 50))
            time.sleep(0.3)
            shown = report.frames()
            time.sleep(0.5)
            assert report.frames() == shown, "the game ran on while nobody pulled"
        with pytest.raises(PipelineError, match="wait=steps"):
            with Sink(path=sink.path.with_name("other")) as other:
                Pipeline(f"fencesrc steps=true socket-path={other.path} ! fakesink").play()


def test_a_second_process_encodes_what_the_first_captures(game, tmp_path):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command), Sink("wlscreencopysrc") as sink:
        done = launch(f"-e fencesrc socket-path={sink.path} num-buffers=30 ! videoconvert ! jpegenc ! "
                      f"multifilesink location={tmp_path}/%03d.jpg")
        assert done.returncode == 0, done.stderr
        assert len(list(tmp_path.glob("*.jpg"))) == 30


def test_a_film_that_a_second_process_makes_has_all_frames(game, tmp_path):
    command, _ = game("wayland", "--rate", 60)
    film = tmp_path / "game.mp4"
    with Session(*command), Sink("wlscreencopysrc ! video/x-raw,framerate=60/1") as sink:
        done = launch(f"-e fencesrc socket-path={sink.path} num-buffers=30 ! videoconvert ! "
                      f"x264enc tune=zerolatency ! mp4mux ! filesink location={film}")
        assert done.returncode == 0, done.stderr
    counted = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames",
         "-of", "csv=p=0", film], capture_output=True, text=True, timeout=60, check=True)
    assert counted.stdout.strip() == "30"


def test_the_viewer_in_c_saves_what_the_game_shows(game, tmp_path):
    viewer = Path(shutil.which("frame_viewer") or "")
    if not viewer.is_file():
        pytest.skip("frame_viewer is not built")
    command, _ = game("wayland", "--rate", 60)
    with Session(*command), Sink("wlscreencopysrc") as sink:
        with FrameSocket(sink.path) as consumer:
            for frame in consumer:
                if frame_code.read_frame_number(frame.pixels):
                    break
        picture = tmp_path / "picture.ppm"
        done = subprocess.run([viewer, sink.path, "20", picture], capture_output=True, text=True,
                              timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "640x360, a frame whenever there is one\n20 frames, 0 missed\n"
        header = picture.read_bytes()[:15]
        assert header == b"P6\n640 360\n255\n"
        pixels = np.frombuffer(picture.read_bytes()[15:], np.uint8).reshape(360, 640, 3)
        check = frame_code.check_frame(np.dstack([pixels[..., ::-1], pixels[..., :1]]), "BGRx")
        assert check.intact and check.number > 0
    done = subprocess.run([viewer, sink.path, "1", picture], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 1 and "can't connect" in done.stderr


def test_a_torch_policy_plays_through_the_socket(game):
    pytest.importorskip("torch")
    example = Path(__file__).resolve().parents[2] / "agent/examples/torch_policy.py"
    command, report = game("wayland", "--rate", RATE, "--size", "64x48", "--fullscreen")
    with (Session(*command, options=("--lockstep",), size="64x48"),
          Sink(STEPPED, "wait=steps") as sink):
        done = subprocess.run([sys.executable, example, sink.path, "--steps", "60"],
                              capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("60 steps") and not done.stderr


def test_the_ways_to_pause_and_end_while_it_waits():
    with Pipeline(f"{FAST} ! fencesink name=sink wait=steps socket-path={Sink().path}") as pipeline:
        with FrameSocket(Sink().path, steps=True) as agent:
            agent.next().release()
            assert agent.step().step == 0
            for state in (Gst.State.PAUSED, Gst.State.PLAYING) * 5:
                pipeline.pipeline.set_state(state)
                assert pipeline.pipeline.get_state(10 * Gst.SECOND)[0] != Gst.StateChangeReturn.FAILURE


def test_an_environment_is_the_same_by_either_transport():
    pytest.importorskip("gymnasium")
    from stepscope import Env

    def play(transport: str) -> list[tuple]:
        env = Env(["stepscope-testgame", "--backend", "wayland", "--rate", str(RATE),
                   "--size", "320x200", "--fullscreen"], 320, 200, RATE, keys=["Up", "space"],
                  xwayland=False, transport=transport, seed=1)
        try:
            env.reset(seed=1)
            seen = []
            for number in range(40):
                observation, _, _, truncated, info = env.step([number % 2, 0])
                assert not truncated, info
                seen.append((frame_code.read_frame_number(observation[..., ::-1]), info["fresh"]))
            del observation
            steps = [info["step"] for info in (env.step([0, 0])[4] for _ in range(3))]
            assert steps[2] == steps[0] + 2
            return seen
        finally:
            env.close()

    by_socket, by_control = play("socket"), play("control")
    first = by_socket[0][0] - by_control[0][0]
    assert [number - first for number, _ in by_socket] == [number for number, _ in by_control]
    assert all(fresh for _, fresh in by_socket)
