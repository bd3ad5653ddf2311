# SPDX-License-Identifier: LGPL-2.1-or-later
"""The present gate: an action shows in the next picture, and without a step nothing moves.

docs/virtual-time.md has the table of what is measured here; with STEPSCOPE_PRESENT_GATE=off it is
measured without the gate.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from stepscope.control import Control, Gate, Status
from stepscope.inputs import Inputs
from support.frame_code import read_frame_number, read_input_sequence
from support.session import Report, Session

pytestmark = pytest.mark.usefixtures("runtime")

STEP_NS = 16_666_667
STEP_TIMEOUT_MS = 60_000
STARTUP_STEPS = 300
PAUSE = 10
TRIALS = 8


@dataclass(frozen=True)
class Way:
    """A way to show frames, and what the session makes of it."""

    backend: str
    options: tuple[str, ...]
    gate: Gate = Gate.PRESENT
    api: str = ""

    @property
    def name(self) -> str:
        return "-".join([self.backend, *(word.removeprefix("--") for word in self.options)])


def vulkan(backend: str, mode: str) -> Way:
    return Way(backend, ("--graphics", "vulkan", "--present-mode", mode), api="Vulkan")


def swapped(backend: str, api: str, interval: int, *more: str) -> Way:
    return Way(backend, ("--graphics", api, "--interval", str(interval), *more), api=api.upper())


GATED = [
    *(swapped("wayland", "egl", interval) for interval in (0, 1)),
    swapped("wayland", "egl", 1, "--swap-damage"),
    *(vulkan("wayland", mode) for mode in ("fifo", "mailbox", "immediate")),
    *(swapped("x11", api, interval) for api in ("egl", "glx") for interval in (0, 1)),
    *(vulkan("x11", mode) for mode in ("fifo", "mailbox", "immediate")),
]
UNGATED = [
    Way("wayland", ("--vsync",), gate=Gate.CALLBACKS),
    Way("wayland", (), gate=Gate.CALLBACKS),
    Way("x11", ("--vsync",), gate=Gate.CALLBACKS),
    Way("x11", (), gate=Gate.CALLBACKS),
]


class Probe:
    """A session with the test game that shows frames in one way, and its time in our hands."""

    def __init__(self, way: Way, report: Report, *options: str, number: int = 0,
                 environment: dict[str, str] | None = None):
        rate = "0" if way.gate == Gate.PRESENT else "60"
        self.way, self.report, self.now_ns = way, report, 0
        arguments = ("--lockstep",) if way.backend == "x11" else ("--lockstep", "--no-xwayland")
        self.session = Session(
            "stepscope-testgame", "--backend", way.backend, "--fullscreen", "--rate", rate,
            "--report", str(report.path), *way.options, *options, options=arguments,
            size="320x200", name=f"probe-{number}", environment=environment)

    def __enter__(self) -> Probe:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.session)
            self.control = stack.enter_context(Control(self.session.control))
            self.inputs = Inputs(self.control)
            for _ in range(STARTUP_STEPS):
                self.step()
                if self.shown() and self.control.gate != Gate.NONE:
                    break
            else:
                raise AssertionError(f"{self.way.name} showed nothing: {self.session.output()}")
            for _ in range(10):
                self.step()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *failure) -> None:
        self.stack.__exit__(*failure)

    def step(self) -> Status:
        result = self.control.step(STEP_NS, STEP_TIMEOUT_MS)
        assert result.status <= Status.NO_COMMIT, f"{self.way.name}: {result.message}"
        assert result.now_ns == self.now_ns + STEP_NS, self.way.name
        self.now_ns = result.now_ns
        return result.status

    def shown(self) -> int | None:
        picture = self.control.picture
        return read_frame_number(picture.bgrx) if picture else None

    def seen_input(self) -> int | None:
        return read_input_sequence(self.control.picture.bgrx)

    def latency(self) -> int:
        """Steps from a key to the picture that shows it; 1 is the step right after the key."""
        for _ in range(4):
            self.step()
        before = self.seen_input()
        self.inputs.press("a", "a" not in self.inputs.held)
        for steps in range(1, 20):
            self.step()
            if self.seen_input() != before:
                return steps
        raise AssertionError(f"{self.way.name} did not show the key")

    def commits(self) -> int:
        return self.session.output().count(".commit()")


@pytest.fixture
def report(tmp_path):
    count = 0

    def make() -> Report:
        nonlocal count
        count += 1
        return Report(tmp_path / f"report-{count}")

    return make


@functools.cache
def can_draw_with_drivers() -> bool:
    said = subprocess.run(["stepscope-testgame", "--help"], capture_output=True, text=True,
                          check=True)
    return "--graphics" in said.stdout


def ways() -> list[Way]:
    return [*(GATED if can_draw_with_drivers() else []), *UNGATED]


@pytest.mark.parametrize("way", GATED, ids=lambda way: way.name)
def test_an_action_shows_in_the_next_picture(way, report):
    if not can_draw_with_drivers():
        pytest.skip("the test game was built without EGL, GLX and Vulkan")
    with Probe(way, report()) as probe:
        first = probe.shown()
        latencies = [probe.latency() for _ in range(TRIALS)]
        assert latencies == [1] * TRIALS
        steps = probe.now_ns // STEP_NS
        assert probe.control.gate == Gate.PRESENT
        assert probe.control.present_apis == [way.api]
        # Not one frame more than steps, and none that was left out.
        for _ in range(20):
            assert probe.step() == Status.PRESENTED
        assert probe.shown() - first == probe.now_ns // STEP_NS - steps + sum(
            4 + latency for latency in latencies)


@pytest.mark.parametrize("way", UNGATED, ids=lambda way: way.name)
def test_the_session_says_that_there_is_no_present_gate(way, report):
    with Probe(way, report()) as probe:
        assert max(probe.latency() for _ in range(TRIALS)) <= 3
        assert probe.control.gate == Gate.CALLBACKS
        assert probe.control.present_apis == []


def test_a_launcher_hands_over_to_a_game_that_is_held():
    if not can_draw_with_drivers():
        pytest.skip("the test game was built without EGL, GLX and Vulkan")
    game = ("--graphics", "egl", "--rate", "0", "--fullscreen")
    with (Session("stepscope-testgame", "--handover", "--fullscreen", "--", *game, size="320x200",
                  options=("--lockstep", "--no-xwayland")) as session,
          Control(session.control) as control):
        gates = []
        for _ in range(STARTUP_STEPS):
            assert control.step(STEP_NS, STEP_TIMEOUT_MS).status <= Status.NO_COMMIT
            gates += [control.gate] if control.gate not in gates else []
            if control.gate == Gate.PRESENT:
                break
        assert gates[-2:] == [Gate.CALLBACKS, Gate.PRESENT]
        # The launcher lingers, and shows frames of its own.
        first = read_frame_number(control.picture.bgrx)
        for _ in range(6):
            assert control.step(STEP_NS, STEP_TIMEOUT_MS).status == Status.PRESENTED
        assert read_frame_number(control.picture.bgrx) == first + 6
        assert session.output().count("is held at its presents (EGL)") == 1


KNOCK = """
import os, socket, time
time.sleep(2)
knock = socket.socket(socket.AF_UNIX)
knock.connect("/tmp/.X11-unix/X" + os.environ["DISPLAY"][1:])
knock.send(b"l\\0\\x0b\\0" + bytes(8))
print("the X server answers", len(knock.recv(8)), flush=True)
time.sleep(100)
"""


def test_an_x_server_that_starts_again_frees_nobody():
    """It needs time that is nobody's step, and the game that is held until the next one stays so:
    it would be a frame ahead for ever."""
    if not can_draw_with_drivers():
        pytest.skip("the test game was built without EGL, GLX and Vulkan")
    script = (f"{sys.executable} -c '{KNOCK}' & "
              "exec stepscope-testgame --backend wayland --graphics egl --rate 0 --fullscreen")
    with (Session("sh", "-c", script, options=("--lockstep",), size="320x200") as session,
          Control(session.control) as control):
        inputs, steps = Inputs(control), 0

        def step() -> int | None:
            nonlocal steps
            result = control.step(STEP_NS, STEP_TIMEOUT_MS)
            steps += 1
            assert result.status <= Status.NO_COMMIT, result.message
            assert result.now_ns == steps * STEP_NS
            return read_input_sequence(control.picture.bgrx) if control.picture else None

        while control.gate != Gate.PRESENT:
            step()
            assert steps < STARTUP_STEPS
        os.kill(session.xwayland(), signal.SIGKILL)
        for down in [True, False] * 80:
            before = step()
            inputs.press("a", down)
            assert step() != before, f"step {steps} does not show what was pressed before it"
        assert "the X server answers 8" in session.output()


@pytest.mark.parametrize("api", ["egl", "vulkan"])
def test_a_game_that_is_killed_in_its_present(api, report):
    if not can_draw_with_drivers():
        pytest.skip("the test game was built without EGL, GLX and Vulkan")
    way = swapped("wayland", "egl", 1) if api == "egl" else vulkan("wayland", "fifo")
    with Probe(way, report()) as probe:
        os.kill(probe.report.pid, signal.SIGKILL)
        result = probe.control.step(STEP_NS, STEP_TIMEOUT_MS)
        assert result.status == Status.CRASHED
        assert "signal 9" in result.message


@pytest.mark.parametrize("company", [0, 2], ids=["alone", "with-threads-and-children"])
def test_nothing_moves_without_a_step(company, report):
    with contextlib.ExitStack() as stack:
        # The compositor writes down all that it is sent.
        probes = [
            stack.enter_context(Probe(way, report(), "--company", str(company), number=number,
                                      environment={"WAYLAND_DEBUG": "server"}))
            for number, way in enumerate(ways())]
        time.sleep(1)
        before = [(probe.commits(), len(probe.report.all())) for probe in probes]
        assert all(commits > 10 and events > 10 for commits, events in before)
        time.sleep(PAUSE)
        after = [(probe.commits(), len(probe.report.all())) for probe in probes]
        moved = [probe.way.name for probe, one, two in zip(probes, before, after) if one != two]
        assert not moved, f"not stopped: {moved}"
        for probe in probes:
            ticks = len(probe.report.events("tick"))
            number = probe.shown()
            for _ in range(3):
                probe.step()
            assert probe.shown() > number, probe.way.name
            # Each of the company ticks each 5 ms: a thread, a child and the child's thread.
            more = len(probe.report.events("tick")) - ticks
            assert 9 * company * 3 - company * 3 <= more <= 11 * company * 3


@pytest.mark.parametrize("wsi", ["wayland", "xcb"])
def test_vkcube_stops(wsi):
    if not shutil.which("vkcube"):
        pytest.skip("vkcube is not installed")
    with (Session("vkcube", "--wsi", wsi, options=("--lockstep",), size="320x200",
                  environment={"WAYLAND_DEBUG": "server"}) as session,
          Control(session.control) as control):
        fresh = 0
        for _ in range(STARTUP_STEPS):
            fresh += control.step(STEP_NS, STEP_TIMEOUT_MS).status == Status.PRESENTED
            if fresh == 20:
                break
        assert control.gate == Gate.PRESENT
        time.sleep(1)
        commits = session.output().count(".commit()")
        time.sleep(PAUSE)
        assert session.output().count(".commit()") == commits > 10
        assert control.step(STEP_NS, STEP_TIMEOUT_MS).status == Status.PRESENTED
