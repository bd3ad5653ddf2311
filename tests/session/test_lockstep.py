# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lock-step: each buffer is one step of a real game, at its exact time, the same in every run."""

import hashlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import gi
import pytest

from stepscope import Control, Status
from support.pipeline import SINK, SOURCE, Gst, Pipeline, PipelineError
from support.session import Session

gi.require_version("GstStepscope", "1.0")
from gi.repository import GstStepscope  # noqa: E402

pytestmark = pytest.mark.usefixtures("runtime")

RATE = 35  # Doom's own
WAYLAND = {"SDL_VIDEODRIVER": "wayland"}


def doom_command() -> list[str]:
    wads = [Path(folder) / "freedoom1.wad" for folder in ("/usr/share/games/doom",
                                                          "/usr/share/doom")]
    wad = next((wad for wad in wads if wad.is_file()), None)
    if not shutil.which("chocolate-doom") or not wad:
        pytest.skip("chocolate-doom or freedoom is not installed")
    return ["chocolate-doom", "-iwad", str(wad), "-warp", "1", "1", "-skill", "2"]


# SDL looks for an X server also when it shows on Wayland; how many steps that server's start takes
# is not the same each time.
def doom(**settings) -> Session:
    return Session(*doom_command(), options=("--lockstep", "--no-xwayland"), size="320x200",
                   environment=WAYLAND, **settings)


def stepped(properties: str = "", rate: int = RATE) -> Pipeline:
    # A sink that keeps one frame: not more than two steps are taken ahead of the test.
    return Pipeline(f"{SOURCE} mode=lockstep {properties} ! video/x-raw,framerate={rate}/1 ! "
                    f"{SINK} max-buffers=1")


def counters(pipeline: Pipeline) -> dict[str, int]:
    stats = pipeline.source.get_property("stats")
    return {name: stats.get_value(name) for name in ("frames", "repeated", "dropped", "steps",
                                                     "no-frame-steps")}


def start_of(step: int, rate: int = RATE) -> int:
    return step * Gst.SECOND // rate


def digest(frame) -> str:
    with frame.buffer.map(Gst.MapFlags.READ) as info:
        return hashlib.md5(info.data).hexdigest()


def test_a_buffer_is_a_step_at_its_exact_time():
    with doom(), stepped() as pipeline:
        first = None
        for number in range(200):
            buffer = pipeline.pull().buffer
            meta = GstStepscope.buffer_get_stepscope_frame_meta(buffer)
            step = buffer.offset
            first = first or step
            assert step == first + number
            assert buffer.pts == start_of(step - 1)
            assert buffer.duration == start_of(step) - start_of(step - 1)
            assert meta.repeated or (meta.step == step and meta.virtual_time == start_of(step))
        stats = counters(pipeline)
        assert stats["dropped"] == 0
        assert stats["steps"] == stats["frames"] + first - 1
        assert stats["no-frame-steps"] == stats["repeated"] + first - 1


def test_another_rate_leaves_no_step_without_a_buffer(game):
    """The game draws once a second; what is between two of its pictures is repeated."""
    command, _ = game("wayland", "--rate", 1)
    with Session(*command, options=("--lockstep", "--no-xwayland")), Pipeline(
            f"{SOURCE} mode=lockstep ! capsfilter name=caps caps=video/x-raw,framerate=20/1 ! "
            f"{SINK} max-buffers=1") as pipeline:
        buffer = pipeline.numbered().buffer
        for rate in (40, 1000, 30):
            pipeline.pipeline.get_by_name("caps").set_property(
                "caps", Gst.Caps.from_string(f"video/x-raw,framerate={rate}/1"))
            for _ in range(10):
                step, end = buffer.offset, buffer.pts + buffer.duration
                buffer = pipeline.pull().buffer
                assert buffer.offset == step + 1
                assert buffer.pts == end
        stats = counters(pipeline)
        assert stats["no-frame-steps"] > stats["steps"] // 2, "the game was to stand still"


def test_two_runs_are_the_same():
    def run() -> list[tuple[int, str]]:
        with doom(), stepped() as pipeline:
            frames: list[tuple[int, str]] = []

            def walk(_pad, info) -> Gst.PadProbeReturn:
                """Called on the streaming thread, so before the next step: for 60 steps."""
                step = info.get_buffer().offset
                if step in (60, 120):
                    text = f"key, key=(string)Up, pressed={'true' if step == 60 else 'false'}"
                    assert pipeline.source.emit("send-input", Gst.Structure.from_string(text)[0])
                return Gst.PadProbeReturn.OK

            pipeline.source.get_static_pad("src").add_probe(Gst.PadProbeType.BUFFER, walk)
            while len(frames) < 300:
                frame = pipeline.pull()
                frames.append((frame.buffer.offset, digest(frame)))
                del frame
            return frames

    one, two = run(), run()
    assert len({shown for _, shown in one}) > 60, "the game shows hardly anything"
    differing = [(a, b) for a, b in zip(one, two) if a != b]
    assert not differing, f"{len(differing)} frames differ, the first is {differing[0]}"


