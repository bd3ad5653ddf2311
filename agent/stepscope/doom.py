# SPDX-License-Identifier: LGPL-2.1-or-later
"""Freedoom in chocolate-doom, which gymnasium.make("stepscope/Doom-v0") makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepscope.env import Env
from stepscope.errors import StepscopeError
from stepscope.vector import VectorEnv

WADS = ("/usr/share/games/doom/freedoom1.wad", "/usr/share/doom/freedoom1.wad")

ACTIONS = [
    (), "Up", "Down", "Left", "Right", ("Up", "Left"), ("Up", "Right"), ("alt", "Left"),
    ("alt", "Right"), "ctrl", ("Up", "ctrl"), "space",
]  # fmt: skip


def doom_options() -> dict[str, Any]:
    """Parameters of an Env that plays the first level; there is no reward in them."""
    wad = next((path for path in WADS if Path(path).exists()), None)
    if wad is None:
        raise StepscopeError("freedoom1.wad is not installed; install freedoom and chocolate-doom")
    return {
        "command": ["chocolate-doom", "-iwad", wad, "-warp", "1", "1", "-skill", "2", "-nosound"],
        "width": 320,
        "height": 200,
        "fps": 35,  # Doom's own
        "frames_per_step": 4,
        "actions": ACTIONS,
        "reset_keys": [(60, ())],  # the level appears
    }


class DoomEnv(Env):
    """The first level of Freedoom; every parameter of Env may be given another value."""

    def __init__(self, **options: Any):
        super().__init__(**(doom_options() | options))


class DoomVectorEnv(VectorEnv):
    """Several of them."""

    def __init__(self, num_envs: int, **options: Any):
        super().__init__(num_envs, **(doom_options() | options))
