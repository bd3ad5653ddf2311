# SPDX-License-Identifier: LGPL-2.1-or-later
"""Unmodified games as environments for agents, one exact step at a time.

Env and VectorEnv need gymnasium; the rest needs numpy only. Where gymnasium is installed, its make()
and make_vec() know "stepscope/Game-v0", with Env's parameters, and "stepscope/Doom-v0".
"""

from __future__ import annotations

from stepscope.control import Control, Picture, Status, StepResult
from stepscope.errors import (
    CompositorCrashWarning,
    SessionLost,
    StaleObservationWarning,
    StepscopeError,
)
from stepscope.frame_socket import FrameSocket, SocketFrame
from stepscope.registration import register_all
from stepscope.session import Session

__version__ = "0.1.0"
__all__ = [
    "CompositorCrashWarning", "Control", "Env", "FrameSocket", "Picture", "Session", "SessionLost",
    "SocketFrame", "Status", "StaleObservationWarning", "StepResult", "StepscopeError", "VectorEnv",
]  # fmt: skip

register_all()


def __getattr__(name: str):
    # Imported when it is asked for: whoever only steps or replays needs no gymnasium.
    if name == "Env":
        from stepscope.env import Env

        return Env
    if name == "VectorEnv":
        from stepscope.vector import VectorEnv

        return VectorEnv
    raise AttributeError(f"module 'stepscope' has no attribute '{name}'")
