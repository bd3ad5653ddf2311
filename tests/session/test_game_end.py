# SPDX-License-Identifier: LGPL-2.1-or-later
"""How a game's end shows in lock-step: its last picture is seen, then its end is told, at the same
virtual time in each run."""

import contextlib
import os
import subprocess
import sys

import pytest
from stepscope.control import Status

import stepscope
from support.frame_code import read_frame_number
from support.processes import is_alive, wait_until

pytestmark = pytest.mark.usefixtures("runtime")

RUNS = int(os.environ.get("STEPSCOPE_TEST_END_RUNS", "4"))
FPS = 30
STEP_NS = 10**9 // FPS
FRAMES = 5


@contextlib.contextmanager
def busy_machine():
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def steps_of(backend, *options, sound=False, xwayland=None):
    """Each step's status, number of its picture and time, up to the one that says the game ended."""
    command = ["stepscope-testgame", "--backend", backend, "--fullscreen", *map(str, options)]
    seen = []
    with stepscope.Session(command, width=320, height=200, fps=FPS, seed=1, timeout=20,
                           xwayland=backend == "x11" if xwayland is None else xwayland,
                           options=("--audio", "session") if sound else ()) as session:
        for _ in range(60):
            result = session.control.step(STEP_NS, 20000)
            number = read_frame_number(result.picture.rgb()) if result.fresh else None
            seen.append((result.status, number, result.now_ns))
            if result.status >= Status.EXITED:
                wait_until(lambda: not is_alive(session.pid), "the end of the session")
                return seen
    raise AssertionError(f"not over: {seen[-5:]}")


# The game ends as soon as anything wakes it after its last frame, a buffer that comes back for one,
# and at 60 Hz it draws two frames a step and is ahead of what is seen.
@pytest.mark.parametrize("options", [("--rate", 30), ("--rate", 60), ("--vsync",)],
                         ids=["one-a-step", "two-a-step", "vsync"])
@pytest.mark.parametrize("backend", ["wayland", "x11"])
def test_the_last_picture_is_seen_and_then_the_end_is_told(backend, options):
    first = steps_of(backend, *options, "--frames", FRAMES)
    assert [now for *_, now in first] == [step * STEP_NS for step in range(1, len(first) + 1)]
    assert first[-2][:2] == (Status.PRESENTED, FRAMES)
    assert first[-1][:2] == (Status.EXITED, None)
    numbers = [number for _, number, _ in first if number is not None]
    if backend == "wayland":
        assert numbers == list(range(numbers[0], FRAMES + 1)), "a committed picture was lost"
    with busy_machine():
        for _ in range(RUNS - 1):
            assert steps_of(backend, *options, "--frames", FRAMES) == first


@pytest.mark.parametrize("backend", ["wayland", "x11"])
@pytest.mark.usefixtures("with_sound")
def test_so_it_is_with_sound(backend):
    def steps():
        return [(status, now) for status, _, now in steps_of(
            backend, "--rate", FPS, "--beep", "--alsa", "--frames", FRAMES, sound=True)]

    first = steps()
    # The session's first picture is its empty screen, where the game is not faster.
    assert [status for status, _ in first][-FRAMES:] == [
        *[Status.PRESENTED] * (FRAMES - 1), Status.EXITED]
    assert [now for _, now in first] == [step * STEP_NS for step in range(1, len(first) + 1)]
    with busy_machine():
        for _ in range(RUNS - 1):
            assert steps() == first
