# SPDX-License-Identifier: LGPL-2.1-or-later
"""Frames of a fencesink, in this process: a consumer of the frame socket (docs/frame-socket.md).

    with FrameSocket("/run/user/1000/game.frames") as frames:
        for frame in frames:
            print(frame.step, frame.pixels.mean())

Memory is mapped once per slot. `pixels` is a read-only numpy view of the memory that the game drew
into, valid until the frame is released.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stepscope import frame_wire as wire
from stepscope.control import CHANNELS_BGR
from stepscope.errors import SessionLost, StepscopeError

DMA_BUF_IOCTL_SYNC = 0x40086200
SYNC_READ, SYNC_START, SYNC_END = 1, 0, 4
MEMORY_MEMFD, MEMORY_DMABUF = 1, 2


def may_not_shrink(fd: int) -> bool:
    """Whether reading a mapping of it can't end in SIGBUS."""
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
    except OSError:
        return False


class _Slot:
    """Imported memory. The mapping goes with the last array that shows it."""

    def __init__(self, stream: wire.Stream, slot: wire.Slot, fds: list[int]):
        self.stream = stream
        self.slot = slot
        self.fds = fds
        self.pixels: np.ndarray | None = None
        self.inodes = tuple(os.fstat(fd).st_ino for fd in fds)

    @property
    def fourcc(self) -> str:
        return struct.pack("<I", self.stream.fourcc).decode("latin-1")

    def view(self) -> np.ndarray:
        if self.pixels is None:
            self.pixels = self._map()
        return self.pixels

    def _map(self) -> np.ndarray:
        stream = self.stream
        if self.fourcc not in CHANNELS_BGR or stream.modifier != 0:
            raise StepscopeError(
                f"pictures of format {self.fourcc} with modifier 0x{stream.modifier:x} can't be "
                f"read as rows; expected linear {', '.join(CHANNELS_BGR)}. Their descriptors are in "
                "frame.fds"
            )
        file, stride, offset = self.slot.planes[0]
        fd = self.fds[file]
        size = offset + stride * stream.height
        available = os.lseek(fd, 0, os.SEEK_END)
        if available < size or stride < stream.width * 4:
            raise StepscopeError(
                f"a picture of {stream.width}x{stream.height} needs {size} bytes, its memory has "
                f"{available}"
            )
        if stream.memory == MEMORY_MEMFD and not may_not_shrink(fd):
            raise StepscopeError("the memory of a picture is not sealed against shrinking")
        mapping = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
        return np.ndarray(
            (stream.height, stream.width, 4), np.uint8, buffer=mapping, offset=offset,
            strides=(stride, 4, 1),
        )  # fmt: skip

    def __del__(self):
        # Frames that are held keep it, also when the producer has taken the slot back.
        for fd in self.fds:
            os.close(fd)


