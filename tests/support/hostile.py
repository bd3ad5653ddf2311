# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client of the game's display that speaks the wire itself, and so can lie about its memory."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from stepscope.wire import Connection, Reader

from support.session import Session

COMPOSITOR_CREATE_SURFACE = 0
SURFACE_ATTACH, SURFACE_COMMIT, SURFACE_DAMAGE_BUFFER = 1, 6, 9
SHM_CREATE_POOL = 0
POOL_CREATE_BUFFER, POOL_DESTROY, POOL_RESIZE = 0, 1, 2
BUFFER_DESTROY = 0
WM_BASE_GET_SURFACE, WM_BASE_PONG = 2, 3
XDG_SURFACE_GET_TOPLEVEL, XDG_SURFACE_ACK = 1, 4
TOPLEVEL_SET_FULLSCREEN = 11

XRGB = 1  # of wl_shm


def words(*values: int) -> bytes:
    """Arguments of 32 bits, with or without a sign."""
    return b"".join(struct.pack("=I", value & 0xFFFFFFFF) for value in values)


def game_display(session: Session) -> Path:
    """The socket that the session's game is given."""
    folder = Path(session.control).parent / "runtime"
    return next(path for path in folder.glob("wayland-*") if path.is_socket())


class HostileClient(Connection):
    def __init__(self, session: Session):
        super().__init__(game_display(session), timeout=30)
        self.configured = 0
        self.fds: list[int] = []
        self.compositor = self.bind("wl_compositor", 4)
        self.shm = self.bind("wl_shm")
        self.wm_base = self.bind("xdg_wm_base", 1, self.handle_wm_base)
        self.surface = 0
        self.xdg_surface = 0

    def close(self) -> None:
        super().close()
        for fd in getattr(self, "fds", []):
            os.close(fd)
        self.fds = []

    def handle_wm_base(self, _opcode: int, body: Reader) -> None:
        self.send(self.wm_base, WM_BASE_PONG, words(body.uint()))

    def handle_xdg_surface(self, _opcode: int, body: Reader) -> None:
        self.configured += 1
        self.send(self.xdg_surface, XDG_SURFACE_ACK, words(body.uint()))

    def map_window(self) -> None:
        """A window that may be given buffers."""
        self.surface = self.new_id()
        self.send(self.compositor, COMPOSITOR_CREATE_SURFACE, words(self.surface))
        self.xdg_surface = self.new_id(self.handle_xdg_surface)
        self.send(self.wm_base, WM_BASE_GET_SURFACE, words(self.xdg_surface, self.surface))
        toplevel = self.new_id()
        self.send(self.xdg_surface, XDG_SURFACE_GET_TOPLEVEL, words(toplevel))
        self.send(toplevel, TOPLEVEL_SET_FULLSCREEN, words(0))
        self.send(self.surface, SURFACE_COMMIT)
        while not self.configured:
            self.dispatch()

    def memory(self, size: int, sealable: bool = True, kind: str = "memfd") -> int:
        if kind == "memfd":
            fd = os.memfd_create("hostile", os.MFD_CLOEXEC |
                                 (os.MFD_ALLOW_SEALING if sealable else 0))
            os.ftruncate(fd, size)
        else:
            assert kind == "pipe"
            fd, other = os.pipe()
            self.fds.append(other)
        self.fds.append(fd)
        return fd

    def pool(self, fd: int, size: int) -> int:
        pool = self.new_id()
        self.send(self.shm, SHM_CREATE_POOL, words(pool, size), fd)
        return pool

    def buffer(self, pool: int, width: int, height: int, stride: int, offset: int = 0,
               layout: int = XRGB) -> int:
        buffer = self.new_id()
        self.send(pool, POOL_CREATE_BUFFER, words(buffer, offset, width, height, stride, layout))
        return buffer

    def show(self, buffer: int, width: int, height: int) -> None:
        self.send(self.surface, SURFACE_ATTACH, words(buffer, 0, 0))
        self.send(self.surface, SURFACE_DAMAGE_BUFFER, words(0, 0, width, height))
        self.send(self.surface, SURFACE_COMMIT)
