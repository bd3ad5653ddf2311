# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client of the Wayland wire protocol: messages, descriptors, globals. Nothing but Python."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Callable

from stepscope.errors import SessionLost

DISPLAY, REGISTRY = 1, 2
DISPLAY_SYNC, DISPLAY_GET_REGISTRY = 0, 1
DISPLAY_ERROR, DISPLAY_DELETE_ID = 0, 1
REGISTRY_BIND = 0
REGISTRY_GLOBAL = 0

MAX_FDS = 28  # of one message, as libwayland sends them
HEADER = struct.Struct("=II")
UINT = struct.Struct("=I")


def uints(*values: int) -> bytes:
    return struct.pack(f"={len(values)}I", *values)


def string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return UINT.pack(len(data)) + data + b"\0" * (-len(data) % 4)


def fixed(value: float) -> int:
    """A signed number with 8 bits behind the point, as the bits of an unsigned one."""
    return round(value * 256) & 0xFFFFFFFF


class Reader:
    """The arguments of one event, taken in their order."""

    def __init__(self, data: bytes, fds: deque[int] | None = None):
        self.data = data
        self.at = 0
        self.fds = fds if fds is not None else deque()

    def uint(self) -> int:
        value = UINT.unpack_from(self.data, self.at)[0]
        self.at += 4
        return value

    def uint64(self) -> int:
        """Two arguments: the high half, then the low one."""
        high = self.uint()
        return high << 32 | self.uint()

    def string(self) -> str:
        size = self.uint()
        value = self.data[self.at : self.at + max(size - 1, 0)].decode(errors="replace")
        self.at += size + (-size % 4)
        return value

    def fd(self) -> int:
        """The caller owns it."""
        return self.fds.popleft()


Handler = Callable[[int, Reader], None]


class Connection:
    """A connection to a display; `globals` maps interfaces to (name, version).

    Requests are kept until flush() or until an event is waited for, so that those which belong
    together arrive together. Not for several threads at a time.
    """

    def __init__(self, path: str | os.PathLike, timeout: float | None = 60):
        self.error = ""
        self.globals: dict[str, tuple[int, int]] = {}
        self._outgoing = bytearray()
        self._outgoing_fds: list[int] = []
        self._incoming = bytearray()
        self._incoming_fds: deque[int] = deque()
        self._handlers: dict[int, Handler] = {}
        self._next_id = REGISTRY + 1
        self._free_ids: list[int] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(os.fspath(path))
            self.send(DISPLAY, DISPLAY_GET_REGISTRY, uints(REGISTRY))
            self.roundtrip()
        except OSError as error:
            self.close()
            raise SessionLost(f"can't connect to {path}: {error.strerror or error}") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        self._socket.close()
        while self._incoming_fds:
            os.close(self._incoming_fds.popleft())
        # Handlers know their owners, who know this: without them nothing waits for the collector.
        self._handlers.clear()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def timeout(self) -> float | None:
        """Longest wait for one event in seconds; None: without end."""
        return self._socket.gettimeout()

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._socket.settimeout(seconds)

    def new_id(self, handler: Handler | None = None) -> int:
        if self._free_ids:
            number = self._free_ids.pop()
        else:
            number = self._next_id
            self._next_id += 1
        if handler:
            self._handlers[number] = handler
        return number

    def forget(self, number: int) -> None:
        """Events of this object are ignored from here on."""
        self._handlers.pop(number, None)

    def bind(self, interface: str, version: int = 1, handler: Handler | None = None) -> int:
        if interface not in self.globals:
            raise SessionLost(f"the display has no {interface}")
        name, _ = self.globals[interface]
        number = self.new_id(handler)
        self.send(REGISTRY, REGISTRY_BIND, uints(name) + string(interface) + uints(version, number))
        return number

    def send(self, target: int, opcode: int, arguments: bytes = b"", fd: int = -1) -> None:
        """A descriptor is duplicated on its way; it stays the caller's, who keeps it open until
        flush()."""
        self._outgoing += HEADER.pack(target, (8 + len(arguments)) << 16 | opcode)
        self._outgoing += arguments
        if fd >= 0:
            self._outgoing_fds.append(fd)
            if len(self._outgoing_fds) == MAX_FDS:
                self.flush()

    def flush(self) -> None:
        try:
            if self._outgoing_fds:
                rights = array.array("i", self._outgoing_fds)
                sent = self._socket.sendmsg(
                    [self._outgoing], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
                )
                self._outgoing_fds.clear()
                del self._outgoing[:sent]
            if self._outgoing:
                self._socket.sendall(self._outgoing)
                self._outgoing.clear()
        except TimeoutError as error:
            raise SessionLost("the compositor reads no requests any more") from error
        except OSError:
            # What it said before it closed the connection explains more than a broken pipe.
            self._outgoing.clear()
            while True:
                self.dispatch()

    def roundtrip(self) -> None:
        """Until all requests so far have been handled, and their events too."""
        done = False

        def handle(_opcode: int, _arguments: Reader) -> None:
            nonlocal done
            done = True

        callback = self.new_id(handle)
        self.send(DISPLAY, DISPLAY_SYNC, uints(callback))
        while not done:
            self.dispatch()

    def dispatch(self) -> int:
        """Sends what is to be sent, waits for an event and handles it; returns the number of its
        object."""
        if self._outgoing:
            self.flush()
        while not self.has_event():
            self._receive()
        return self._dispatch_one()

    def has_event(self) -> bool:
        """Whether dispatch() would return without waiting."""
        if len(self._incoming) < 8:
            return False
        return len(self._incoming) >= HEADER.unpack_from(self._incoming)[1] >> 16

    def handle(self, target: int, opcode: int, arguments: Reader) -> None:
        """Handles the event of any object; subclasses see them here first."""
        if target == DISPLAY and opcode == DISPLAY_ERROR:
            number, code = arguments.uint(), arguments.uint()
            self.error = arguments.string() or f"error {code} of object {number}"
        elif target == DISPLAY and opcode == DISPLAY_DELETE_ID:
            number = arguments.uint()
            self.forget(number)
            self._free_ids.append(number)
        elif target == REGISTRY and opcode == REGISTRY_GLOBAL:
            name, interface = arguments.uint(), arguments.string()
            self.globals[interface] = name, arguments.uint()
        elif handler := self._handlers.get(target):
            handler(opcode, arguments)

    def _dispatch_one(self) -> int:
        target, word = HEADER.unpack_from(self._incoming)
        size = word >> 16
        if size < 8:
            raise SessionLost(f"the compositor sent a message of {size} bytes")
        body = bytes(self._incoming[8:size])
        del self._incoming[:size]
        self.handle(target, word & 0xFFFF, Reader(body, self._incoming_fds))
        return target

    def _receive(self) -> None:
        space = socket.CMSG_SPACE(MAX_FDS * 4)
        try:
            data, control, _, _ = self._socket.recvmsg(65536, space, socket.MSG_CMSG_CLOEXEC)
        except TimeoutError as error:
            raise SessionLost(f"the compositor did not answer for {self.timeout:g} s") from error
        except OSError as error:
            raise SessionLost(self.error or f"the connection broke: {error.strerror}") from error
        for level, kind, rights in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(rights[: len(rights) // fds.itemsize * fds.itemsize])
                self._incoming_fds.extend(fds)
        if not data:
            raise SessionLost(self.error or "the compositor closed the connection")
        self._incoming += data
