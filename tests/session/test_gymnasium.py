# SPDX-License-Identifier: LGPL-2.1-or-later
"""Environments among what Gymnasium has: names, wrappers, resets by keys; and what is said of mistakes."""

import contextlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import stepscope
from stepscope.observation import Shrinker
from stepscope.trace import Trace
from stepscope.verify import replay
from support.frame_code import read_frame_number

gymnasium = pytest.importorskip("gymnasium", reason="python3-gymnasium is not installed")

pytestmark = pytest.mark.usefixtures("runtime")

COMMAND = ["stepscope-testgame", "--backend", "wayland", "--fullscreen", "--rate", "60"]
CATCH = Path(__file__).resolve().parents[2] / "agent" / "examples" / "catch_game.py"
SIZE = {"width": 320, "height": 200, "xwayland": False}


def closing(env):
    return contextlib.closing(env)


def test_gymnasium_makes_them_by_name():
    with closing(gymnasium.make("stepscope:stepscope/Game-v0", command=COMMAND, max_episode_steps=4,
                                actions=["Up", ("Up", "ctrl")], **SIZE)) as env:
        assert env.unwrapped.action_meanings == ["Up", "Up+ctrl"]
        env.reset(seed=1)
        ends = [env.step(env.action_space.sample())[2:4] for _ in range(4)]
        assert ends == [(False, False)] * 3 + [(False, True)]
    with closing(gymnasium.make_vec("stepscope/Game-v0", num_envs=2, command=COMMAND, **SIZE)) as envs:
        assert isinstance(envs, stepscope.VectorEnv)
        assert envs.reset(seed=1)[0].shape == (2, 200, 320, 3)
    assert "stepscope/Doom-v0" in gymnasium.registry


def test_the_same_seed_gives_the_same_game():
    def pictures(seed):
        with closing(stepscope.Env([sys.executable, str(CATCH)], 160, 176, 30, xwayland=False,
                                   actions=[(), "Left", "Right"], copy_observations=True)) as env:
            shown = [env.reset(seed=seed)[0]]
            for step in range(25):  # two balls and a half
                shown.append(env.step(step % 3)[0])
            return np.stack(shown)

    first = pictures(1)
    assert np.array_equal(pictures(1), first)
    assert any(not np.array_equal(pictures(seed), first) for seed in (2, 3, 4))