def test_nothing_moves_between_steps(game):
    command, report = game("wayland", "--rate", 200)
    with Session(*command, options=("--lockstep",)), stepped(rate=100) as pipeline:
        while pipeline.pull().number is None:
            pass
        # Once the sink is full, nobody takes a step.
        time.sleep(0.5)
        commits, steps = report.frames(), counters(pipeline)["steps"]
        time.sleep(3)
        assert report.frames() == commits and counters(pipeline)["steps"] == steps
        for _ in range(4):
            pipeline.pull()
        assert counters(pipeline)["steps"] > steps


def test_the_end_of_the_game_is_the_end_of_the_stream(game):
    command, _ = game("wayland", "--rate", 50, "--frames", 20, "--exit-status", 3)
    description = (f"{SOURCE} mode=lockstep ! video/x-raw,framerate=50/1 ! "
                   "fakesink name=sink sync=false")
    with (Session(*command, options=("--lockstep",)) as session,
          Pipeline(description) as pipeline):
        ended = pipeline.message(Gst.MessageType.ELEMENT)
        while ended.get_structure().get_name() != "stepscope-ended":
            ended = pipeline.message(Gst.MessageType.ELEMENT)
        assert ended.get_structure().get_value("how") == "exited"
        assert ended.get_structure().get_value("value") == 3
        pipeline.wait_eos()
        assert counters(pipeline)["frames"] >= 10
        session.wait()


def test_a_game_that_hangs_is_named():
    with Session("sh", "-c", "while :; do :; done", options=("--lockstep",)):
        with stepped("timeout=500") as pipeline:
            error = pipeline.error()
            assert "was not done after 500 ms" in error and "runs" in error


def test_a_game_that_shows_nothing_is_an_error():
    with Session("sleep", "100000", options=("--lockstep",)):
        with stepped(rate=1) as pipeline:
            assert "no picture within 600 s" in pipeline.error()


def test_a_killed_compositor_is_an_error(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command, options=("--lockstep",)) as session, stepped(rate=60) as pipeline:
        pipeline.pull()
        os.kill(session.pid, signal.SIGKILL)
        session.wait()
        with pytest.raises(PipelineError, match="went away"):
            for _ in range(100):
                pipeline.pull()


def test_a_session_without_lockstep_says_how_to_start_it(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command):
        with pytest.raises(PipelineError, match="stepscope --lockstep"):
            stepped().play()


def test_a_rate_that_no_step_can_have_is_named(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command, options=("--lockstep",)):
        with stepped(rate=2000) as pipeline:
            assert "choose a framerate" in pipeline.error()


def test_who_only_watches_a_session_in_lock_step_is_told_so(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command, options=("--lockstep",)), Pipeline(f"{SOURCE} ! {SINK}") as watching:
        told, _ = watching.message(Gst.MessageType.INFO).parse_info()
        assert "is in lock-step" in told.message and "mode=lockstep" in told.message
        with stepped(rate=60) as pipeline:
            pipeline.pull()
            watching.pull()


def test_a_session_has_one_stepper(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command, options=("--lockstep",)), stepped(rate=60) as pipeline:
        pipeline.pull()
        with pytest.raises(PipelineError, match="another consumer"):
            stepped(rate=60).play()
        pipeline.pull()
        pipeline.stop()
        with stepped(rate=60) as other:
            other.pull()


def test_a_new_consumer_after_one_that_left_a_step_open():
    with Session("sh", "-c", "while :; do :; done", options=("--lockstep",)):
        one = stepped("timeout=0")
        one.play()
        time.sleep(0.3)
        one.stop()
        with stepped("timeout=500") as pipeline:
            assert "was not done" in pipeline.error()


ENDS_IN_ITS_OWN_TIME = """
import signal, sys, time
def end(*_):
    time.sleep(0.5)
    sys.exit(3)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("stepped_on", [True, False], ids=["stepped", "left-alone"])
def test_a_session_ends_though_its_game_has_no_time_to(stepped_on):
    with (Session(sys.executable, "-c", ENDS_IN_ITS_OWN_TIME,
                  options=("--lockstep", "--no-xwayland")) as session,
          Control(session.control) as control):
        while "ready" not in session.output():
            control.step(10**8)
        if not stepped_on:
            control.close()
        begun = time.monotonic()
        session.process.send_signal(signal.SIGTERM)
        if stepped_on:
            # Who has the session's time in hand may let the game end in order.
            while control.step(10**8).status == Status.NO_COMMIT:
                pass
            assert session.wait() == 3
        else:
            # It would wait for ever, and so should nobody wait for it.
            assert session.wait() == 128 + signal.SIGKILL
            assert time.monotonic() - begun < 4
