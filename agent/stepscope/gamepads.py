# SPDX-License-Identifier: LGPL-2.1-or-later
"""Buttons and axes of gamepads, by the names that SDL uses; in the control protocol's order."""

from __future__ import annotations

import re

from stepscope.errors import StepscopeError

BUTTONS = (
    "a", "b", "x", "y", "back", "guide", "start", "leftstick", "rightstick", "leftshoulder",
    "rightshoulder", "dpup", "dpdown", "dpleft", "dpright",
)  # fmt: skip
AXES = ("leftx", "lefty", "rightx", "righty", "lefttrigger", "righttrigger")
FULL = 32767

_PAD_NAME = re.compile(r"pad(\d*)_(.+)")


def split_name(name: str) -> tuple[int, str] | None:
    """The gamepad and what it is of it, of a name such as "pad_a" or "pad1_leftx"; None where the
    name is another thing's."""
    match = _PAD_NAME.fullmatch(name)
    return (int(match[1] or 0), match[2]) if match else None


def button_number(name: str) -> int:
    if name not in BUTTONS:
        raise StepscopeError(
            f"a gamepad has no button '{name}'; expected one of {', '.join(BUTTONS)}"
        )
    return BUTTONS.index(name)


def axis_number(name: str) -> int:
    if name not in AXES:
        raise StepscopeError(f"a gamepad has no axis '{name}'; expected one of {', '.join(AXES)}")
    return AXES.index(name)


def check_value(axis: str, value: float) -> float:
    lowest = 0 if axis.endswith("trigger") else -1
    if not lowest <= value <= 1:
        raise StepscopeError(f"the gamepad's axis '{axis}' can't be at {value}; expected {lowest} to 1")
    return value


def parse_axis(name: str) -> tuple[int, str]:
    """The gamepad and the axis of a name such as "pad_leftx"."""
    parts = split_name(name)
    if parts is None:
        raise StepscopeError(f"'{name}' is no gamepad's axis; expected a name such as pad_leftx")
    axis_number(parts[1])
    return parts