class SocketFrame:
    """One frame. Release it, or leave its `with` block, when nothing reads it any more."""

    def __init__(self, owner: FrameSocket, message: wire.Frame, slot: _Slot, fence: int):
        self._owner = owner
        self._slot = slot
        self._message = message
        self.fence = fence  # of the producer's GPU; -1 if there is nothing to wait for
        self.released = False

    def __enter__(self) -> SocketFrame:
        return self

    def __exit__(self, *_) -> None:
        self.release()

    def __getattr__(self, name: str):
        # number of the frame, step, pts, virtual_time, commit, input_sequence, answers, dropped, …
        return getattr(self._message, name)

    @property
    def number(self) -> int:
        return self._message.frame

    @property
    def repeated(self) -> bool:
        """True if the game showed nothing new: this is the picture before."""
        return bool(self._message.flags & wire.REPEATED)

    @property
    def passed_through(self) -> bool:
        return self._message.path == 1

    @property
    def damage(self) -> list[tuple[int, int, int, int]]:
        """Rectangles, as (x, y, width, height), of what differs from the frame before. Empty:
        everything may, or, of a repeated frame, nothing does."""
        return self._message.damage

    @property
    def stream(self) -> wire.Stream:
        return self._slot.stream

    @property
    def slot(self) -> int:
        return self._slot.slot.slot

    @property
    def fourcc(self) -> str:
        return self._slot.fourcc

    @property
    def fds(self) -> tuple[int, ...]:
        """The memory's descriptors, for an import of your own; they belong to the slot. See
        `planes` for file, stride and offset of each plane."""
        return tuple(self._slot.fds)

    @property
    def planes(self) -> list[tuple[int, int, int]]:
        return self._slot.slot.planes

    @property
    def inode(self) -> int:
        """Of the memory, the same in each process that has it."""
        return self._slot.inodes[0]

    def wait(self, timeout: float | None = 10) -> bool:
        """Waits until the picture is complete; False if it is not in time."""
        if self.fence < 0:
            return True
        if not select.select([self.fence], [], [], timeout)[0]:
            return False
        os.close(self.fence)
        self.fence = -1
        return True

    @property
    def pixels(self) -> np.ndarray:
        """Rows, columns, bytes; read-only, without a copy. Waits until the picture is complete.

        numpy.from_dlpack() and torch.from_numpy() take it as it is. It is memory of the CPU: for
        memory of a GPU import `fds`."""
        if self.released:
            raise StepscopeError(f"frame {self.number} was released")
        if not self.wait():
            raise SessionLost(f"the fence of frame {self.number} did not signal for 10 s")
        return self._slot.view()

    def rgb(self) -> np.ndarray:
        """A view of shape (height, width, 3)."""
        pixels = self.pixels
        return pixels[..., 2::-1] if CHANNELS_BGR[self.fourcc][0] == 0 else pixels[..., :3]

    @contextlib.contextmanager
    def cpu_access(self) -> Iterator[np.ndarray]:
        """Brackets reading of a DMA-BUF, which some devices need to be coherent."""
        self._sync(SYNC_START)
        try:
            yield self.pixels
        finally:
            self._sync(SYNC_END)

    def _sync(self, when: int) -> None:
        if self.stream.memory == MEMORY_DMABUF:
            for fd in self._slot.fds:
                fcntl.ioctl(fd, DMA_BUF_IOCTL_SYNC, struct.pack("=Q", SYNC_READ | when))

    def release(self, fence: int = -1) -> None:
        """Gives the memory back; with a sync_file when that has signalled. The fence stays yours."""
        if not self.released:
            self.released = True
            if self.fence >= 0:
                os.close(self.fence)
                self.fence = -1
            self._owner._release(self._message.frame, fence)


@dataclass
class Ended:
    """How the stream ended."""

    reason: int
    value: int
    text: str


