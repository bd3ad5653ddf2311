# SPDX-License-Identifier: LGPL-2.1-or-later
"""A game as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from stepscope import gamepads
from stepscope import keys as key_names
from stepscope.control import Picture, Reason, Status, StepResult
from stepscope.errors import SessionLost, StepscopeError
from stepscope.session import Session, parse_rate
from stepscope.socket_session import SocketSession

OBSERVATIONS = ("rgb", "gray")
OBS_TYPES = ("numpy", "torch")
TRANSPORTS = {"control": Session, "socket": SocketSession}
POINTERS = ("none", "relative", "absolute")
MAX_START_STEPS = 1200

Task = Generator[None, None, Any]


def run_task(task: Task) -> Any:
    """Runs what stops wherever an answer of the compositor is due; returns its value."""
    while True:
        try:
            next(task)
        except StopIteration as end:
            return end.value


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

    An observation is a view of the game's own memory, without a copy. It is valid until the next
    step or reset; copy_observations=True gives arrays that stay. Gray and torch observations are
    made, and stay as well.

    transport="socket" puts a GStreamer pipeline between the game and this process, which the frames
    and the steps go through.

    A game that exits, crashes, or takes more than `timeout` seconds of wall time for a step ends
    the episode: truncated, with the reason in info["reason"].

    reset() starts the game anew, with an empty home directory unless `home` names one, waits for
    its first picture, then plays `reset_keys`: pairs of a number of frames and what is down.
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
        obs_type: str = "numpy",
        copy_observations: bool = False,
        reward: Callable[[Any, dict], float] | None = None,
        terminated: Callable[[Any, dict], bool] | None = None,
        reset_keys: Sequence[tuple[int, str | Sequence[str]]] = (),
        seed: int | None = None,
        timeout: float = 20,
        render_mode: str | None = None,
        transport: str = "control",
        **session_options: Any,
    ):
        self._session: Session | None = None
        self._command = list(command)
        self._size = width, height
        self._rate = parse_rate(fps)
        self._expect("observation", observation, OBSERVATIONS)
        self._expect("obs_type", obs_type, OBS_TYPES)
        self._expect("pointer", pointer, POINTERS)
        self._expect("transport", transport, tuple(TRANSPORTS))
        self._expect("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        if frames_per_step < 1 or downsample < 1:
            raise StepscopeError("frames_per_step and downsample must be at least 1")
        if keys is not None and actions is not None:
            raise StepscopeError("give keys or actions, not both")
        self._frames_per_step = frames_per_step
        self._observation = observation
        self._downsample = downsample
        self._obs_type = obs_type
        self._copy = copy_observations
        self._reward = reward
        self._terminated = terminated
        self._reset_keys = [(int(count), chord(names)) for count, names in reset_keys]
        self._first_seed = seed
        self._timeout = timeout
        self._session_type = TRANSPORTS[transport]
        self._session_options = session_options
        self.render_mode = render_mode
        self.metadata = self.metadata | {"render_fps": float(self._rate / frames_per_step)}

        self._keys = None if keys is None else [chord(name)[0] for name in keys]
        self._actions = [chord(entry) for entry in ([()] if actions is None else actions)]
        self._axes = list(axes)
        self._triggers = [gamepads.parse_axis(name)[1].endswith("trigger") for name in axes]
        self._pointer = pointer
        self._pointer_limit = pointer_limit
        self.action_space = self._make_action_space()
        rows = len(range(0, height, downsample))
        columns = len(range(0, width, downsample))
        shape = (rows, columns, 3) if observation == "rgb" else (rows, columns)
        self.observation_space = spaces.Box(0, 255, shape, np.uint8)

        self._picture: Picture | None = None
        self._last: StepResult | None = None
        self._over = True

    @staticmethod
    def _expect(name: str, value: Any, choices: Sequence[Any]) -> None:
        if value not in choices:
            raise StepscopeError(f"{name} is {value!r}; expected one of {', '.join(map(repr, choices))}")

    @property
    def session(self) -> Session:
        """The session that runs now; another one after each reset."""
        if self._session is None:
            raise gymnasium.error.ResetNeeded("there is no session yet; call reset() first")
        return self._session

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
        return self._picture.rgb().copy()

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
        self._picture = None
        self._over = True

    def step_task(self, action: Any) -> Task:
        """A step in parts: stops after each request, until the control connection has something
        to read. What step() runs, and what several environments run side by side."""
        if self._over:
            raise gymnasium.error.ResetNeeded("the episode is over; call reset() first")
        result = None
        fresh = False
        try:
            self._apply(action)
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
        result.fresh = fresh
        self._last = result
        self._picture = result.picture or self._picture
        observation = self._observe()
        info = self._info()
        truncated = result.status >= Status.EXITED
        terminated = False
        if truncated:
            word = "stalled" if result.status == Status.TIMEOUT else result.status.text
            info["reason"] = f"{word}: {result.message}"
        elif self._terminated is not None:
            terminated = bool(self._terminated(observation, info))
        reward = float(self._reward(observation, info)) if self._reward is not None else 0.0
        self._over = truncated or terminated
        return observation, reward, terminated, truncated, info

    def reset_task(self, *, seed: int | None, options: Mapping[str, Any] | None) -> Task:
        """reset() in parts; see step_task()."""
        options = dict(options or {})
        macro = options.pop("reset_keys", None)
        if options:
            raise StepscopeError(f"reset() knows no option {', '.join(options)}; only reset_keys")
        if seed is None:
            seed, self._first_seed = self._first_seed, None
        super().reset(seed=seed)
        game_seed = int(self.np_random.integers(2**63)) if seed is None else int(seed)
        self.close()
        width, height = self._size
        self._session = self._session_type(
            self._command,
            width=width,
            height=height,
            fps=self._rate,
            seed=game_seed,
            timeout=self._timeout,
            **self._session_options,
        )
        try:
            yield from self._wait_for_picture()
            for count, names in self._reset_keys if macro is None else macro:
                self._session.inputs.hold(chord(names))
                for _ in range(count):
                    yield from self._plain_step()
            self._session.inputs.hold(())
        except BaseException:
            self.close()
            raise
        self._over = False
        return self._observe(), self._info()

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

    def _apply(self, action: Any) -> None:
        inputs = self.session.inputs
        if self._pointer != "none":
            x, y = (float(value) for value in action["pointer"])
            if self._pointer == "absolute":
                inputs.move_to(x, y)
            else:
                inputs.move_by(x * self._pointer_limit, y * self._pointer_limit)
        if self._axes:
            for name, value in zip(self._axes, action["axes"], strict=True):
                inputs.tilt(name, float(value))
        if self._axes or self._pointer != "none":
            action = action["keys"]
        if self._keys is not None:
            inputs.hold(name for name, down in zip(self._keys, action, strict=True) if down)
        else:
            inputs.hold(self._actions[int(action)])

    def _observe(self) -> Any:
        rgb = self._picture.rgb()[:: self._downsample, :: self._downsample]
        if self._observation == "gray":
            weighted = rgb.astype(np.uint16)
            weighted *= np.array([77, 150, 29], np.uint16)  # of 256, as BT.601 weighs them
            rgb = (weighted.sum(axis=2, dtype=np.uint16) >> 8).astype(np.uint8)
        elif self._copy or self._obs_type == "torch":
            rgb = np.ascontiguousarray(rgb)
            rgb = rgb if rgb.flags.owndata else rgb.copy()
        if self._obs_type == "torch":
            import torch

            return torch.from_numpy(rgb)
        return rgb

    def _info(self) -> dict[str, Any]:
        return {
            "step": self._last.step,
            "virtual_time": self._last.now_ns / 1e9,
            "status": self._last.status.text,
            "fresh": self._last.fresh,
            "gate": self.session.control.gate_name,
        }
