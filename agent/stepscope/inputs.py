# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keyboard, pointer and gamepads of a session. What is sent before a step has reached the game when the step
begins."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stepscope import gamepads, keys
from stepscope.control import Control
from stepscope.wire import fixed, uints

if TYPE_CHECKING:
    from stepscope.trace import Recorder

MANAGER_CREATE = 0
KEYBOARD_KEYMAP, KEYBOARD_KEY, KEYBOARD_MODIFIERS = 0, 1, 2
POINTER_MOTION, POINTER_MOTION_ABSOLUTE, POINTER_BUTTON = 0, 1, 2
POINTER_FRAME, POINTER_AXIS_SOURCE, POINTER_AXIS_DISCRETE = 4, 5, 7
GAMEPAD_BUTTON, GAMEPAD_AXIS, GAMEPAD_FRAME = 1, 2, 3
KEYMAP_FORMAT_XKB_V1 = 1
AXIS_VERTICAL, AXIS_HORIZONTAL = 0, 1
AXIS_PER_CLICK = 15  # of a wheel, by custom


class Inputs:
    """Devices of one connection. Times are those of the game's clock, in milliseconds."""

    def __init__(self, connection: Control):
        self.time_ms = 0
        self.held: set[str] = set()
        self.recorder: Recorder | None = None
        self._codes: set[int] = set()
        self._connection = connection
        self._pads: dict[int, int] = {}
        seat = connection.bind("wl_seat")
        keyboards = connection.bind("zwp_virtual_keyboard_manager_v1")
        pointers = connection.bind("zwlr_virtual_pointer_manager_v1")
        self._keyboard = connection.new_id()
        connection.send(keyboards, MANAGER_CREATE, uints(seat, self._keyboard))
        self._pointer = connection.new_id()
        connection.send(pointers, MANAGER_CREATE, uints(seat, self._pointer))
        text = keys.keymap_text()
        fd = os.memfd_create("stepscope-keymap", os.MFD_CLOEXEC)
        try:
            os.write(fd, text)
            arguments = uints(KEYMAP_FORMAT_XKB_V1, len(text))
            connection.send(self._keyboard, KEYBOARD_KEYMAP, arguments, fd)
            connection.flush()
        finally:
            os.close(fd)

    def hold(self, names: Iterable[str]) -> None:
        """Presses and releases so that exactly these keys and buttons are down."""
        wanted = set(names)
        for name in sorted(self.held - wanted):
            self.press(name, False)
        for name in sorted(wanted - self.held):
            self.press(name, True)

    def press(self, name: str, down: bool) -> None:
        """A key, or a button by the names mouse_left and so on, or of a gamepad, pad_a and so on,
        of the second one pad1_a; nothing if it is so already."""
        if (name in self.held) == down:
            return
        if pad := gamepads.split_name(name):
            number = gamepads.button_number(pad[1])
            self._send_pad(pad[0], GAMEPAD_BUTTON, uints(number, int(down)))
            self._note({"pad_button": name, "pressed": down})
        elif name.startswith(keys.BUTTON_PREFIX):
            button = name.removeprefix(keys.BUTTON_PREFIX)
            code = keys.button_code(button)
            self._send_pointer(POINTER_BUTTON, uints(self.time_ms, code, int(down)))
            self._frame()
            self._note({"button": button, "pressed": down})
        else:
            self._press_key(keys.key_code(name), down)
            self._note({"key": name, "pressed": down})
        (self.held.add if down else self.held.discard)(name)

    def move_to(self, x: float, y: float) -> None:
        """Both from 0 to 1, over the whole picture."""
        extent = 1 << 24
        place = [round(min(max(value, 0.0), 1.0) * extent) for value in (x, y)]
        self._send_pointer(POINTER_MOTION_ABSOLUTE, uints(self.time_ms, *place, extent, extent))
        self._frame()
        self._note({"move_to": [float(x), float(y)]})

    def move_by(self, dx: float, dy: float) -> None:
        """In pixels."""
        self._send_pointer(POINTER_MOTION, uints(self.time_ms, fixed(dx), fixed(dy)))
        self._frame()
        self._note({"move_by": [float(dx), float(dy)]})

    def scroll(self, right: int, up: int) -> None:
        """Clicks of the wheel."""
        for axis, clicks in ((AXIS_VERTICAL, -up), (AXIS_HORIZONTAL, right)):
            if clicks:
                self._send_pointer(POINTER_AXIS_SOURCE, uints(0))
                value = fixed(clicks * AXIS_PER_CLICK)
                arguments = uints(self.time_ms, axis, value) + struct.pack("=i", clicks)
                self._send_pointer(POINTER_AXIS_DISCRETE, arguments)
        self._frame()
        self._note({"scroll": [int(right), int(up)]})

    def tilt(self, name: str, value: float) -> None:
        """A stick or trigger of a gamepad, pad_leftx and so on: sticks from -1 to 1, right and down
        are positive, triggers from 0 to 1."""
        gamepad, axis = gamepads.parse_axis(name)
        place = round(gamepads.check_value(axis, value) * gamepads.FULL)
        number = gamepads.axis_number(axis)
        self._send_pad(gamepad, GAMEPAD_AXIS, struct.pack("=Ii", number, place))
        self._note({"pad_axis": name, "value": float(value)})

    def _note(self, event: dict[str, Any]) -> None:
        """As traces have it."""
        if self.recorder is not None:
            self.recorder.add_event(event)

    def _send_pad(self, gamepad: int, opcode: int, arguments: bytes) -> None:
        if gamepad not in self._pads:
            self._pads[gamepad] = self._connection.get_gamepad(gamepad)
        self._connection.send(self._pads[gamepad], opcode, arguments)
        self._connection.send(self._pads[gamepad], GAMEPAD_FRAME)

    def _press_key(self, code: int, down: bool) -> None:
        self._connection.send(
            self._keyboard, KEYBOARD_KEY, uints(self.time_ms, code, int(down))
        )
        (self._codes.add if down else self._codes.discard)(code)
        if code in keys.MODIFIERS:
            mask = 0
            for held in self._codes:
                mask |= keys.MODIFIERS.get(held, 0)
            self._connection.send(self._keyboard, KEYBOARD_MODIFIERS, uints(mask, 0, 0, 0))

    def _send_pointer(self, opcode: int, arguments: bytes) -> None:
        self._connection.send(self._pointer, opcode, arguments)

    def _frame(self) -> None:
        self._send_pointer(POINTER_FRAME, b"")
