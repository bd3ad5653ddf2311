# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Python package for agents: many environments side by side."""

import gc

import numpy as np
import pytest

import stepscope
from support import processes
from support.agents import SIZE, game_command
from support.frame_code import read_frame_number

gymnasium = pytest.importorskip("gymnasium", reason="python3-gymnasium is not installed")

pytestmark = pytest.mark.usefixtures("runtime")


def everything_of(runtime):
    """Of all sessions: processes by name (15 letters), this process's descriptors by kind, directories, and the
    descriptors of each compositor by number."""
    alive = processes.of_environment(str(runtime))
    compositors = [pid for pid, name in alive.items() if name == "stepscope"]
    return (sorted(alive.values()),
            processes.descriptor_kinds(),
            len(list((runtime / "stepscope").iterdir())),
            [len(processes.descriptors(pid)) for pid in compositors])


def test_eight_side_by_side_leave_nothing(runtime):
    before = sorted(processes.descriptors())
    envs = make_vector(8, "SameStep", terminated=lambda observation, info: info["step"] >= 16)
    try:
        envs.reset(seed=1)
        seen = None
        for episode in range(3):
            ended = np.zeros(8, bool)
            while not ended.any():  # ends and begins an episode of all eight
                observations, _, ended, *_ = envs.step(envs.action_space.sample())
            assert ended.all()
            for _ in range(10):  # until all memory of the games was seen
                observations, *_ = envs.step(envs.action_space.sample())
            assert all(read_frame_number(picture) for picture in observations)
            gc.collect()
            now = everything_of(runtime)
            assert now[0].count("stepscope-testg") == 8 and now[2] == 8
            assert seen in (None, now[:3])
            seen = now[:3]
    finally:
        envs.close()
    del envs, observations
    gc.collect()
    assert not processes.of_environment(str(runtime))
    assert not list((runtime / "stepscope").iterdir())
    assert sorted(processes.descriptors()) == before


def make_vector(count, mode, **options):
    return stepscope.VectorEnv(count, game_command(), **(SIZE | {"xwayland": False} | options),
                               autoreset_mode=mode)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_three_side_by_side(mode):
    last = 6
    envs = make_vector(3, mode, terminated=lambda observation, info: info["step"] == last)
    try:
        observations, infos = envs.reset(seed=[1, 2, 3])
        assert observations.shape == envs.observation_space.shape
        assert len({env.session.control.facts.pid for env in envs.envs}) == 3
        first = infos["step"].copy()
        ended = np.zeros(3, bool)
        while not ended.any():
            before = observations
            observations, _, ended, _, infos = envs.step(envs.action_space.sample())
            if not (ended.any() and mode == "SameStep"):
                assert all(read_frame_number(now) == read_frame_number(then) + 1
                           for now, then in zip(observations, before))
        assert ended.all()
        if mode == "SameStep":
            assert (infos["step"] == first).all()
            assert all(info == last for info in infos["final_info"]["step"])
            assert all(read_frame_number(now) > read_frame_number(new)
                       for now, new in zip(infos["final_obs"], observations))
        elif mode == "NextStep":
            assert (infos["step"] == last).all()
            _, rewards, ended, _, infos = envs.step(envs.action_space.sample())
            assert (infos["step"] == first).all() and not ended.any() and not rewards.any()
        else:
            with pytest.raises(gymnasium.error.ResetNeeded):
                envs.step(envs.action_space.sample())
            mask = np.array([True, False, True])
            _, infos = envs.reset(options={"reset_mask": mask})
            assert (infos["_step"] == mask).all()
    finally:
        envs.close()


def test_an_action_that_cannot_be_stops_no_game_and_steps_none(runtime):
    envs = make_vector(2, "Disabled", actions=["a", "b"])
    try:
        _, infos = envs.reset(seed=1)
        before = infos["step"]
        for actions in ([0, 9], [0], ["a", 0]):
            with pytest.raises(stepscope.StepscopeError):
                envs.step(actions)
        *_, infos = envs.step([0, 1])
        assert np.array_equal(infos["step"], before + 1)
    finally:
        envs.close()
