# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sound in lock-step: as many samples as virtual time has passed, together with the pictures."""

import os
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from support import beeps
from support.pipeline import SINK, SOURCE, Gst, Pipeline, PipelineError
from support.session import Session

RATE = 48000
FPS = 30
# Seconds of the game's time; 60 were recorded for the record.
SECONDS = int(os.environ.get("STEPSCOPE_TEST_SOUND_SECONDS", "4"))
RUNS = int(os.environ.get("STEPSCOPE_TEST_SOUND_RUNS", "3"))
# With an X server, time begins some milliseconds later, and between two frames of the test game.
SOUND = ("--lockstep", "--audio", "session", "--no-xwayland")

pytestmark = pytest.mark.usefixtures("with_sound")


def pipeline(frames: int, fps: int) -> Pipeline:
    length = frames * Gst.SECOND // fps
    return Pipeline(f"""
        {SOURCE} mode=lockstep num-buffers={frames} ! video/x-raw,framerate={fps}/1
        ! {SINK} max-buffers=2
        stepsoundsrc duration={length}
        ! {SINK.replace('name=sink', 'name=sound')} max-buffers=0""")


def samples_of(pipe: Pipeline) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """All of the sound, left and right, and each buffer's PTS and number of samples."""
    sink = pipe.pipeline.get_by_name("sound")
    parts, buffers = [], []
    while sample := sink.emit("try-pull-sample", 20 * Gst.SECOND):
        buffer = sample.get_buffer()
        with buffer.map(Gst.MapFlags.READ) as info:
            parts.append(np.frombuffer(bytes(info.data), np.int16).reshape(-1, 2))
        buffers.append((buffer.pts, len(parts[-1])))
    pipe.raise_errors()
    assert sink.get_property("eos"), "the sound did not end"
    return np.concatenate(parts), buffers


