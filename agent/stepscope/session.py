# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions in lock-step: the compositor with a game in it, from start to end."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from stepscope.control import END_NOT_STARTED, Control, StepResult
from stepscope.errors import CompositorCrashWarning, SessionLost, StepscopeError
from stepscope.inputs import Inputs
from stepscope.scratch import Scratch

if TYPE_CHECKING:
    from stepscope.trace import Recorder

READY_SECONDS = 60  # until the compositor must take connections
END_SECONDS = 15
ANSWER_GRACE_SECONDS = 30  # for a compositor on a busy machine, beyond the step's own timeout
MAX_SEED = 2**64 - 1
LOG_LINES = 5
# What a program dies of by itself, and not by somebody's wish.
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}


def parse_rate(fps: int | float | str | Fraction) -> Fraction:
    """Steps per second of the game's time: 60, 59.94, "30000/1001"."""
    try:
        rate = Fraction(fps).limit_denominator(100000)
    except (ValueError, ZeroDivisionError, TypeError, OverflowError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise StepscopeError(f"{fps} is no frame rate; expected a number above 0, at most 1000")
    return rate


def check_environment(environment: Mapping[str, str] | None) -> Mapping[str, str]:
    """Variables for the game."""
    if environment is None:
        return {}
    if not isinstance(environment, Mapping) or not all(
        isinstance(text, str) for text in (*environment, *environment.values())
    ):
        raise StepscopeError(
            f"environment is {environment!r}; expected names and values that are strings"
        )
    return environment


class Session:
    """A game that is run one step at a time. Ends with close() or the context, and with this
    process, however that ends.

    The game has a home directory of its own that is removed at the end, unless `home` names one:
    what earlier runs left behind would make the next one different.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike],
        *,
        width: int = 640,
        height: int = 400,
        fps: int | float | str | Fraction = 60,
        seed: int | None = None,
        timeout: float = 20,
        environment: Mapping[str, str] | None = None,
        home: str | os.PathLike | None = None,
        name: str = "",
        platform: str = "auto",
        xwayland: bool = True,
        gamepads: int = 0,
        renderer: str = "pixman",
        options: Sequence[str] = (),
    ):
        self.command = [os.fspath(word) for word in command]
        self.rate = parse_rate(fps)
        self.timeout = timeout
        self.log_text = ""
        self.recorder: Recorder | None = None  # of what it shows, set before the first step
        self._steps = 0
        self._control: Control | None = None
        self._process: subprocess.Popen | None = None
        self._directory: Path | None = None
        if not self.command:
            raise StepscopeError("no command given; expected the game and its arguments")
        if seed is not None and not 0 <= seed <= MAX_SEED:
            raise StepscopeError(f"{seed} is no seed; expected 0 to {MAX_SEED}")
        if not timeout > 0:
            raise StepscopeError(f"a timeout of {timeout} s; expected more than 0")
        program = shutil.which("stepscope")
        if not program:
            raise StepscopeError("the program stepscope is not on PATH")
        arguments = [program, "--lockstep", "--die-with-parent", "-W", str(width), "-H", str(height)]
        arguments += ["-r", f"{self.rate.numerator}/{self.rate.denominator}"]
        arguments += ["--renderer", renderer, "--platform", platform]
        if seed is not None:
            arguments += ["--seed", str(seed)]
        if not xwayland:
            arguments += ["--no-xwayland"]
        if gamepads:
            arguments += ["--gamepads", str(gamepads)]
        if name:
            arguments += ["--session", name]
        additions = check_environment(environment)
        self._scratch = Scratch()
        try:
            self._start([*arguments, *options], additions, home)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __del__(self):
        with contextlib.suppress(Exception):
            self.close()

    @property
    def control(self) -> Control:
        if self._control is None:
            raise StepscopeError("the session is closed")
        return self._control

    @property
    def steps(self) -> int:
        """Steps begun so far."""
        return self._steps

    @property
    def pid(self) -> int:
        """The compositor's process."""
        return self._process.pid if self._process else 0

    def log_tail(self) -> str:
        """The last lines that the compositor and the game wrote, on one line."""
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        return " | ".join(lines[-LOG_LINES:])

    def log(self) -> str:
        """All that the compositor and the game wrote."""
        with contextlib.suppress(OSError):
            self.log_text = (self._scratch.path / "log").read_text(errors="replace")
        return self.log_text

    def begin_step(self, count: int = 1) -> None:
        """Sends a step that takes the time of `count` frames; the inputs before it come with it."""
        before = self._steps * 10**9 // self.rate
        self._steps += count
        after = self._steps * 10**9 // self.rate
        self.control.begin_step(after - before, round(self.timeout * 1000))

    def finish_step(self) -> StepResult:
        try:
            result = self.control.finish_step()
        except SessionLost:
            self._check_started()
            raise
        self.inputs.time_ms = result.now_ns // 1_000_000 & 0xFFFFFFFF
        if self.recorder is not None:
            self.recorder.add_step(self, result)
        return result

    def step(self, count: int = 1) -> StepResult:
        self.begin_step(count)
        return self.finish_step()

    def close(self) -> None:
        """Ends the game and the compositor; nothing of them is left."""
        if self._control is not None:
            self._control.close()
            self._control = None
        process, self._process = self._process, None
        if process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(END_SECONDS)
                    break
        # Another session may have the same directory from here on.
        directory, self._directory = self._directory, None
        if directory is not None:
            # After a compositor that was killed somebody else ends the game, and removes this last.
            deadline = time.monotonic() + END_SECONDS
            while directory.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        end_of_log = self.log_tail()
        self._scratch.remove()
        died_of = -(process.returncode or 0) if process is not None else 0
        if died_of in CRASHES:
            name = signal.Signals(died_of).name
            message = f"the session's compositor died of {name}; its log: {end_of_log}"
            warnings.warn(message, CompositorCrashWarning, stacklevel=2)

    def _start(
        self,
        arguments: list[str],
        additions: Mapping[str, str],
        home: str | os.PathLike | None,
    ) -> None:
        reader, writer = os.pipe()
        try:
            with open(self._scratch.path / "log", "wb") as log:
                self._process = subprocess.Popen(
                    [*arguments, "--ready-fd", str(writer), "--", *self.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment(additions, home),
                    pass_fds=[writer],
                    start_new_session=True,  # Ctrl-C is for this process, which ends it in order
                )
            os.close(writer)
            writer = -1
            ready = self._read_ready(reader)
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)
        self._directory = Path(ready["control"]).parent
        try:
            self._connect(ready)
        except SessionLost as error:
            self._check_started()
            # Most likely the game could not be started, which the compositor says as it ends.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
            raise SessionLost(f"the session did not start: {self.log_tail() or error}") from error

    def _connect(self, ready: dict[str, str]) -> None:
        self._control = Control(ready["control"], self.timeout + ANSWER_GRACE_SECONDS)
        self.inputs = Inputs(self._control)
        self._control.roundtrip()
        self._check_started()

    def _check_started(self) -> None:
        """The session tells so at any time: the game starts after the X server, if there is one."""
        how, number = (self._control and self._control.facts.ended) or (0, 0)
        if how == END_NOT_STARTED:
            raise SessionLost(f"'{self.command[0]}' can't be started: {os.strerror(number)}")

    def _environment(
        self, additions: Mapping[str, str], home: str | os.PathLike | None
    ) -> dict[str, str]:
        environment = dict(os.environ)
        if home is None:
            place = self._scratch.path / "home"
            place.mkdir()
            for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
                environment.pop(variable, None)
            environment["HOME"] = str(place)
        else:
            environment["HOME"] = os.fspath(home)
        # Of this process, which may well have no window, and not of a game that has to show one.
        for variable in ("SDL_VIDEODRIVER", "SDL_VIDEO_DRIVER"):
            environment.pop(variable, None)
        # Sound hardware has a clock of its own, which no step stops.
        environment |= {"SDL_AUDIODRIVER": "dummy", "SDL_AUDIO_DRIVER": "dummy"}
        return environment | dict(additions)

    def _read_ready(self, reader: int) -> dict[str, str]:
        data = b""
        deadline = time.monotonic() + READY_SECONDS
        while not data.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([reader], [], [], left)[0]:
                raise SessionLost(f"the compositor was not ready after {READY_SECONDS} s")
            more = os.read(reader, 4096)
            if not more:
                raise SessionLost(f"the compositor ended before it was ready: {self.log_tail()}")
            data += more
        return dict(word.partition("=")[::2] for word in data.decode().split())