def test_an_agent_without_a_window_does_not_hide_its_game(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with closing(stepscope.Env([sys.executable, str(CATCH)], 160, 176, 30, xwayland=False)) as env:
        assert env.reset(seed=1)[1]["status"] == "presented"


def test_a_reset_by_keys_leaves_the_game_running():
    with closing(stepscope.Env(COMMAND + ["--exit-after", "2"], reset_keys=[(3, "Return"), (4, ())],
                               restart=False, **SIZE)) as env:
        info = env.reset(seed=1)[1]
        pid, step = env.session.pid, info["step"]
        env.step(0)
        info = env.reset()[1]
        assert env.session.pid == pid and info["step"] == step + 8
        # The keys of this once.
        info = env.reset(options={"reset_keys": [(2, ())]})[1]
        assert env.session.pid == pid and info["step"] == step + 10
        # A seed is that of a new game, and so is what is asked for.
        for arguments in ({"seed": 1}, {"options": {"restart": True}}):
            info = env.reset(**arguments)[1]
            assert env.session.pid != pid and info["step"] == step
            pid = env.session.pid
        # And a game that has ended can't play on.
        while not env.step(0)[3]:
            pass
        info = env.reset()[1]
        assert env.session.pid != pid and info["step"] == step


def test_who_keeps_an_observation_is_warned_once():
    with closing(stepscope.Env(COMMAND, **SIZE)) as env, warnings.catch_warnings():
        warnings.simplefilter("error")
        observation, _ = env.reset(seed=1)
        for _ in range(5):  # as every loop has it
            following, *_ = env.step(0)
            observation = following
        kept = observation[::2, ::2, 0]  # a part of it is as much
        observation, *_ = env.step(0)
        with pytest.warns(stepscope.StaleObservationWarning, match="copy_observations=True"):
            observation, *_ = env.step(0)
        env.step(0)
        assert kept.size


@pytest.mark.parametrize("transport", ["control", "socket"])
def test_the_observation_before_is_there_beside_the_one_that_followed(transport):
    with closing(stepscope.Env(COMMAND, frames_per_step=5, reset_keys=[(4, ())], restart=False,
                               transport=transport, **SIZE)) as env:
        observation, _ = env.reset(seed=1)
        for step in range(12):
            before = observation.copy()
            again = step % 4 == 3
            following = env.reset()[0] if again else env.step(0)[0]
            frames = read_frame_number(following) - read_frame_number(before)
            assert frames == (4 if again else 5)
            assert np.array_equal(observation, before)
            assert np.shares_memory(following, env.picture.bgrx)
            observation = following


def test_an_episode_can_be_proved(tmp_path):
    for options, message in (({"traces": tmp_path / "none"}, "expected a folder"),
                             ({"traces": tmp_path, "home": "/"}, "has no home"),
                             ({"traces": tmp_path, "transport": "socket"}, "not there with")):
        with pytest.raises(stepscope.StepscopeError, match=message):
            stepscope.Env(COMMAND, **options, **SIZE)
    with closing(stepscope.Env(COMMAND, keys=["Up", "mouse_left"], pointer="relative", traces=tmp_path,
                               frames_per_step=2, reset_keys=[(3, "Return")], **SIZE)) as env:
        for seed in (7, 7, 8):
            env.reset(seed=seed)
            env.action_space.seed(seed)
            for _ in range(10):
                *_, info = env.step(env.action_space.sample())
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "seed-7-2.jsonl", "seed-7.jsonl", "seed-8.jsonl"]
    first, again, other = (Trace.load(tmp_path / f"seed-{name}.jsonl") for name in ("7", "7-2", "8"))
    assert len(first.steps) == info["step"] and first.header.tier == "T2"
    assert first.steps == again.steps != other.steps
    assert replay(other, timeout=20) is None
    inputs = {kind for events in other.inputs().values() for event in events for kind in event}
    assert inputs == {"key", "button", "pressed", "move_by"}
    # What was not played is found out.
    next(step for step in other.steps if step.inputs).inputs.clear()
    assert replay(other, timeout=20).what.startswith("hash was")


def test_a_step_that_was_interrupted_asks_for_a_reset(monkeypatch):
    """As by Ctrl-C in a notebook, where one goes on with the same environment."""
    with closing(stepscope.Env(COMMAND, **SIZE)) as env:
        with pytest.raises(gymnasium.error.ResetNeeded, match="no reset yet"):
            env.step(0)
        env.reset(seed=1)

        def interrupt():
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(env.session, "finish_step", interrupt)
            with pytest.raises(KeyboardInterrupt):
                env.step(0)
        with pytest.raises(gymnasium.error.ResetNeeded, match="was interrupted"):
            env.step(0)
        env.reset(seed=1)
        assert env.step(0)[4]["fresh"]
    with pytest.raises(gymnasium.error.ResetNeeded, match="is closed"):
        env.step(0)


def test_stacked_frames_are_those_of_their_steps():
    env = stepscope.Env(COMMAND, copy_observations=True, **SIZE)
    with (closing(gymnasium.wrappers.FrameStackObservation(env, 3)) as stacked,
          warnings.catch_warnings()):
        warnings.simplefilter("error")
        stacked.reset(seed=1)
        for _ in range(5):
            observation, *_ = stacked.step(0)
        numbers = [read_frame_number(picture) for picture in observation]
        assert numbers == list(range(numbers[0], numbers[0] + 3))


@pytest.mark.parametrize("source, target", [(200, 84), (7, 3), (10, 10), (640, 1), (101, 100)])
def test_what_is_made_smaller_is_the_mean_by_area(source, target):
    pixels = np.random.default_rng(1).integers(0, 256, (source, 2)).astype(np.uint8)
    # Each pixel as `target` smaller ones: then each mean is over `source` whole ones.
    means = np.repeat(pixels, target, axis=0).reshape(target, source, 2).mean(axis=1)
    assert np.abs(Shrinker(source, target)(pixels) - means).max() < 0.01