def starts(loud: np.ndarray) -> list[int]:
    """Where it gets loud after a quarter of a second of silence."""
    places = np.flatnonzero(loud)
    return [int(place) for index, place in enumerate(places)
            if place - (places[index - 1] if index else -RATE) > RATE // 4]


def check_flashes_and_beeps(pipe: Pipeline, frames: int) -> set[float]:
    """By how many samples a game's flashes come after its beeps, all of them."""
    flashes, was_bright, times = [], True, []
    for _ in range(frames):
        frame = pipe.pull()
        bright = bool(frame.image()[::16, ::16, :3].mean() > beeps.WHITE)
        if bright and not was_bright:
            flashes.append(frame.pts)
        was_bright = bright
        times.append(frame.pts)
        del frame
    sound, buffers = samples_of(pipe)
    # Exactly rate × Δ samples for each step.
    assert len(sound) == frames * RATE // FPS
    position = 0
    for pts, count in buffers:
        assert pts == position * Gst.SECOND // RATE
        assert count % (RATE // FPS) == 0  # a buffer may have several steps
        position += count
    assert times == [step * Gst.SECOND // FPS for step in range(frames)]
    # The first beep is cut short by the start.
    beeped = [place for place in starts(np.abs(sound[:, 0]) > beeps.LOUD) if place > RATE // 2]
    assert len(beeped) >= frames // FPS - 2
    seen = [pts * RATE / Gst.SECOND for pts in flashes]
    # A beep at the end is heard before the next picture would show its flash.
    return {min((flash - place for flash in seen if flash >= place), default=0)
            for place in beeped if place <= seen[-1]}


def test_a_flash_and_its_beep_are_at_the_same_sample(game):
    frames = SECONDS * FPS
    command, _ = game("wayland", "--vsync", "--beep", "--alsa")
    with Session(*command, options=SOUND), pipeline(frames, FPS) as pipe:
        assert check_flashes_and_beeps(pipe, frames) == {0}


def launched(command: list[str], properties: str) -> Pipeline:
    """The same by steamlaunchsrc."""
    words = shlex.join(map(str, command)).replace("\\", "\\\\").replace('"', '\\"')
    return Pipeline(f"""
        steamlaunchsrc name=source mode=lockstep width=640 height=360 {properties} command="{words}"
        source.video ! video/x-raw,framerate={FPS}/1 ! {SINK} max-buffers=2
        source.audio ! {SINK.replace('name=sink', 'name=sound')} max-buffers=0""")


def test_steamlaunchsrc_has_them_together(game, tmp_path):
    frames = SECONDS * FPS
    command, _ = game("wayland", "--vsync", "--beep", "--alsa")
    program = tmp_path / "stepscope"
    program.write_text(f"#!/bin/sh\nexec '{shutil.which('stepscope')}' --no-xwayland \"$@\"\n")
    program.chmod(0o755)
    with launched(command, f"num-buffers={frames} stepscope={program}") as pipe:
        assert check_flashes_and_beeps(pipe, frames) == {0}


def test_steamlaunchsrc_has_them_together_beside_an_x_server(game):
    """The game's seconds then begin between two of its frames; the flash is in the next one."""
    frames = SECONDS * FPS
    command, _ = game("wayland", "--vsync", "--beep", "--alsa")
    with launched(command, f"num-buffers={frames}") as pipe:
        apart = check_flashes_and_beeps(pipe, frames)
    assert len(apart) == 1 and 0 <= min(apart) < RATE // FPS, apart


def test_steamlaunchsrc_ends_them_together(game):
    """By an event of the application's: the last step's sound is still waited for."""
    command, _ = game("wayland", "--vsync", "--beep", "--alsa")
    with launched(command, "") as pipe:
        pipe.pull()
        pipe.pipeline.send_event(Gst.Event.new_eos())
        frames = 1
        while sample := pipe.sink.emit("try-pull-sample", 20 * Gst.SECOND):
            frames += 1
            del sample
        sound, _ = samples_of(pipe)
    assert len(sound) == frames * RATE // FPS


def test_steamlaunchsrc_ends_with_its_game(game):
    """All that was heard comes, up to the step in which the game ended."""
    command, _ = game("wayland", "--vsync", "--beep", "--alsa", "--frames", 20)
    with launched(command, "") as pipe:
        last = pipe.pull().pts
        while sample := pipe.sink.emit("try-pull-sample", 60 * Gst.SECOND):
            last = sample.get_buffer().pts
            del sample
        sound, _ = samples_of(pipe)
    steps = round(last * FPS / Gst.SECOND) + 1
    assert steps > 10 and steps <= len(sound) * FPS / RATE <= steps + 1


def test_steamlaunchsrc_goes_on_with_another_run(game):
    """Pictures and sound of a game that ended and was started again: in one stream, without
    overlap."""
    command, _ = game("wayland", "--vsync", "--beep", "--alsa", "--frames", 20)
    with launched(command, "on-exit=restart") as pipe:
        def running_time(sample: Gst.Sample) -> int:
            return sample.get_segment().to_running_time(Gst.Format.TIME, sample.get_buffer().pts)

        seen = [running_time(pipe.pull().sample) for _ in range(70)]
        sink = pipe.pipeline.get_by_name("sound")
        heard = []
        while not heard or heard[-1][1] < seen[-1]:
            sample = sink.emit("try-pull-sample", 20 * Gst.SECOND)
            begin = running_time(sample)
            heard.append((begin, begin + sample.get_buffer().duration))
            del sample
    assert all(after > before for before, after in pairwise(seen)), seen
    assert heard[0][0] == 0
    # A run begins where the last one's end was, up to the nanosecond.
    assert all(abs(after[0] - before[1]) <= 1 for before, after in pairwise(heard)), heard


def test_a_recording_has_them_together(game, tmp_path):
    path = tmp_path / "beep.mkv"
    frames = SECONDS * FPS
    command, _ = game("wayland", "--vsync", "--beep", "--alsa")
    with Session(*command, options=SOUND):
        pipe = Pipeline(f"""
            matroskamux name=mux ! filesink location={path}
            {SOURCE} mode=lockstep num-buffers={frames} ! video/x-raw,framerate={FPS}/1
            ! videoconvert ! jpegenc ! queue ! mux.
            stepsoundsrc duration={SECONDS * Gst.SECOND} ! queue max-size-time=0
            ! audioconvert ! flacenc ! mux.""")
        with pipe:
            pipe.wait_eos()
    apart = beeps.offsets(path)
    assert len(apart) >= SECONDS - 2
    # Matroska counts in milliseconds.
    assert max(abs(offset) for offset in apart) <= 0.001, apart


def sound_of_doom() -> np.ndarray:
    doom = Path("/usr/share/games/doom/freedoom1.wad")
    if not shutil.which("chocolate-doom") or not doom.exists():
        pytest.skip("chocolate-doom or freedoom is not installed")
    command = ("chocolate-doom", "-iwad", str(doom), "-window", "-nogui")
    with Session(*command, options=SOUND, size="320x200",
                 environment={"SDL_AUDIODRIVER": "alsa"}) as session, pipeline(140, 35) as pipe:
        pipe.drain()
        sound, _ = samples_of(pipe)
        assert "sound was lost" not in session.output()
    return sound


def test_an_ordinary_game_is_heard(runtime):
    """And sounds the same in each run, although its sound thread starts beside the rest."""
    first = sound_of_doom()
    assert len(first) == 4 * RATE
    assert np.abs(first).max() > beeps.LOUD, "the game was silent"
    for _ in range(RUNS - 1):
        assert np.array_equal(sound_of_doom(), first)


def test_a_session_without_sound_says_so(game):
    command, _ = game("wayland")
    with Session(*command, options=("--lockstep",)), pytest.raises(PipelineError) as error:
        with pipeline(1, FPS):
            pass
    assert "--lockstep --audio session" in str(error.value)
