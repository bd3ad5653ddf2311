# SPDX-License-Identifier: LGPL-2.1-or-later
"""The names that gymnasium.make() and make_vec() know."""

from __future__ import annotations

ENVIRONMENTS = {
    "stepscope/Game-v0": ("stepscope.env:Env", "stepscope.vector:VectorEnv"),
    "stepscope/Doom-v0": ("stepscope.doom:DoomEnv", "stepscope.doom:DoomVectorEnv"),
}


def register_all() -> None:
    """Does nothing the second time, and where gymnasium is not installed."""
    try:
        from gymnasium.envs.registration import register, registry
    except ImportError:
        return
    for name, (single, vector) in ENVIRONMENTS.items():
        if name not in registry:
            register(name, entry_point=single, vector_entry_point=vector)
