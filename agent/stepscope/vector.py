# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several games side by side as one Gymnasium vector environment."""

from __future__ import annotations

import selectors
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector import VectorEnv as GymnasiumVectorEnv
from gymnasium.vector.utils import batch_space, iterate

from stepscope.control import copy_channels
from stepscope.env import Env, Task, check_whole
from stepscope.errors import StepscopeError


def run_side_by_side(tasks: Mapping[int, tuple[Env, Task]]) -> dict[int, Any]:
    """Runs tasks of several environments until all are done: each request is sent as soon as it
    can be, and whoever answers first goes on first. Returns their values.

    An error in one of them is raised when the others are done, which are then in order.
    """
    values: dict[int, Any] = {}
    error: Exception | None = None
    with selectors.DefaultSelector() as selector:

        def advance(index: int) -> None:
            nonlocal error
            env, task = tasks[index]
            try:
                next(task)
            except StopIteration as end:
                values[index] = end.value
            except Exception as problem:
                error = error or problem
            else:
                selector.register(env.session.control.fileno(), selectors.EVENT_READ, index)

        for index in tasks:
            advance(index)
        while selector.get_map():
            for key, _ in selector.select():
                selector.unregister(key.fd)
                advance(key.data)
    if error is not None:
        raise error
    return values


class VectorEnv(GymnasiumVectorEnv):
    """`num_envs` games of the same kind, each in a session of its own, with all the parameters of
    Env. A step sends all requests first and then collects the answers.

    Observations are batched, which copies each picture once; with copy=False the batch is the same
    array in each step. With obs_type="torch" the batch is a tensor.
    """

    def __init__(
        self,
        num_envs: int,
        command: Sequence[str],
        *args: Any,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        obs_type: str = "numpy",
        **options: Any,
    ):
        check_whole("num_envs", num_envs)
        modes = tuple(mode.value for mode in AutoresetMode)
        Env._expect("autoreset_mode", getattr(autoreset_mode, "value", autoreset_mode), modes)
        Env._expect("obs_type", obs_type, ("numpy", "torch"))
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.envs = [Env(command, *args, **options) for _ in range(num_envs)]
        self.metadata = self.envs[0].metadata | {"autoreset_mode": self.autoreset_mode}
        self.render_mode = self.envs[0].render_mode
        self.single_action_space = self.envs[0].action_space
        self.single_observation_space = self.envs[0].observation_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._copy = copy
        self._torch = obs_type == "torch"
        shape = (num_envs, *self.single_observation_space.shape)
        self._observations = np.zeros(shape, np.uint8)
        self._done = np.zeros(num_envs, bool)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        options = dict(options or {})
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, bool)))
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise StepscopeError(
                f"reset_mask is an array of {self.num_envs} bools, of which one at least is true"
            )
        if seed is None or isinstance(seed, (int, np.integer)):
            seeds = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise StepscopeError(f"{len(seeds)} seeds for {self.num_envs} environments")
        infos: dict[str, Any] = {}
        self._reset(np.flatnonzero(mask), seeds, options, infos)
        return self._batch(), infos

    def step(self, actions: Any):
        rewards = np.zeros(self.num_envs, np.float64)
        terminated = np.zeros(self.num_envs, bool)
        truncated = np.zeros(self.num_envs, bool)
        infos: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.DISABLED and self._done.any():
            raise ResetNeeded(
                f"environments {np.flatnonzero(self._done).tolist()} are done; reset them with "
                "reset(options={'reset_mask': ...})"
            )
        single_actions = list(iterate(self.action_space, actions))
        if len(single_actions) != self.num_envs:
            raise StepscopeError(f"{len(single_actions)} actions for {self.num_envs} environments")
        for index, action in enumerate(single_actions):
            if not self._done[index]:
                self.envs[index].check_action(action)  # all of them, before any game takes a step
        tasks: dict[int, tuple[Env, Task]] = {}
        for index, action in enumerate(single_actions):
            env = self.envs[index]
            again = self._done[index]
            task = env.reset_task(seed=None, options=None) if again else env.step_task(action)
            tasks[index] = env, task
        for index, value in sorted(run_side_by_side(tasks).items()):
            if len(value) == 2:
                observation, info = value
            else:
                observation, rewards[index], terminated[index], truncated[index], info = value
            copy_channels(observation, self._observations[index])
            if self.autoreset_mode == AutoresetMode.SAME_STEP and (
                terminated[index] or truncated[index]
            ):
                final = {"final_obs": self._observations[index].copy(), "final_info": info}
                infos = self._add_info(infos, final, index)
            else:
                infos = self._add_info(infos, info, index)
        self._done = terminated | truncated
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            self._reset(np.flatnonzero(self._done), [None] * self.num_envs, {}, infos)
        return self._batch(), rewards, terminated, truncated, infos

    def render(self) -> tuple[np.ndarray | None, ...]:
        return tuple(env.render() for env in self.envs)

    def close_extras(self, **_: Any) -> None:
        for env in getattr(self, "envs", []):
            env.close()

    def _reset(
        self,
        indices: Sequence[int],
        seeds: Sequence[int | None],
        options: Mapping[str, Any],
        infos: dict[str, Any],
    ) -> None:
        tasks = {}
        for index in map(int, indices):
            env = self.envs[index]
            tasks[index] = env, env.reset_task(seed=seeds[index], options=options)
        for index, (observation, info) in sorted(run_side_by_side(tasks).items()):
            copy_channels(observation, self._observations[index])
            self._add_info(infos, info, index)
            self._done[index] = False

    def _batch(self) -> Any:
        batch = self._observations.copy() if self._copy else self._observations
        if self._torch:
            import torch

            return torch.from_numpy(batch)
        return batch
