# SPDX-License-Identifier: LGPL-2.1-or-later
"""The session's control protocol: steps, pictures and the state of the session.

A picture is the game's own memory wherever the compositor passed it through: each slot is mapped
once, and pictures are numpy views of it, read-only and without a copy.
"""

from __future__ import annotations

import contextlib
import enum
import mmap
import os
import signal
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from stepscope.errors import SessionLost, StepscopeError
from stepscope.wire import Connection, Reader, uints

CONTROL_GET_SESSION, CONTROL_CREATE_CAPTURE, CONTROL_GET_STEPPER = 1, 2, 3
CONTROL_GET_GAMEPAD = 5
CONTROL_CAPABILITIES, CONTROL_GAMEPADS = 0, 1
SESSION_INFO, SESSION_OUTPUT, SESSION_WINDOW, SESSION_ENDED = 0, 1, 2, 3
CAPTURE_START, CAPTURE_GRANT, CAPTURE_RELEASE = 2, 4, 5
CAPTURE_FORMAT, CAPTURE_SLOT, CAPTURE_PLANE = 0, 1, 2
CAPTURE_SLOT_GONE, CAPTURE_FRAME = 4, 7
CAPTURE_STEP_TIME = 6
STEPPER_STEP = 1
STEPPER_STEPPED, STEPPER_GATE = 0, 1
CAPABILITY_LOCKSTEP = 8
MEMORY_MEMFD = 1
END_EXITED, END_SIGNALED, END_NOT_STARTED = 1, 2, 3
END_SECONDS = 3
CREDITS = 4

# Where blue, green and red are in the four bytes of a pixel, by DRM format code.
CHANNELS_BGR = {"XR24": (0, 1, 2), "AR24": (0, 1, 2), "XB24": (2, 1, 0), "AB24": (2, 1, 0)}


class Status(enum.IntEnum):
    """How a step ended, as the protocol numbers it."""

    PRESENTED = 1
    NO_COMMIT = 2
    EXITED = 3
    CRASHED = 4
    TIMEOUT = 5

    @property
    def text(self) -> str:
        return self.name.lower()


class Gate(enum.IntEnum):
    """What keeps the game from running ahead of its pictures, as the protocol numbers it."""

    NONE = 0
    CALLBACKS = 1
    PRESENT = 2


PRESENT_APIS = {1: "EGL", 2: "GLX", 4: "Vulkan", 8: "other"}


class Reason(enum.IntEnum):
    """Why a picture did not pass through."""

    NONE = 0
    WINDOWS = 1
    SIZE = 2
    CURSOR = 3
    NOT_SHAREABLE = 4
    HELD = 5
    FORMAT = 6
    NO_WINDOW = 7
    OTHER = 8


