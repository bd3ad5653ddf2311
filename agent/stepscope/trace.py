# SPDX-License-Identifier: LGPL-2.1-or-later
"""Traces: what a game was given and what it showed, step by step, in one file of JSON lines.

The first line is the header; each other line is a step, with the hash of its picture where it
showed a new one. Two runs are the same when all steps are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stepscope import gamepads, keys
from stepscope.control import Gate, Picture, Status, StepResult
from stepscope.errors import StepscopeError
from stepscope.inputs import Inputs
from stepscope.session import Session

FORMAT = 1
CLOCK_LIBRARY = "libstepscope-clock.so"
TIERS = {
    "T0": "paced: the game's frames are, its clock is not",
    "T1": "time-virtual: the game's clock is the session's",
    "T2": "seeded: its clock and its random numbers are the session's",
    "T3": "bit-exact: verified",
}
PLATFORMS = ("auto", "wayland", "x11")
EVENT_KINDS = ("key", "button", "move_to", "move_by", "scroll", "pad_button", "pad_axis")


@dataclass
class Header:
    command: list[str]
    width: int = 640
    height: int = 400
    fps: str = "60"
    seed: int | None = None
    platform: str = "auto"
    xwayland: bool = True
    gamepads: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    steps: int = 0
    tier: str = "T0"
    tier_reason: str = ""
    gate: str = ""  # what kept the game from running ahead of its pictures
    versions: dict[str, str] = field(default_factory=dict)

    def session(self, timeout: float) -> Session:
        return Session(
            self.command,
            width=self.width,
            height=self.height,
            fps=self.fps,
            seed=self.seed,
            timeout=timeout,
            environment=self.environment,
            platform=self.platform,
            xwayland=self.xwayland,
            gamepads=self.gamepads,
        )


@dataclass
class Step:
    step: int
    status: str
    now_ns: int
    hash: str | None
    inputs: list[dict[str, Any]] = field(default_factory=list)

    def difference(self, other: Step) -> str:
        """In which way `other`, a replay of this step, is not the same; empty if it is."""
        for name in ("status", "now_ns", "hash"):
            before, after = getattr(self, name), getattr(other, name)
            if before != after:
                return f"{name} was {before}, is {after}"
        return ""


@dataclass
class Trace:
    header: Header
    steps: list[Step]

    def save(self, path: str | os.PathLike) -> None:
        lines = [{"stepscope_trace": FORMAT} | asdict(self.header)]
        lines += [asdict(step) for step in self.steps]
        temporary = Path(f"{os.fspath(path)}.new")
        temporary.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
        temporary.replace(path)

    @staticmethod
    def load(path: str | os.PathLike) -> Trace:
        try:
            with open(path, encoding="utf-8") as file:
                lines = [json.loads(line) for line in file]
            if not lines:
                raise ValueError("it is empty")
            head, *rest = lines
            if head.pop("stepscope_trace", None) != FORMAT:
                raise ValueError("another format")
            trace = Trace(Header(**head), [Step(**line) for line in rest])
            trace.check()
        except OSError as error:
            raise StepscopeError(f"can't read {path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StepscopeError(f"{path} is no trace of format {FORMAT}: {error}") from error
        return trace

    def check(self) -> None:
        """Raises ValueError for what no recording writes."""
        header = self.header
        require(header, "command", is_list_of(header.command, str) and bool(header.command))
        require(header, "width", is_whole(header.width))
        require(header, "height", is_whole(header.height))
        require(header, "fps", isinstance(header.fps, str))
        require(header, "seed", header.seed is None or is_whole(header.seed))
        require(header, "platform", header.platform in PLATFORMS)
        require(header, "xwayland", isinstance(header.xwayland, bool))
        require(header, "gamepads", is_whole(header.gamepads) and header.gamepads >= 0)
        words = header.environment
        require(header, "environment", isinstance(words, dict) and is_list_of([*words.values()], str))
        require(header, "tier", header.tier in TIERS)
        if not self.steps:
            raise ValueError("it has no steps")
        for number, step in enumerate(self.steps, 1):
            if step.step != number:
                raise ValueError(f"step {step.step} is where {number} should be")
            require(step, "status", isinstance(step.status, str))
            require(step, "now_ns", is_whole(step.now_ns))
            require(step, "hash", step.hash is None or isinstance(step.hash, str))
            require(step, "inputs", is_list_of(step.inputs, dict))
            check_events(step.inputs)

    def inputs(self) -> dict[int, list[dict[str, Any]]]:
        return {step.step: step.inputs for step in self.steps if step.inputs}


def require(line: Header | Step, name: str, right: bool) -> None:
    if not right:
        raise ValueError(f"{name} is {getattr(line, name)!r}")


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_list_of(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def is_pair_of_numbers(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) == 2
        and all(is_whole(value) or isinstance(value, float) for value in values)
        and all(math.isfinite(value) for value in values)
    )


def check_events(events: Iterable[dict[str, Any]]) -> None:
    """Events are {"key": "Up", "pressed": true}, {"button": "left", "pressed": true},
    {"move_to": [x, y]} from 0 to 1, {"move_by": [dx, dy]}, {"scroll": [right, up]}, and of gamepads
    {"pad_button": "pad_a", "pressed": true} and {"pad_axis": "pad_leftx", "value": 0.5}."""
    for event in events:
        if not isinstance(event, dict):
            raise StepscopeError(f"{event!r} is no event; expected an object")
        kinds = [kind for kind in EVENT_KINDS if kind in event]
        if len(kinds) != 1:
            raise StepscopeError(f"{event} is no event; expected one of {', '.join(EVENT_KINDS)}")
        kind, value = kinds[0], event[kinds[0]]
        if kind in ("key", "button", "pad_button", "pad_axis") and not isinstance(value, str):
            raise StepscopeError(f"{kind} is {value!r}; expected a name")
        if kind == "key":
            keys.key_code(value)
        elif kind == "button":
            keys.button_code(value)
        elif kind == "pad_button":
            pad = gamepads.split_name(value)
            if pad is None:
                raise StepscopeError(f"'{value}' is no gamepad's button; expected one such as pad_a")
            gamepads.button_number(pad[1])
        elif kind == "pad_axis":
            _, axis = gamepads.parse_axis(value)
            if not isinstance(event.get("value"), (int, float)):
                raise StepscopeError(f'{event} needs a "value", a number')
            gamepads.check_value(axis, event["value"])
        elif not is_pair_of_numbers(value):
            raise StepscopeError(f"{kind} has {value}; expected two numbers")
        if kind in ("key", "button", "pad_button") and not isinstance(event.get("pressed"), bool):
            raise StepscopeError(f'{event} needs "pressed", true or false')


def read_script(lines: Iterable[str]) -> dict[int, list[dict[str, Any]]]:
    """Events by the step that they come before; each line is an event with its "step"."""
    script: dict[int, list[dict[str, Any]]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
            step = int(event.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StepscopeError(
                f'line {number} of the inputs is {line.strip()!r}; expected an object such as '
                f'{{"step":12,"key":"Up","pressed":true}}'
            ) from error
        if step < 1:
            raise StepscopeError(f"line {number} of the inputs: steps are counted from 1")
        check_events([event])
        script.setdefault(step, []).append(event)
    return script


def send_event(inputs: Inputs, event: dict[str, Any]) -> None:
    if "key" in event:
        inputs.press(event["key"], event["pressed"])
    elif "button" in event:
        inputs.press(keys.BUTTON_PREFIX + event["button"], event["pressed"])
    elif "pad_button" in event:
        inputs.press(event["pad_button"], event["pressed"])
    elif "pad_axis" in event:
        inputs.tilt(event["pad_axis"], event["value"])
    elif "move_to" in event:
        inputs.move_to(*event["move_to"])
    elif "move_by" in event:
        inputs.move_by(*event["move_by"])
    else:
        inputs.scroll(*event["scroll"])


def hash_picture(picture: Picture) -> str:
    """Of the visible pixels: not of the bytes that mean nothing, nor of padding."""
    return hashlib.blake2b(picture.rgb_copy(), digest_size=16).hexdigest()


class Recorder:
    """Writes down what a session is given and what it shows, from its first step on: see
    Session.recorder. Each step is of one frame."""

    def __init__(self, header: Header):
        self._header = header
        self._events: list[dict[str, Any]] = []
        self._steps: list[Step] = []
        self._virtual = False
        self._window = False

    @property
    def seed(self) -> int | None:
        return self._header.seed

    @property
    def last(self) -> Step:
        return self._steps[-1]

    def add_event(self, event: dict[str, Any]) -> None:
        self._events.append(event)

    def add_step(self, session: Session, result: StepResult) -> None:
        hashed = hash_picture(result.picture) if result.fresh and result.picture else None
        self._window = self._window or session.control.facts.window.backend != ""
        self._virtual = self._virtual or (hashed is not None and takes_part_in_time(session))
        step = Step(
            len(self._steps) + 1, result.status.text, result.now_ns, hashed, self._events
        )
        self._events = []
        self._steps.append(step)

    def trace(self, session: Session) -> Trace:
        """Of what was so far. The session must not be closed."""
        header = dataclasses.replace(
            self._header, versions=versions(), gate=gate_text(session), steps=len(self._steps)
        )
        if not self._window:
            header.tier, header.tier_reason = "T0", "the game showed no window"
        elif not self._virtual:
            header.tier = "T0"
            header.tier_reason = f"the process of the game's window has not loaded {CLOCK_LIBRARY}"
        elif header.seed is None:
            header.tier, header.tier_reason = "T1", "no seed was given"
        else:
            header.tier, header.tier_reason = "T2", "not verified"
        return Trace(header, self._steps)


def gate_text(session: Session) -> str:
    """The gate that its pictures came through, such as "present (EGL)"."""
    control = session.control
    name = control.gate.name.lower()
    apis = ", ".join(control.present_apis)
    return f"{name} ({apis})" if control.gate == Gate.PRESENT else name


def takes_part_in_time(session: Session) -> bool:
    """Whether the process that shows the window has the session's clock."""
    pid = session.control.facts.window.pid
    try:
        return CLOCK_LIBRARY in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


