# SPDX-License-Identifier: LGPL-2.1-or-later
"""wlscreencopysrc display=…: the pictures of compositors that are not ours."""

import time

import pytest

from support.compositors import CAPTURABLE, Compositor
from support.pipeline import SINK, Gst, Pipeline, PipelineError, errors_of, launch

SIZE = (1280, 720)  # of an output of wlroots' headless backend


def source(compositor: Compositor, options: str = "", middle: str = "") -> str:
    return (f"wlscreencopysrc name=source display={compositor.display} {options} {middle}"
            f" ! {SINK}")


def refusal(description: str) -> str:
    """The error of a pipeline that does not start."""
    pipeline = Pipeline(description)
    try:
        pipeline.play()
    except PipelineError as error:
        return str(error)
    finally:
        pipeline.stop()
    raise AssertionError("it started")


@pytest.fixture
def fullscreen(runtime, game):
    command, _ = game("wayland", "--fullscreen")
    return command


@pytest.mark.parametrize("kind", CAPTURABLE)
def test_pictures_of_a_game(kind, fullscreen):
    with Compositor(kind, *fullscreen) as other, Pipeline(source(other)) as pipeline:
        frame = pipeline.numbered()
        assert frame.size == SIZE
        assert frame.structure.get_value("format") == "BGRx"
        last, pts = frame.number, frame.pts
        for _ in range(60):
            frame = pipeline.pull()
            # Nothing comes while nothing changes, and no picture is torn.
            assert frame.check().intact
            assert frame.number > last
            assert frame.pts > pts
            last, pts = frame.number, frame.pts
        stats = pipeline.stats()
        assert stats["copied"] == stats["frames"] >= 60
        assert stats["passed-through"] == stats["composed"] == stats["repeated"] == 0
        assert stats["imports"] <= 4  # max-buffers


@pytest.mark.parametrize("kind", CAPTURABLE)
def test_held_pictures_do_not_change(kind, fullscreen):
    with Compositor(kind, *fullscreen) as other, \
            Pipeline(source(other, "max-buffers=4")) as pipeline:
        held = [pipeline.numbered()]
        held += [pipeline.pull() for _ in range(3)]
        numbers = [frame.number for frame in held]
        time.sleep(0.5)  # some thirty pictures of the game
        assert [frame.number for frame in held] == numbers
        assert all(frame.check().intact for frame in held)
        pipeline.stop()
        assert [frame.number for frame in held] == numbers


def test_path_is_announced(fullscreen):
    with Compositor("cage", *fullscreen) as other, Pipeline(source(other)) as pipeline:
        message = pipeline.message(Gst.MessageType.ELEMENT)
        facts = message.get_structure()
        assert facts.get_name() == "stepscope-path"
        assert facts.get_value("path") == "copied"
        assert facts.get_value("reason") == "screencopy"


