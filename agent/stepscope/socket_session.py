# SPDX-License-Identifier: LGPL-2.1-or-later
"""A session whose frames and steps go through a GStreamer pipeline and its frame socket, instead of
the control protocol: what the pipeline sees is what the agent sees."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable

from stepscope import frame_wire as wire
from stepscope import gamepads, keys
from stepscope.control import Picture, Reason, Status, StepResult
from stepscope.errors import SessionLost, StepscopeError
from stepscope.frame_socket import FrameSocket, SocketFrame
from stepscope.session import ANSWER_GRACE_SECONDS, READY_SECONDS, Session

BUTTON_NUMBERS = {"left": 1, "middle": 2, "right": 3, "side": 8, "extra": 9}
LOWER_CASE = {"minus", "equal", "bracketleft", "bracketright", "semicolon", "apostrophe", "grave",
              "backslash", "comma", "period", "slash", "space"}  # fmt: skip
NAME_OF_CODE = {code: name for name, code in keys.KEYS.items()}


def keysym_of(name: str) -> str:
    """The name of the X keysym of a key as `keys` names it."""
    plain = NAME_OF_CODE[keys.key_code(name)]
    if len(plain) == 1 or plain in LOWER_CASE:
        return plain
    if plain == "backspace":
        return "BackSpace"
    words = plain.split("_")
    return "_".join("KP" if word == "kp" else word.capitalize() for word in words)


class SocketControl:
    """What a Session wants of a connection, on a frame socket."""

    gate_name = "unknown"  # the socket does not carry it

    def __init__(self, path: str, timeout: float):
        self.frames = FrameSocket(
            path, steps=True, credits=3, name="environment", timeout=timeout, wait=READY_SECONDS
        )
        self._sequence = 0
        self._frame: SocketFrame | None = None
        self._pinned: SocketFrame | None = None
        try:
            self._take(self.frames.next())
        except TimeoutError as error:
            self.close()
            raise SessionLost("the game's first picture did not come") from error
        if self._frame is None:
            self.close()
            raise SessionLost(f"the stream ended: {self.frames.ended.text}")

    def fileno(self) -> int:
        return self.frames.fileno()

    @property
    def picture(self) -> Picture | None:
        frame = self._frame
        if frame is None:
            return None
        return Picture(
            frame.number, frame.slot, frame.pixels, frame.fourcc, frame.passed_through,
            Reason(frame.reason), frame.inode,
        )  # fmt: skip

    def pin(self) -> None:
        """As Control's."""
        if self._pinned is not None and self._pinned is not self._frame:
            self._pinned.release()
        self._pinned = self._frame

    def begin_step(self, _length_ns: int, _timeout_ms: int = 0) -> None:
        """The pipeline's frame rate and timeout say how long a step is and may take."""
        if self._frame is not None and self._frame is not self._pinned:
            self._frame.release()
        self._sequence += 1
        self.frames.begin_step()

    def finish_step(self) -> StepResult:
        last = self._frame
        while True:
            try:
                frame = self.frames.next()
            except TimeoutError as error:
                raise SessionLost("the pipeline does not answer a step") from error
            if frame is None:
                return self._ended(last)
            if frame.answers == self._sequence:
                break
            frame.release()
        self._take(frame)
        status = Status.NO_COMMIT if frame.repeated else Status.PRESENTED
        return StepResult(
            status, frame.step, frame.virtual_time, "", not frame.repeated, self.picture
        )

    def close(self) -> None:
        self._frame = self._pinned = None
        self.frames.close()

    def _take(self, frame: SocketFrame | None) -> None:
        self._frame = frame

    def _ended(self, last: SocketFrame) -> StepResult:
        end = self.frames.ended
        if end.reason == wire.END_EXITED:
            status, text = Status.EXITED, f"the game exited with status {end.value}"
        elif end.reason == wire.END_CRASHED:
            name = signal.strsignal(end.value)
            status, text = Status.CRASHED, f"the game was ended by signal {end.value} ({name})"
        else:
            raise SessionLost(f"the pipeline ended: {end.text}")
        return StepResult(status, last.step, last.virtual_time, text)


class SocketInputs:
    """As Inputs; goes with the next step."""

    def __init__(self, frames: FrameSocket, size: tuple[int, int]):
        self.time_ms = 0
        self.held: set[str] = set()
        self._frames = frames
        self._size = size

    def hold(self, names: Iterable[str]) -> None:
        wanted = set(names)
        for name in sorted(self.held - wanted):
            self.press(name, False)
        for name in sorted(wanted - self.held):
            self.press(name, True)

    def press(self, name: str, down: bool) -> None:
        if (name in self.held) == down:
            return
        if pad := gamepads.split_name(name):
            gamepads.button_number(pad[1])
            self._frames.gamepad_button(pad[1], down, pad[0])
        elif name.startswith(keys.BUTTON_PREFIX):
            button = name.removeprefix(keys.BUTTON_PREFIX)
            keys.button_code(button)
            self._frames.button(BUTTON_NUMBERS[button], down)
        else:
            self._frames.key(keysym_of(name), down)
        (self.held.add if down else self.held.discard)(name)

    def move_to(self, x: float, y: float) -> None:
        width, height = self._size
        self._frames.move_to(min(max(x, 0.0), 1.0) * width, min(max(y, 0.0), 1.0) * height)

    def move_by(self, dx: float, dy: float) -> None:
        self._frames.move_by(dx, dy)

    def scroll(self, right: int, up: int) -> None:
        self._frames.scroll(right, up)

    def tilt(self, name: str, value: float) -> None:
        gamepad, axis = gamepads.parse_axis(name)
        self._frames.gamepad_axis(axis, gamepads.check_value(axis, value), gamepad)


class SocketSession(Session):
    """A Session with a pipeline in between. One more process, and whatever GStreamer can do on the
    way; needs gst-launch-1.0 and the plugin."""

    _pipeline: subprocess.Popen | None = None

    def _connect(self, ready: dict[str, str]) -> None:
        program = shutil.which("gst-launch-1.0")
        if not program:
            raise StepscopeError("the program gst-launch-1.0 is not on PATH")
        path = self._scratch.path / "frames"
        rate = f"{self.rate.numerator}/{self.rate.denominator}"
        description = (
            f"wlscreencopysrc mode=lockstep session={ready['session']} "
            f"timeout={round(self.timeout * 1000)} ! video/x-raw,framerate={rate} ! "
            f"fencesink wait=steps socket-path={path}"
        )
        # The kernel ends it with this process, however that ends.
        guard = shutil.which("setpriv")
        with open(self._scratch.path / "log", "ab") as log:
            self._pipeline = subprocess.Popen(
                [*([guard, "--pdeathsig", "KILL"] if guard else []), program, "-q"]
                + description.split(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ,
            )  # fmt: skip
        self._control = SocketControl(str(path), self.timeout + ANSWER_GRACE_SECONDS)
        stream = self._control.frames.stream
        self.inputs = SocketInputs(self._control.frames, (stream.width, stream.height))

    def begin_step(self, count: int = 1) -> None:
        if count != 1:
            raise StepscopeError(f"{count} frames in one step; the frame socket takes one at a time")
        super().begin_step(count)

    def close(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        super().close()
        if pipeline is not None:
            pipeline.kill()
            pipeline.wait()
