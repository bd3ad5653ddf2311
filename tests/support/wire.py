# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client of the Wayland wire protocol, as small as the tests need it: lists globals, and follows
a session on the control display."""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from support.processes import WATCHDOG

DISPLAY, REGISTRY = 1, 2
DISPLAY_SYNC, DISPLAY_GET_REGISTRY = 0, 1
DISPLAY_ERROR = 0
REGISTRY_BIND = 0
REGISTRY_GLOBAL = 0
CONTROL_GET_SESSION = 1
SESSION_SET_OUTPUT, SESSION_TERMINATE = 1, 2
SESSION_OUTPUT, SESSION_WINDOW, SESSION_ENDED = 1, 2, 3


def string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("=I", len(data)) + data + b"\0" * (-len(data) % 4)


class Reader:
    def __init__(self, data: bytes):
        self.data = data

    def uint(self) -> int:
        value = struct.unpack_from("=I", self.data)[0]
        self.data = self.data[4:]
        return value

    def string(self) -> str:
        size = self.uint()
        value = self.data[: max(size - 1, 0)].decode()
        self.data = self.data[size + (-size % 4):]
        return value


class WireClient:
    """A connection; `globals` maps interfaces to (name, version)."""

    def __init__(self, path: str | Path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WATCHDOG)
        self.socket.connect(str(path))
        self.pending = b""
        self.next_id = REGISTRY + 1
        self.globals: dict[str, tuple[int, int]] = {}
        self.error = ""
        self.send(DISPLAY, DISPLAY_GET_REGISTRY, struct.pack("=I", REGISTRY))
        self.roundtrip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def send(self, target: int, opcode: int, arguments: bytes = b"") -> None:
        size = 8 + len(arguments)
        self.socket.sendall(struct.pack("=II", target, size << 16 | opcode) + arguments)

    def bind(self, interface: str, version: int = 1) -> int:
        name, _ = self.globals[interface]
        number = self.new_id()
        self.send(REGISTRY, REGISTRY_BIND, struct.pack("=I", name) + string(interface)
                  + struct.pack("=II", version, number))
        return number

    def roundtrip(self) -> None:
        callback = self.new_id()
        self.send(DISPLAY, DISPLAY_SYNC, struct.pack("=I", callback))
        while self.dispatch() != callback:
            pass

    def dispatch(self) -> int:
        """Waits for an event and handles it; returns the number of its object."""
        while True:
            if len(self.pending) >= 8:
                target, word = struct.unpack_from("=II", self.pending)
                size = word >> 16
                if len(self.pending) >= size:
                    body, self.pending = self.pending[8:size], self.pending[size:]
                    self.handle(target, word & 0xFFFF, Reader(body))
                    return target
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError(self.error or "the compositor closed the connection")
            self.pending += data

    def handle(self, target: int, opcode: int, body: Reader) -> None:
        if target == DISPLAY and opcode == DISPLAY_ERROR:
            body.uint()
            body.uint()
            self.error = body.string()
        elif target == REGISTRY and opcode == REGISTRY_GLOBAL:
            name = body.uint()
            interface = body.string()
            self.globals[interface] = name, body.uint()


def globals_of(path: str | Path) -> set[str]:
    with WireClient(path) as client:
        return set(client.globals)


@dataclass
class Window:
    title: str = ""
    app_id: str = ""
    backend: str = ""
    pid: int = 0


class SessionClient(WireClient):
    """Follows the state of a session through its control socket."""

    def __init__(self, path: str | Path):
        self.window = Window()
        self.size = 0, 0
        self.ended: tuple[int, int] | None = None
        self.session = 0
        super().__init__(path)
        control = self.bind("stepscope_control_v1")
        self.session = self.new_id()
        self.send(control, CONTROL_GET_SESSION, struct.pack("=I", self.session))
        self.roundtrip()

    def handle(self, target: int, opcode: int, body: Reader) -> None:
        if target != self.session or not self.session:
            super().handle(target, opcode, body)
        elif opcode == SESSION_OUTPUT:
            self.size = body.uint(), body.uint()
        elif opcode == SESSION_WINDOW:
            self.window = Window(body.string(), body.string(), body.string(), body.uint())
        elif opcode == SESSION_ENDED:
            self.ended = body.uint(), body.uint()

    def set_output(self, width: int, height: int, numerator: int = 0, denominator: int = 0):
        self.send(self.session, SESSION_SET_OUTPUT,
                  struct.pack("=IIII", width, height, numerator, denominator))

    def terminate(self) -> None:
        self.send(self.session, SESSION_TERMINATE)

    def wait_for_window(self, **wanted: object) -> Window:
        """Until the focused window has these properties; without any, until there is one."""
        deadline = time.monotonic() + WATCHDOG
        while True:
            self.roundtrip()
            if wanted and all(getattr(self.window, key) == value for key, value in wanted.items()):
                return self.window
            if not wanted and self.window.pid:
                return self.window
            assert time.monotonic() < deadline, f"no window with {wanted}: {self.window}"
            time.sleep(0.02)