def test_constant_rate_repeats_what_does_not_change(runtime, game):
    command, _ = game("wayland", "--fullscreen", "--rate", "5")
    with Compositor("cage", *command) as other, \
            Pipeline(source(other, "", "! video/x-raw,framerate=50/1")) as pipeline:
        pipeline.numbered()
        frames = [pipeline.pull() for _ in range(50)]
        spaces = {b.pts - a.pts for a, b in zip(frames, frames[1:])}
        assert all(space % (Gst.SECOND // 50) == 0 for space in spaces)
        repeated = [frame for frame in frames if frame.buffer.has_flags(Gst.BufferFlags.GAP)]
        assert 50 - len(repeated) >= len({frame.number for frame in frames}) - 1
        assert len(repeated) > 20


def test_region_is_cut_out(fullscreen):
    with Compositor("sway", *fullscreen) as other:
        with Pipeline(source(other, 'region="0,0,320,180"')) as pipeline:
            frame = pipeline.numbered()
            assert frame.size == (320, 180)
            assert frame.check().intact
        with Pipeline(source(other, 'region="8,8,320,180"')) as pipeline:
            image = pipeline.pull().image()[:, :, :3]
            # The game's code has 136x64 pixels, and 8 of them are cut off at each side.
            assert (image[56:, :] == image[179, 319]).all()
            assert (image[:, 128:] == image[179, 319]).all()
            assert not (image[:56, :128] == image[179, 319]).all()
        # To the last pixel, where the rows' ends lie beyond the picture's.
        with Pipeline(source(other, 'region="640,360,640,360"')) as pipeline:
            image = pipeline.pull().image()[:, :, :3]
            assert (image == image[0, 0]).all()


def test_outputs_by_name(fullscreen):
    with Compositor("sway", *fullscreen, outputs=2) as other:
        assert "several outputs; it has: HEADLESS-1, HEADLESS-2" in refusal(source(other))
        assert "no output 'DP-1'; it has: HEADLESS-1, HEADLESS-2" in refusal(
            source(other, "output=DP-1"))
        with Pipeline(source(other, "output=HEADLESS-2")) as pipeline:
            assert pipeline.pull().size == SIZE


def test_another_mode_is_a_caps_change(fullscreen):
    with Compositor("sway", *fullscreen) as other, Pipeline(source(other)) as pipeline:
        pipeline.numbered()
        other.swaymsg("output", "HEADLESS-1", "mode", "--custom", "800x600")
        changed = pipeline.pull_until(lambda frame: frame.size == (800, 600), "the new size")
        assert changed.buffer.has_flags(Gst.BufferFlags.DISCONT)
        last = pipeline.pull_until(lambda frame: frame.number and frame.check().intact,
                                   "the game in the new size")
        assert last.size == (800, 600)


def test_output_goes_away(fullscreen):
    with Compositor("sway", *fullscreen, outputs=2) as other, \
            Pipeline(source(other, "output=HEADLESS-1")) as pipeline:
        pipeline.pull()
        other.swaymsg("output", "HEADLESS-1", "unplug")
        facts = pipeline.message(Gst.MessageType.ELEMENT).get_structure()
        while facts.get_name() != "stepscope-ended":
            facts = pipeline.message(Gst.MessageType.ELEMENT).get_structure()
        assert facts.get_value("how") == "output-gone"
        pipeline.drain()


def test_compositor_dies(fullscreen):
    with Compositor("labwc", *fullscreen) as other, Pipeline(source(other)) as pipeline:
        pipeline.pull()
        other.kill()
        with pytest.raises(PipelineError, match="went away"):
            pipeline.drain()


def test_stops_while_nothing_changes(runtime):
    with Compositor("sway") as other, Pipeline(source(other)) as pipeline:
        pipeline.pull()
        time.sleep(0.3)
        began = time.monotonic()
        pipeline.stop()
        assert time.monotonic() - began < 5


def test_compositor_without_a_protocol(runtime):
    with Compositor("weston") as other:
        done = launch(f"wlscreencopysrc display={other.display} ! fakesink")
        assert done.returncode != 0
        assert "offers neither ext-image-copy-capture-v1 nor wlr-screencopy" in errors_of(
            done.stdout + done.stderr)[0]


@pytest.mark.parametrize(("options", "expected"), [
    ("mode=lockstep", "no Stepscope session, and only those can be stepped"),
    ("zero-copy=require", "others copy each picture"),
    ("session=game", "are both set"),
    ("region=1,2", "is no rectangle"),
    ("region=\"1200,0,640,360\"", "is not within output 'HEADLESS-1'"),
])
def test_what_others_can_not(options, expected, runtime):
    with Compositor("sway") as other:
        assert expected in refusal(source(other, options))


def test_no_such_display(runtime):
    message = refusal("wlscreencopysrc name=source display=wayland-9 ! fakesink")
    assert message.endswith("No such file or directory; no display is there")


def test_other_size_than_the_output(runtime):
    with Compositor("sway") as other, Pipeline(
            source(other, "", "! video/x-raw,width=640,height=360")) as pipeline:
        assert "insert videoscale" in pipeline.error()
