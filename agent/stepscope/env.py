# SPDX-License-Identifier: LGPL-2.1-or-later
"""A game as a Gymnasium environment."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import numbers
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from stepscope import gamepads
from stepscope import keys as key_names
from stepscope.control import Picture, Reason, Status, StepResult
from stepscope.errors import SessionLost, StepscopeError
from stepscope.observation import Observer
from stepscope.session import Session, check_environment, parse_rate
from stepscope.socket_session import SocketSession
from stepscope.trace import Header, Recorder

OBSERVATIONS = ("rgb", "gray")
OBS_TYPES = ("numpy", "torch")
TRANSPORTS = {"control": Session, "socket": SocketSession}
POINTERS = ("none", "relative", "absolute")
SIDES = (16, 16384)  # pixels that a picture may be wide and high
MAX_START_STEPS = 1200

Task = Generator[None, None, Any]


def run_task(task: Task) -> Any:
    """Runs what stops wherever an answer of the compositor is due; returns its value."""
    while True:
        try:
            next(task)
        except StopIteration as end:
            return end.value


def names_of(what: str, names: Iterable[str]) -> list[str]:
    """A list, which one string would be too."""
    if isinstance(names, str):
        raise StepscopeError(
            f"{what} is the string {names!r}; expected a list, such as {names.split()}"
        )
    if not isinstance(names, Iterable):
        raise StepscopeError(f"{what} is {names!r}; expected a list")
    return list(names)


def check_function(what: str, function: Any) -> Any:
    if function is not None and not callable(function):
        raise StepscopeError(
            f"{what} is {function!r}; expected a function of an observation and an info"
        )
    return function


def check_whole(what: str, number: Any, lowest: int = 1) -> int:
    if not isinstance(number, numbers.Integral) or number < lowest:
        raise StepscopeError(f"{what} is {number!r}; expected a whole number, at least {lowest}")
    return int(number)


def check_side(what: str, pixels: Any) -> int:
    """Before an observation space of that size is made."""
    if not isinstance(pixels, numbers.Integral) or not SIDES[0] <= pixels <= SIDES[1]:
        raise StepscopeError(
            f"{what} is {pixels!r}; expected a whole number, {SIDES[0]} to {SIDES[1]}"
        )
    return int(pixels)


def check_macro(macro: Sequence[tuple[int, str | Sequence[str]]]) -> list[tuple[int, tuple[str, ...]]]:
    """Pairs of a number of frames and what is down."""
    try:
        return [(check_whole("frames", count, 0), chord(held)) for count, held in macro]
    except (TypeError, ValueError) as error:
        raise StepscopeError(
            f"reset_keys is {macro!r}; expected pairs of frames and names, such as "
            '[(60, ()), (2, "Return")]'
        ) from error


def chord(entry: str | Sequence[str]) -> tuple[str, ...]:
    """Keys and buttons that are down together: one name, or several."""
    names = (entry,) if isinstance(entry, str) else tuple(entry)
    for name in names:
        key_names.check_key_or_button(name)
    return names


class Env(gymnasium.Env):
    """Runs `command` in a session of its own, in lock-step: the game's time stands still between
    two steps, and the same seed and actions give the same pictures.

    Actions are, of these, what is given:
      keys     a list of names; the action says of each whether it is down (MultiBinary)
      actions  a list of entries, each a name or several; the action chooses one (Discrete)
      neither  there is one action, which does nothing
    Keys may be buttons of gamepads, such as "pad_a". `axes` names their sticks and triggers, such as
    "pad_leftx". Both need gamepads=1, or more.
    With axes the action is a Dict of "keys", which is that, and "axes".
    With pointer="relative" (-1 to 1 for +-pointer_limit pixels) or "absolute" (0 to 1 over the
    picture) it is one, too, with a "pointer".

    An observation is a view of the game's own memory, without a copy. It stays as it is during
    the next step, and until the one after that begins: what led to an action and what followed are
    there together. copy_observations=True gives arrays that stay, and whoever keeps one without is
    warned. Gray, resized and torch observations are made, and stay as well.

    traces names a folder, in which each game that is started becomes a trace for stepscope-trace.

    transport="socket" puts a GStreamer pipeline between the game and this process, which the frames
    and the steps go through.

    A game that exits, crashes, or takes more than `timeout` seconds of wall time for a step ends
    the episode: truncated, with the reason in info["reason"].

    reset() starts the game anew, with an empty home directory unless `home` names one, waits for
    its first picture, then plays `reset_keys`: pairs of a number of frames and what is down.
    With restart=False a reset without a seed leaves a game that runs as it is, and only plays
    `reset_keys`, which lead to the next episode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}

    def __init__(
        self,
        command: Sequence[str],
        width: int = 640,
        height: int = 400,
        fps: int | float | str = 60,
        *,
        frames_per_step: int = 1,
        keys: Sequence[str] | None = None,
        actions: Sequence[str | Sequence[str]] | None = None,
        axes: Sequence[str] = (),
        pointer: str = "none",
        pointer_limit: float = 64,
        observation: str = "rgb",
        downsample: int = 1,
        resize: tuple[int, int] | None = None,
        obs_type: str = "numpy",
        copy_observations: bool = False,
        reward: Callable[[Any, dict], float] | None = None,
        terminated: Callable[[Any, dict], bool] | None = None,
        reset_keys: Sequence[tuple[int, str | Sequence[str]]] = (),
        restart: bool = True,
        seed: int | None = None,
        timeout: float = 20,
        render_mode: str | None = None,
        transport: str = "control",
        traces: str | os.PathLike | None = None,
        **session_options: Any,
    ):
        self._session: Session | None = None
        self._command = names_of("command", command)
        self._size = check_side("width", width), check_side("height", height)
        self._rate = parse_rate(fps)
        self._expect("observation", observation, OBSERVATIONS)
        self._expect("obs_type", obs_type, OBS_TYPES)
        self._expect("pointer", pointer, POINTERS)
        self._expect("transport", transport, tuple(TRANSPORTS))
        self._expect("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        if not self._command:
            raise StepscopeError("command is empty; expected the game and its arguments")
        if keys is not None and actions is not None:
            raise StepscopeError("give keys or actions, not both")
        self._frames_per_step = check_whole("frames_per_step", frames_per_step)
        self._reward = check_function("reward", reward)
        self._terminated = check_function("terminated", terminated)
        self._reset_keys = check_macro(reset_keys)
        self._restart = restart
        self._first_seed = seed
        self._timeout = timeout
        self._session_type = TRANSPORTS[transport]
        self._session_options = session_options
        check_environment(session_options.get("environment"))
        self._traces = None if traces is None else Path(traces)
        self._recorder: Recorder | None = None
        if self._traces is not None:
            self._check_traces(transport)
        # A mistyped name is told now and not at reset().
        inspect.signature(self._session_type).bind(self._command, **session_options)
        self.render_mode = render_mode
        self.metadata = self.metadata | {"render_fps": float(self._rate / frames_per_step)}

        for what, names in (("keys", keys), ("actions", actions)):
            if names is not None and not names_of(what, names):
                raise StepscopeError(f"{what} is empty; expected names, or leave it out")
        self._keys = None if keys is None else [chord(name)[0] for name in keys]
        self._actions = [chord(entry) for entry in ([()] if actions is None else actions)]
        self._axes = names_of("axes", axes)
        self._triggers = [gamepads.parse_axis(name)[1].endswith("trigger") for name in axes]
        self._pointer = pointer
        self._pointer_limit = pointer_limit
        self.action_space = self._make_action_space()
        self._observer = Observer(
            self._size,
            gray=observation == "gray",
            downsample=check_whole("downsample", downsample),
            resize=resize,
            torch=obs_type == "torch",
            copy=copy_observations,
        )
        self.observation_space = self._observer.space

        self._picture: Picture | None = None
        self._last: StepResult | None = None
        self._over = self._game_ended = True
        self._why_over = "there was no reset yet"

    @staticmethod
    def _expect(name: str, value: Any, choices: Sequence[Any]) -> None:
        if value not in choices:
            known = ", ".join(map(repr, choices))
            raise StepscopeError(f"{name} is {value!r}; expected one of {known}")

    @property
    def session(self) -> Session:
        """The session that runs now; another one after each reset."""
        if self._session is None:
            raise gymnasium.error.ResetNeeded("there is no session yet; call reset() first")
        return self._session

    @property
    def action_meanings(self) -> list[str]:
        """Of each number of a Discrete action, or each place of a MultiBinary one, what is down."""
        if self._keys is not None:
            return list(self._keys)
        return ["+".join(held) or "nothing" for held in self._actions]

    @property
    def picture(self) -> Picture | None:
        """What the last observation was made of."""
        return self._picture

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        return run_task(self.step_task(action))

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None):
        return run_task(self.reset_task(seed=seed, options=options))

    def render(self) -> np.ndarray | None:
        if self.render_mode is None:
            return None
        if self._picture is None:
            raise gymnasium.error.ResetNeeded("there is no picture yet; call reset() first")
        return self._picture.rgb_copy()

    def close(self) -> None:
        session, self._session = self._session, None
        recorder, self._recorder = self._recorder, None
        try:
            if recorder is not None and session is not None:
                recorder.trace(session).save(self._name_trace(recorder.seed))
        finally:
            if session is not None:
                session.close()
        self._picture = None
        self._over = self._game_ended = True
        self._why_over = "the environment is closed"

    def step_task(self, action: Any) -> Task:
        """A step in parts: stops after each request, until the control connection has something
        to read. What step() runs, and what several environments run side by side."""
        if self._over:
            raise gymnasium.error.ResetNeeded(f"{self._why_over}; call reset() first")
        result = None
        fresh = stepping = False
        self._observer.begin_step()
        try:
            # The observation that led to the action stays beside the one that follows from it.
            self.session.control.pin()
            self._apply(action)
            stepping = True
            for _ in range(self._frames_per_step):
                self.session.begin_step()
                yield
                result = self.session.finish_step()
                fresh = fresh or result.fresh
                if result.status >= Status.EXITED:
                    break
        except SessionLost as error:
            status = Status.CRASHED
            message = f"the session was lost: {error}"
            result = StepResult(status, self._last.step, self._last.now_ns, message)
        except BaseException:
            # Most likely Ctrl-C: half a step was sent, or half an answer read.
            if stepping:
                self.close()
                self._why_over = "the step before was interrupted, which ended the game"
            raise
        result.fresh = fresh
        self._last = result
        self._picture = result.picture or self._picture
        observation = self._observe()
        info = self._info()
        truncated = self._game_ended = result.status >= Status.EXITED
        terminated = False
        if truncated:
            word = "stalled" if result.status == Status.TIMEOUT else result.status.text
            info["reason"] = f"{word}: {result.message}"
        elif self._terminated is not None:
            terminated = bool(self._terminated(observation, info))
        reward = float(self._reward(observation, info)) if self._reward is not None else 0.0
        self._over = truncated or terminated
        self._why_over = "the episode is over"
        return observation, reward, terminated, truncated, info

    def reset_task(self, *, seed: int | None, options: Mapping[str, Any] | None) -> Task:
        """reset() in parts; see step_task()."""
        if options is not None and not isinstance(options, Mapping):
            raise StepscopeError(
                f"options is {options!r}; expected a dictionary with reset_keys or restart"
            )
        options = dict(options or {})
        macro = options.pop("reset_keys", None)
        restart = options.pop("restart", self._restart)
        if options:
            raise StepscopeError(
                f"reset() knows no option {', '.join(options)}; only reset_keys and restart"
            )
        if seed is None:
            seed, self._first_seed = self._first_seed, None
        super().reset(seed=seed)
        self._over = True
        self._observer.begin_episode()
        if self._session is not None:
            self._session.control.pin()
        try:
            # What a seed leads to does not depend on what was played before.
            if restart or self._game_ended or seed is not None:
                self._start(int(self.np_random.integers(2**63)) if seed is None else int(seed))
                yield from self._wait_for_picture()
            for count, names in self._reset_keys if macro is None else check_macro(macro):
                self.session.inputs.hold(names)
                for _ in range(count):
                    yield from self._plain_step()
            self.session.inputs.hold(())
        except BaseException:
            self.close()
            raise
        self._over = self._game_ended = False
        return self._observe(), self._info()

    def _start(self, seed: int) -> None:
        self.close()
        width, height = self._size
        self._session = self._session_type(
            self._command,
            width=width,
            height=height,
            fps=self._rate,
            seed=seed,
            timeout=self._timeout,
            **self._session_options,
        )
        if self._traces is not None:
            header = Header(
                self._command, width, height, str(self._rate), seed, **self._session_options
            )
            self._recorder = self._session.recorder = Recorder(header)
            self._session.inputs.recorder = self._recorder

    def _check_traces(self, transport: str) -> None:
        known = {field.name for field in dataclasses.fields(Header)}
        if others := sorted(set(self._session_options) - known):
            raise StepscopeError(f"a trace has no {', '.join(others)}; leave it out, or traces")
        if transport != "control":
            raise StepscopeError(f'traces are not there with transport="{transport}"')
        if not self._traces.is_dir():
            raise StepscopeError(f"traces is {os.fspath(self._traces)!r}; expected a folder")

    def _name_trace(self, seed: int | None) -> Path:
        """One that is not there yet."""
        for number in itertools.count(1):
            path = self._traces / f"seed-{seed}{f'-{number}' if number > 1 else ''}.jsonl"
            if not path.exists():
                return path

    def _wait_for_picture(self) -> Task:
        for _ in range(MAX_START_STEPS):
            yield from self._plain_step()
            if self._picture is not None and self._picture.reason != Reason.NO_WINDOW:
                return
        raise StepscopeError(
            f"'{self._command[0]}' showed no picture in its first {MAX_START_STEPS} frames"
            f"{self._last_words()}"
        )

    def _plain_step(self) -> Task:
        self._session.begin_step()
        yield
        self._last = self._session.finish_step()
        if self._last.status >= Status.EXITED:
            raise StepscopeError(
                f"the game did not get through reset(): {self._last.message}{self._last_words()}"
            )
        self._picture = self._last.picture or self._picture

    def _last_words(self) -> str:
        tail = self._session.log_tail()
        return f"; its last words: {tail}" if tail else ""

    def _make_action_space(self) -> spaces.Space:
        space: spaces.Space
        if self._keys is not None:
            space = spaces.MultiBinary(len(self._keys))
        else:
            space = spaces.Discrete(len(self._actions))
        parts = {"keys": space}
        if self._axes:
            low = np.array([0 if trigger else -1 for trigger in self._triggers], np.float32)
            parts["axes"] = spaces.Box(low, np.ones_like(low), dtype=np.float32)
        if self._pointer != "none":
            lowest = 0 if self._pointer == "absolute" else -1
            parts["pointer"] = spaces.Box(lowest, 1, (2,), np.float32)
        return space if len(parts) == 1 else spaces.Dict(parts)

    def check_action(self, action: Any) -> None:
        """Raises an error if step() does not take the action."""
        if not self._fits(action):
            raise StepscopeError(
                f"the action is {action!r}; expected one of {self.action_space}"
            )

    def _apply(self, action: Any) -> None:
        self.check_action(action)
        inputs = self.session.inputs
        if self._pointer != "none":
            x, y = (float(value) for value in action["pointer"])
            if self._pointer == "absolute":
                inputs.move_to(x, y)
            else:
                inputs.move_by(*np.clip((x, y), -1, 1) * self._pointer_limit)
        if self._axes:
            for name, value in zip(self._axes, action["axes"], strict=True):
                inputs.tilt(name, float(value))
        if self._axes or self._pointer != "none":
            action = action["keys"]
        if self._keys is not None:
            inputs.hold(name for name, down in zip(self._keys, action, strict=True) if down)
        else:
            inputs.hold(self._actions[self._index(action)])

    def _fits(self, action: Any) -> bool:
        """Generous about types, and about values of axes and pointers, which end at their limits."""
        if isinstance(self.action_space, spaces.Dict):
            if not isinstance(action, Mapping) or set(action) != set(self.action_space):
                return False
            sticks = [(part, action[part]) for part in ("axes", "pointer") if part in action]
            if any(
                np.shape(values) != self.action_space[part].shape or not np.all(np.isfinite(values))
                for part, values in sticks
            ):
                return False
            action = action["keys"]
        if self._keys is not None:
            return np.shape(action) == (len(self._keys),)
        return np.shape(action) in ((), (1,)) and self._index(action) is not None

    def _index(self, action: Any) -> int | None:
        """Of an entry of `actions`."""
        value = np.asarray(action).reshape(-1)[0]
        known = isinstance(value, np.integer) and 0 <= value < len(self._actions)
        return int(value) if known else None

    def _observe(self) -> Any:
        return self._observer.observe(self._picture)

    def _info(self) -> dict[str, Any]:
        return {
            "step": self._last.step,
            "virtual_time": self._last.now_ns / 1e9,
            "status": self._last.status.text,
            "fresh": self._last.fresh,
            "gate": self.session.control.gate_name,
        }