def test_pictures_can_be_made_smaller():
    for options, shape in (({}, (50, 77, 3)), ({"observation": "gray"}, (50, 77))):
        with closing(stepscope.Env(COMMAND, resize=(77, 50), **options, **SIZE)) as env:
            observation, _ = env.reset(seed=1)
            assert observation.shape == env.observation_space.shape == shape
            assert env.observation_space.contains(observation)
            # Of equal weight: the mean brightness stays.
            whole = env.picture.rgb()
            mean = whole.mean() if not options else (whole @ [77, 150, 29]).mean() / 256
            assert abs(observation.mean() - mean) < 1
            assert observation.flags.writeable


@pytest.mark.parametrize("options, message", [
    ({"command": "doom -warp 1"}, r"command is the string.*\['doom', '-warp', '1'\]"),
    ({"command": []}, "command is empty"),
    ({"command": 5}, "command is 5; expected a list"),
    ({"environment": {"NUMBER": 1}}, "environment is .*strings"),
    ({"environment": ["A=1"]}, "environment is .*strings"),
    ({"reward": 5}, "reward is 5; expected a function"),
    ({"terminated": "never"}, "terminated is 'never'; expected a function"),
    ({"width": 0}, "width is 0"),
    ({"height": 1_000_000}, "16 to 16384"),
    ({"height": 200.5}, "height is 200.5"),
    ({"frames_per_step": 1.5}, "frames_per_step is 1.5"),
    ({"downsample": 0}, "downsample is 0"),
    ({"resize": (321, 100)}, "width of 1 to 320"),
    ({"resize": 84}, "resize is 84"),
    ({"keys": "Up"}, "keys is the string 'Up'"),
    ({"actions": []}, "actions is empty"),
    ({"axes": "pad_leftx"}, "axes is the string"),
    ({"reset_keys": [("Up", 3)]}, "frames is 'Up'"),
    ({"reset_keys": (60, ())}, "expected pairs of frames and names"),
])
def test_mistakes_are_told_at_once(options, message):
    with pytest.raises(stepscope.StepscopeError, match=message):
        stepscope.Env(**({"command": COMMAND} | SIZE | options))


def test_mistaken_options_of_a_reset_leave_the_game():
    with closing(stepscope.Env(COMMAND, **SIZE)) as env:
        _, before = env.reset(seed=1)
        for options, message in ((5, "options is 5; expected a dictionary"),
                                 ({"key": 1}, "knows no option key")):
            with pytest.raises(stepscope.StepscopeError, match=message):
                env.reset(options=options)
        assert env.step(0)[4]["step"] == before["step"] + 1


def test_mistyped_parameters_and_modes_are_told_at_once():
    with pytest.raises(TypeError, match="xwaylnd"):
        stepscope.Env(COMMAND, xwaylnd=False)
    with pytest.raises(stepscope.StepscopeError, match="autoreset_mode is 'same'.*'SameStep'"):
        stepscope.VectorEnv(2, COMMAND, autoreset_mode="same")
    with pytest.raises(stepscope.StepscopeError, match="num_envs is"):
        stepscope.VectorEnv(COMMAND, 2)


@pytest.mark.parametrize("options, wrong", [
    ({"actions": ["Up", "Down"]}, [2, -1, 0.5, None, "Up", [0, 1]]),
    ({"keys": ["Up", "Down"]}, [[1], 1, [1, 0, 1]]),
    ({"pointer": "relative"}, [0, {"keys": 0}, {"keys": 0, "pointer": [float("nan"), 0]},
                               {"keys": 0, "pointer": [0]}, {"keys": 0, "pointer": [0, 0], "x": 1}]),
])
def test_actions_that_are_none_are_refused(options, wrong):
    with closing(stepscope.Env(COMMAND, **options, **SIZE)) as env:
        env.reset(seed=1)
        for action in wrong:
            with pytest.raises(stepscope.StepscopeError, match="the action is"):
                env.step(action)
        # Nothing happened to the game.
        assert env.step(env.action_space.sample())[4]["step"] == 2


def test_each_environment_needs_an_action():
    with closing(stepscope.VectorEnv(2, COMMAND, **SIZE)) as envs:
        envs.reset(seed=1)
        with pytest.raises(stepscope.StepscopeError, match="1 actions for 2 environments"):
            envs.step([0])
        envs.step([0, 0])
