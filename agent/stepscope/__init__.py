# SPDX-License-Identifier: LGPL-2.1-or-later
"""Unmodified games as environments for agents, one exact step at a time.

Env and VectorEnv need gymnasium; the rest needs numpy only.
"""

from __future__ import annotations

from stepscope.control import Control, Picture, Status, StepResult
from stepscope.errors import SessionLost, StepscopeError
from stepscope.frame_socket import FrameSocket, SocketFrame
from stepscope.session import Session

__version__ = "0.1.0"
__all__ = [
    "Control", "Env", "FrameSocket", "Picture", "Session", "SessionLost", "SocketFrame", "Status",
    "StepResult", "StepscopeError", "VectorEnv",
]  # fmt: skip


def __getattr__(name: str):
    # Imported when it is asked for: whoever only steps or replays needs no gymnasium.
    if name == "Env":
        from stepscope.env import Env

        return Env
    if name == "VectorEnv":
        from stepscope.vector import VectorEnv

        return VectorEnv
    raise AttributeError(f"module 'stepscope' has no attribute '{name}'")
