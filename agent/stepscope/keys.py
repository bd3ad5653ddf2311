# SPDX-License-Identifier: LGPL-2.1-or-later
"""Keys and buttons by name. Keys are positions on a keyboard with US layout, numbered by evdev."""

from __future__ import annotations

import ctypes
import ctypes.util

from stepscope import gamepads
from stepscope.errors import StepscopeError

KEYS = {
    "escape": 1, "minus": 12, "equal": 13, "backspace": 14, "tab": 15,
    "bracketleft": 26, "bracketright": 27, "return": 28, "control_l": 29,
    "semicolon": 39, "apostrophe": 40, "grave": 41, "shift_l": 42, "backslash": 43,
    "comma": 51, "period": 52, "slash": 53, "shift_r": 54, "kp_multiply": 55,
    "alt_l": 56, "space": 57, "caps_lock": 58, "num_lock": 69, "scroll_lock": 70,
    "kp_7": 71, "kp_8": 72, "kp_9": 73, "kp_subtract": 74, "kp_4": 75, "kp_5": 76, "kp_6": 77,
    "kp_add": 78, "kp_1": 79, "kp_2": 80, "kp_3": 81, "kp_0": 82, "kp_decimal": 83,
    "f11": 87, "f12": 88, "kp_enter": 96, "control_r": 97, "kp_divide": 98, "print": 99,
    "alt_r": 100, "home": 102, "up": 103, "page_up": 104, "left": 105, "right": 106,
    "end": 107, "down": 108, "page_down": 109, "insert": 110, "delete": 111, "pause": 119,
    "super_l": 125, "super_r": 126, "menu": 127,
}  # fmt: skip
for _first, _row in ((2, "1234567890"), (16, "qwertyuiop"), (30, "asdfghjkl"), (44, "zxcvbnm")):
    KEYS |= {letter: _first + index for index, letter in enumerate(_row)}
KEYS |= {f"f{number}": 58 + number for number in range(1, 11)}

ALIASES = {
    "esc": "escape", "enter": "return", "ctrl": "control_l", "control": "control_l",
    "shift": "shift_l", "alt": "alt_l", "super": "super_l", "pageup": "page_up",
    "pagedown": "page_down", "prior": "page_up", "next": "page_down", " ": "space",
    "-": "minus", "=": "equal", "[": "bracketleft", "]": "bracketright", ";": "semicolon",
    "'": "apostrophe", "`": "grave", "\\": "backslash", ",": "comma", ".": "period", "/": "slash",
}  # fmt: skip

BUTTONS = {"left": 0x110, "right": 0x111, "middle": 0x112, "side": 0x113, "extra": 0x114}
BUTTON_PREFIX = "mouse_"

# What a key that is held adds to the modifiers, as every XKB keymap of evdev rules numbers them.
MODIFIERS = {42: 1, 54: 1, 29: 4, 97: 4, 56: 8, 100: 8, 125: 64, 126: 64}


def key_code(name: str) -> int:
    """The evdev code of a key such as "Up", "a", "space", "ctrl"; case does not matter."""
    wanted = name.lower()
    code = KEYS.get(ALIASES.get(wanted, wanted))
    if code is None:
        raise StepscopeError(
            f"there is no key '{name}'; expected a name such as Up, a, 7, space, ctrl, Return, F1, "
            f"kp_5, or a button such as mouse_left or pad_a"
        )
    return code


def button_code(name: str) -> int:
    if name not in BUTTONS:
        raise StepscopeError(f"there is no button '{name}'; expected one of {', '.join(BUTTONS)}")
    return BUTTONS[name]


def check_key_or_button(name: str) -> None:
    if pad := gamepads.split_name(name):
        gamepads.button_number(pad[1])
    elif name.startswith(BUTTON_PREFIX):
        button_code(name.removeprefix(BUTTON_PREFIX))
    else:
        key_code(name)


class _RuleNames(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in
                ("rules", "model", "layout", "variant", "options")]  # fmt: skip


def keymap_text() -> bytes:
    """The US keymap as text, with its NUL. The same whatever layout the machine has, as it is seen
    by the game."""
    try:
        xkb = ctypes.CDLL(ctypes.util.find_library("xkbcommon") or "libxkbcommon.so.0")
    except OSError as error:
        raise StepscopeError(
            "libxkbcommon.so.0 can't be loaded; keys need it: install libxkbcommon0"
        ) from error
    for function in ("xkb_context_new", "xkb_keymap_new_from_names", "xkb_keymap_get_as_string"):
        getattr(xkb, function).restype = ctypes.c_void_p
    context = ctypes.c_void_p(xkb.xkb_context_new(0))
    names = _RuleNames(b"evdev", b"pc105", b"us", b"", b"")
    keymap = ctypes.c_void_p(xkb.xkb_keymap_new_from_names(context, ctypes.byref(names), 0))
    if not keymap:
        xkb.xkb_context_unref(context)
        raise StepscopeError("the US keyboard layout can't be made; install xkb-data")
    text = ctypes.c_void_p(xkb.xkb_keymap_get_as_string(keymap, 1))
    try:
        return ctypes.string_at(text) + b"\0"
    finally:
        libc = ctypes.CDLL(None)
        libc.free.restype = None
        libc.free(text)
        xkb.xkb_keymap_unref(keymap)
        xkb.xkb_context_unref(context)