class FrameSocket:
    """A connection to a fencesink. Iterating takes one frame after the other and releases the one
    before; next() leaves that to you.

    steps=True asks to drive the game: step() then is what moves it. `credits` is how many frames may
    be on their way or held; releasing one grants the next.
    """

    def __init__(self, path: str | os.PathLike = "", *, steps: bool = False, credits: int = 2,
                 name: str = "", timeout: float | None = 30, wait: float = 0,
                 connection: socket.socket | None = None):  # fmt: skip
        if not 1 <= credits <= wire.MAX_CREDITS:
            raise StepscopeError(f"{credits} credits; expected 1 to {wire.MAX_CREDITS}")
        self.timeout = timeout
        self.stream: wire.Stream | None = None
        self.ended: Ended | None = None
        self.refused: list[wire.Refused] = []
        self.imports = 0
        self._slots: dict[int, _Slot] = {}
        self._streams: dict[int, wire.Stream] = {}
        self._frames: deque[SocketFrame] = deque()
        self._held: set[int] = set()
        self._outgoing: list[bytes] = []
        self._sequence = 0
        self._welcome: wire.Welcome | None = None
        self._socket = connection or self._connect(os.fspath(path), wait)
        try:
            self._greet(steps, credits, name or f"python {os.getpid()}")
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _connect(path: str, wait: float) -> socket.socket:
        deadline = time.monotonic() + wait
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                connection.connect(path)
                return connection
            except OSError as error:
                connection.close()
                late = time.monotonic() >= deadline
                if late or not isinstance(error, (FileNotFoundError, ConnectionRefusedError)):
                    raise SessionLost(
                        f"can't connect to '{path}': {error.strerror or error}; is a pipeline with "
                        "fencesink running?"
                    ) from error
            time.sleep(0.02)

    def _greet(self, steps: bool, credits: int, name: str) -> None:
        peer = struct.unpack("=iII", self._socket.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, 12))  # fmt: skip
        if peer[1] != os.geteuid():
            raise SessionLost(f"the producer (pid {peer[0]}) belongs to user {peer[1]}")
        self._socket.setblocking(False)
        capabilities = wire.MEMFD | wire.DMABUF | wire.ACQUIRE_FENCE | wire.RELEASE_FENCE
        self._send([wire.hello(wire.WANT_STEPS if steps else 0, capabilities, credits, name)])
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while self._welcome is None:
            self._receive(deadline)
        if steps and not self._welcome.granted & wire.WANT_STEPS:
            raise StepscopeError(
                "another consumer steps the game"
                if self._welcome.mode == wire.MODE_STEPS
                else "the producer does not wait for steps; give its fencesink wait=steps"
            )

    def __enter__(self) -> FrameSocket:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __iter__(self) -> Iterator[SocketFrame]:
        while (frame := self.next()) is not None:
            with frame:
                yield frame

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def mode(self) -> int:
        return self._welcome.mode

    @property
    def pid(self) -> int:
        """The producer's process."""
        return self._welcome.pid

    def close(self) -> None:
        """Releases everything. Views stay valid memory; what they show may change."""
        self._socket.close()
        self._slots.clear()
        while self._frames:
            self._frames.popleft().wait(0)

    def next(self, timeout: float | None = -1) -> SocketFrame | None:
        """The next frame; None at the end of the stream, see `ended`. TimeoutError if there is none
        in `timeout` seconds (default: that of the connection)."""
        limit = self.timeout if timeout == -1 else timeout
        deadline = None if limit is None else time.monotonic() + limit
        self._flush()
        while not self._frames:
            if self.ended:
                return None
            self._receive(deadline)
        return self._frames.popleft()

    def step(self, timeout: float | None = -1) -> SocketFrame | None:
        """Sends the inputs so far and a step, and waits for its frame; None if the game ended."""
        self.begin_step()
        while (frame := self.next(timeout)) is not None and frame.answers != self._sequence:
            frame.release()
        return frame

    def begin_step(self) -> None:
        self._sequence += 1
        self._outgoing.append(wire.step(self._sequence))
        self._flush()

    # Inputs wait for the next step, or for flush() where nobody steps.

    def key(self, name: str, pressed: bool) -> None:
        """By the name of an X keysym: "Up", "a", "space"."""
        self._outgoing.append(wire.given_input(wire.KEY, pressed, key=name))

    def button(self, number: int, pressed: bool) -> None:
        """1 left, 2 middle, 3 right."""
        self._outgoing.append(wire.given_input(wire.BUTTON, pressed, number))

    def move_to(self, x: float, y: float) -> None:
        """To a pixel of the picture."""
        self._outgoing.append(wire.given_input(wire.MOTION, x=x, y=y))

    def move_by(self, dx: float, dy: float) -> None:
        self._outgoing.append(wire.given_input(wire.RELATIVE, x=dx, y=dy))

    def scroll(self, right: float, up: float) -> None:
        """Clicks of a wheel."""
        self._outgoing.append(wire.given_input(wire.AXIS, x=right, y=up))

    def gamepad_button(self, name: str, pressed: bool, gamepad: int = 0) -> None:
        """By the name that SDL uses: "a", "dpup", "leftshoulder"."""
        self._outgoing.append(wire.given_input(wire.GAMEPAD_BUTTON, pressed, gamepad, key=name))

    def gamepad_axis(self, name: str, value: float, gamepad: int = 0) -> None:
        """ "leftx" and so on from -1 to 1, right and down are positive; triggers from 0 to 1."""
        self._outgoing.append(wire.given_input(wire.GAMEPAD_AXIS, False, gamepad, value, key=name))

    def flush(self) -> None:
        self._flush()

    def _release(self, frame: int, fence: int) -> None:
        if frame not in self._held or self._socket.fileno() < 0:
            return
        self._held.discard(frame)
        if fence >= 0:
            self._flush()
            self._send([wire.credits(1), wire.release(frame, 1)], [fence])
        else:
            # Together with what is sent next; who waits for a frame sends it first.
            self._outgoing += [wire.credits(1), wire.release(frame)]
            if not self._sequence:
                self._flush()

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        packet: list[bytes] = []
        size = 0
        for message in outgoing:
            if size + len(message) > wire.MAX_PACKET:
                self._send(packet)
                packet, size = [], 0
            packet.append(message)
            size += len(message)
        if packet:
            self._send(packet)

    def _send(self, messages: Sequence[bytes], fds: Sequence[int] = ()) -> None:
        while True:
            try:
                socket.send_fds(self._socket, [b"".join(messages)], list(fds))
                return
            except BlockingIOError:
                if not select.select([], [self._socket], [], self.timeout)[1]:
                    raise SessionLost("the producer does not read what it is sent") from None
            except (BrokenPipeError, ConnectionResetError):
                return  # why, it may have said: that is still to be read

    def _receive(self, deadline: float | None) -> None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([self._socket], [], [], left)[0]:
            raise TimeoutError("no frame in time")
        try:
            packet, fds = self._receive_packet()
        except BlockingIOError:
            return
        try:
            messages = wire.decode(packet, len(fds))
        except wire.Malformed:
            for fd in fds:
                os.close(fd)
            raise
        owned = set(fds)
        for message, own in messages:
            mine = [fds[index] for index in own]
            owned.difference_update(mine)
            self._handle(message, mine)
        for fd in owned:
            os.close(fd)

    def _receive_packet(self) -> tuple[bytes, list[int]]:
        for attempt in (1, 2):
            try:
                packet, fds, _, _ = socket.recv_fds(
                    self._socket, wire.MAX_PACKET + 1, wire.MAX_FDS + 1, socket.MSG_CMSG_CLOEXEC
                )
            except ConnectionResetError:
                # Comes once, ahead of what the producer said last.
                if attempt == 2:
                    break
                continue
            if packet:
                return packet, list(fds)
            break
        raise SessionLost("the producer of the frames went away")

    def _handle(self, message: wire.Message, fds: list[int]) -> None:
        if isinstance(message, wire.Frame):
            slot = self._slots.get(message.slot)
            if slot is None:
                raise wire.Malformed(f"frame {message.frame} is in unknown slot {message.slot}")
            self._held.add(message.frame)
            fence = fds[0] if fds else -1
            self._frames.append(SocketFrame(self, message, slot, fence))
        elif isinstance(message, wire.Slot):
            stream = self._streams.get(message.stream)
            if stream is None or message.slot in self._slots:
                raise wire.Malformed(f"slot {message.slot} is of no stream, or known already")
            self._slots[message.slot] = _Slot(stream, message, fds)
            self.imports += 1
        elif isinstance(message, wire.SlotGone):
            self._slots.pop(message.slot, None)
        elif isinstance(message, wire.Stream):
            self.stream = message
            self._streams = {message.stream: message}
        elif isinstance(message, wire.Welcome):
            self._welcome = message
        elif isinstance(message, wire.End):
            self.ended = Ended(message.reason, message.value, message.text)
        elif isinstance(message, wire.Refused):
            self.refused.append(message)
        elif isinstance(message, wire.Failure):
            raise SessionLost(f"the producer ended the connection: {message.text}")
