# SPDX-License-Identifier: LGPL-2.1-or-later
"""Games for agents."""

import shutil
from pathlib import Path

import pytest

SIZE = {"width": 320, "height": 200}


def game_command(*options, rate=60):
    return ["stepscope-testgame", "--backend", "wayland", "--fullscreen", "--rate", str(rate),
            *map(str, options)]


def doom_command():
    wad = next((path for path in (Path("/usr/share/games/doom/freedoom1.wad"),
                                  Path("/usr/share/doom/freedoom1.wad")) if path.exists()), None)
    if not shutil.which("chocolate-doom") or wad is None:
        pytest.skip("chocolate-doom or freedoom is not installed")
    return ["chocolate-doom", "-iwad", str(wad), "-warp", "1", "1", "-skill", "2", "-nosound"]