class Run:
    """One run of a trace's command with given inputs."""

    def __init__(self, header: Header, script: dict[int, list[dict[str, Any]]], timeout: float):
        self.session = header.session(timeout)
        self.session.recorder = self._recorder = Recorder(header)
        self._script = script
        self.picture: Picture | None = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_) -> None:
        self.session.close()

    def steps(self, count: int) -> Iterator[Step]:
        """At most `count`: the one in which the game ends, or does not come to an end, is the
        last. `picture` is valid until the next one."""
        for number in range(1, count + 1):
            for event in self._script.get(number, []):
                send_event(self.session.inputs, event)
                self._recorder.add_event(event)
            result = self.session.step()
            self.picture = result.picture
            yield self._recorder.last
            if result.status >= Status.EXITED:
                return

    def trace(self) -> Trace:
        return self._recorder.trace(self.session)


def versions() -> dict[str, str]:
    program = shutil.which("stepscope") or "stepscope"
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return {
        "stepscope": told.stdout.strip().removeprefix("stepscope "),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
    }


def record(
    header: Header, script: dict[int, list[dict[str, Any]]], count: int, timeout: float
) -> Trace:
    """Ctrl-C ends it after the steps that were done, if there were any."""
    with Run(header, script, timeout) as run:
        done = 0
        try:
            for _ in run.steps(count):
                done += 1
        except KeyboardInterrupt:
            if not done:
                raise
        return run.trace()
