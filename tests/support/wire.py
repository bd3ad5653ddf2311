# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests ask a display: its globals, and the state of a session on the control display."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from pathlib import Path

from stepscope.wire import Connection, Reader

from support.processes import WATCHDOG

CONTROL_GET_SESSION = 1
SESSION_SET_OUTPUT, SESSION_TERMINATE, SESSION_OFFER_PIPEWIRE = 1, 2, 3
SESSION_CREATE_PIPEWIRE_NODE = 4
SESSION_OUTPUT, SESSION_WINDOW, SESSION_ENDED, SESSION_PIPEWIRE = 1, 2, 3, 5


class WireClient(Connection):
    def __init__(self, path: str | Path):
        super().__init__(path, WATCHDOG)


def globals_of(path: str | Path) -> set[str]:
    with WireClient(path) as client:
        return set(client.globals)


@dataclass
class Window:
    title: str = ""
    app_id: str = ""
    backend: str = ""
    pid: int = 0


class PipewireNode:
    """A node that the client asked for."""

    def __init__(self, client: WireClient):
        self.client = client
        self.id = client.new_id(self.handle)
        self.name = ""
        self.serial = 0

    def handle(self, _: int, body: Reader) -> None:
        self.name, self.serial = body.string(), body.uint() << 32 | body.uint()

    def destroy(self) -> None:
        self.client.send(self.id, 0)
        self.client.flush()


class SessionClient(WireClient):
    """Follows the state of a session through its control socket."""

    def __init__(self, path: str | Path):
        self.window = Window()
        self.size = 0, 0
        self.ended: tuple[int, int] | None = None
        self.session = 0
        super().__init__(path)
        self.pipewire: tuple[str, int, str, int] | None = None
        control = self.bind("stepscope_control_v1", 5)
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
        elif opcode == SESSION_PIPEWIRE:
            self.pipewire = (body.string(), body.uint() << 32 | body.uint(),
                             body.string(), body.uint() << 32 | body.uint())

    def set_output(self, width: int, height: int, numerator: int = 0, denominator: int = 0):
        self.send(self.session, SESSION_SET_OUTPUT,
                  struct.pack("=IIII", width, height, numerator, denominator))
        self.flush()

    def offer_pipewire(self) -> None:
        self.send(self.session, SESSION_OFFER_PIPEWIRE)
        self.flush()

    def create_pipewire_node(self, width: int, height: int, numerator: int = 0,
                             denominator: int = 1) -> PipewireNode:
        node = PipewireNode(self)
        self.send(self.session, SESSION_CREATE_PIPEWIRE_NODE,
                  struct.pack("=5I", node.id, width, height, numerator, denominator))
        self.flush()
        return node

    def terminate(self) -> None:
        self.send(self.session, SESSION_TERMINATE)
        self.flush()

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