def copy_channels(pixels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """A contiguous copy, or into `out`. One channel at a time: numpy takes several times as long for
    pixels of three bytes that lie four apart."""
    if out is None:
        out = np.empty(pixels.shape, pixels.dtype)
    if pixels.ndim < 3:
        out[...] = pixels
    else:
        for channel in range(pixels.shape[2]):
            out[..., channel] = pixels[..., channel]
    return out


@dataclass
class Picture:
    """One frame. `bgrx` has shape (height, width, 4), is read-only and shows the frame until it
    was released; the fourth byte of a pixel means nothing."""

    serial: int
    slot: int
    bgrx: np.ndarray
    fourcc: str
    passed_through: bool
    reason: Reason
    inode: int  # of the memory file, which the game has open too where the picture passed through

    def rgb(self) -> np.ndarray:
        """A view of shape (height, width, 3)."""
        return self.bgrx[..., 2::-1] if CHANNELS_BGR[self.fourcc][0] == 0 else self.bgrx[..., :3]

    def rgb_copy(self) -> np.ndarray:
        """The same, contiguous, and to be kept."""
        return copy_channels(self.rgb())


@dataclass
class StepResult:
    """The answer to one step. `picture` is the newest one, whether or not it is of this step."""

    status: Status
    step: int
    now_ns: int
    message: str = ""
    fresh: bool = False
    picture: Picture | None = None


@dataclass
class Window:
    title: str = ""
    app_id: str = ""
    backend: str = ""
    pid: int = 0


@dataclass
class _Slot:
    pixels: np.ndarray  # holds the mapping
    fourcc: str
    inode: int


@dataclass
class SessionFacts:
    name: str = ""
    pid: int = 0
    renderer: str = ""
    size: tuple[int, int] = (0, 0)
    window: Window = field(default_factory=Window)
    ended: tuple[int, int] | None = None  # how, and the exit status or the signal's number


class Control(Connection):
    """Steps a session and takes its pictures.

    A picture is valid until the next step begins, which gives its memory back to the game; one that
    was pinned, until the first step after the next pin(). What is to be kept longer is to be copied.
    Where a step shows nothing new, the picture before it still stands, in the same memory.
    """

    def __init__(self, path: str | os.PathLike, timeout: float | None = 60):
        self.facts = SessionFacts()
        self.picture: Picture | None = None
        self.gate = Gate.NONE
        self.present_apis: list[str] = []
        self.gamepads = 0  # of the session
        self._slots: dict[int, _Slot] = {}
        self._format = (0, 0, "")
        self._slot_memory: dict[int, int] = {}
        self._held: list[int] = []
        self._pinned: int | None = None
        self._came = False  # a picture, in this step
        self._answer: StepResult | None = None
        self._reached = (0, 0)  # step and time of the answer before
        self._sequence = 0
        self._capabilities = 0
        super().__init__(path, timeout)
        try:
            self._create_objects()
        except BaseException:
            self.close()
            raise

    @property
    def gate_name(self) -> str:
        return self.gate.name.lower()

    def _create_objects(self) -> None:
        control = self.bind("stepscope_control_v1", 4, handler=self._handle_control)
        self._control = control
        self.session = self.new_id(self._handle_session)
        self.send(control, CONTROL_GET_SESSION, uints(self.session))
        self._capture = self.new_id(self._handle_capture)
        self.send(control, CONTROL_CREATE_CAPTURE, uints(self._capture))
        self.send(self._capture, CAPTURE_GRANT, uints(CREDITS))
        self.send(self._capture, CAPTURE_START)
        self.roundtrip()
        if not self._capabilities & CAPABILITY_LOCKSTEP:
            raise StepscopeError(
                f"session '{self.facts.name}' can't be stepped; start it with: stepscope --lockstep"
            )
        self._stepper = self.new_id(self._handle_stepper)
        self.send(control, CONTROL_GET_STEPPER, uints(self._stepper))
        self.roundtrip()

    def close(self) -> None:
        """Views of pictures stay valid memory; what they show may change."""
        super().close()
        self._slots.clear()

    def get_gamepad(self, number: int) -> int:
        """The object of one of the session's gamepads."""
        if number >= self.gamepads:
            raise StepscopeError(
                f"session '{self.facts.name}' has no gamepad {number}, it has {self.gamepads}; "
                f"start it with gamepads={number + 1}"
            )
        gamepad = self.new_id()
        self.send(self._control, CONTROL_GET_GAMEPAD, uints(gamepad, number))
        return gamepad

    def pin(self) -> None:
        """The newest picture stays as it is until the first step after the next pin()."""
        self._pinned = self.picture.serial if self.picture else None

    def begin_step(self, length_ns: int, timeout_ms: int = 0) -> None:
        """Sends a step, after all input that was sent before. Gives back the picture before it,
        unless that is pinned."""
        done = [serial for serial in self._held if serial != self._pinned]
        self._held = [serial for serial in self._held if serial == self._pinned]
        self._came = False
        for serial in done:
            self.send(self._capture, CAPTURE_RELEASE, uints(serial))
        if done:
            self.send(self._capture, CAPTURE_GRANT, uints(len(done)))
        if self._answer is not None:
            self._reached = self._answer.step, self._answer.now_ns
        self._answer = None
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self.send(
            self._stepper,
            STEPPER_STEP,
            uints(self._sequence, length_ns >> 32, length_ns & 0xFFFFFFFF, timeout_ms),
        )
        with self._ending():
            self.flush()

    def finish_step(self) -> StepResult:
        """Waits for the answer to the step that was begun."""
        with self._ending():
            while self._answer is None:
                self.dispatch()
        if self._answer.status in (Status.EXITED, Status.CRASHED):
            self._learn_how_it_ended(self._answer)
        return self._answer

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """A session that ended while the step was on its way to it told so, but answers no more."""
        try:
            yield
        except SessionLost:
            if self.facts.ended is None or self.error:
                raise
            self._answer = self._answer or StepResult(Status.EXITED, *self._reached)

    def step(self, length_ns: int, timeout_ms: int = 0) -> StepResult:
        self.begin_step(length_ns, timeout_ms)
        return self.finish_step()

    def _learn_how_it_ended(self, answer: StepResult) -> None:
        """That a process has gone shows before it is known why; the session tells it at its end."""
        timeout = self.timeout
        deadline = time.monotonic() + END_SECONDS
        try:
            while self.facts.ended is None and (left := deadline - time.monotonic()) > 0:
                self.timeout = left
                self.dispatch()
        except SessionLost:
            pass
        finally:
            self.timeout = timeout
        how, value = self.facts.ended or (0, 0)
        if how == END_SIGNALED:
            answer.status = Status.CRASHED
            answer.message = f"the game was ended by signal {value} ({signal.strsignal(value)})"
        elif how == END_EXITED:
            answer.status = Status.EXITED
            answer.message = f"the game exited with status {value}"
        elif how == END_NOT_STARTED:
            raise SessionLost(f"the game can't be started: {os.strerror(value)}")

    def _handle_control(self, opcode: int, arguments: Reader) -> None:
        if opcode == CONTROL_CAPABILITIES:
            self._capabilities = arguments.uint()
        elif opcode == CONTROL_GAMEPADS:
            self.gamepads = arguments.uint()

    def _handle_session(self, opcode: int, arguments: Reader) -> None:
        if opcode == SESSION_INFO:
            self.facts.name = arguments.string()
            self.facts.pid = arguments.uint()
            self.facts.renderer = arguments.string()
        elif opcode == SESSION_OUTPUT:
            self.facts.size = arguments.uint(), arguments.uint()
        elif opcode == SESSION_WINDOW:
            self.facts.window = Window(
                arguments.string(), arguments.string(), arguments.string(), arguments.uint()
            )

        elif opcode == SESSION_ENDED:
            self.facts.ended = arguments.uint(), arguments.uint()

    def _handle_stepper(self, opcode: int, arguments: Reader) -> None:
        if opcode == STEPPER_GATE:
            self.gate = Gate(arguments.uint())
            apis = arguments.uint()
            self.present_apis = [name for bit, name in PRESENT_APIS.items() if apis & bit]
        if opcode != STEPPER_STEPPED or arguments.uint() != self._sequence:
            return
        status = Status(arguments.uint())
        self._answer = StepResult(
            status,
            arguments.uint64(),
            arguments.uint64(),
            arguments.string(),
            fresh=status == Status.PRESENTED and self._came,
            picture=self.picture,
        )

    def _handle_capture(self, opcode: int, arguments: Reader) -> None:
        if opcode == CAPTURE_FRAME:
            self._handle_frame(arguments.uint(), arguments.uint(), arguments)
        elif opcode == CAPTURE_FORMAT:
            width, height = arguments.uint(), arguments.uint()
            self._format = width, height, struct.pack("=I", arguments.uint()).decode("latin-1")
        elif opcode == CAPTURE_SLOT:
            slot = arguments.uint()
            self._slot_memory[slot] = arguments.uint()
        elif opcode == CAPTURE_PLANE:
            slot, index, fd = arguments.uint(), arguments.uint(), arguments.fd()
            try:
                if index == 0:
                    self._map(slot, fd, arguments.uint(), arguments.uint())
            finally:
                os.close(fd)
        elif opcode == CAPTURE_SLOT_GONE:
            # What was mapped goes with the last array that shows it.
            self._slots.pop(arguments.uint(), None)

    def _map(self, slot: int, fd: int, offset: int, stride: int) -> None:
        width, height, fourcc = self._format
        if self._slot_memory.pop(slot, MEMORY_MEMFD) != MEMORY_MEMFD:
            raise StepscopeError(
                "the game's pictures are in the GPU's memory, which can't be mapped here; "
                "start the session with: stepscope --renderer pixman"
            )
        if fourcc not in CHANNELS_BGR:
            raise StepscopeError(
                f"the game's pictures have the format {fourcc}; expected one of "
                f"{', '.join(CHANNELS_BGR)}"
            )
        size = offset + stride * height
        available = os.fstat(fd).st_size
        if available < size or stride < width * 4:
            raise StepscopeError(
                f"a picture of {width}x{height} needs {size} bytes, its memory has {available}"
            )
        mapping = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
        pixels = np.ndarray(
            (height, width, 4), np.uint8, buffer=mapping, offset=offset, strides=(stride, 4, 1)
        )
        self._slots[slot] = _Slot(pixels, fourcc, os.fstat(fd).st_ino)

    def _handle_frame(self, slot_number: int, serial: int, arguments: Reader) -> None:
        for _ in range(5):  # the picture's number and its time on the wall
            arguments.uint()
        path, reason = arguments.uint(), arguments.uint()
        slot = self._slots[slot_number]
        self._held.append(serial)
        self._came = True
        self.picture = Picture(
            serial, slot_number, slot.pixels, slot.fourcc, path == 1, Reason(reason), slot.inode
        )
