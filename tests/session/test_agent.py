# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Python package for agents: environments, their ends, and the examples."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import stepscope
from support import processes
from support.agents import SIZE, doom_command, game_command
from support.frame_code import read_frame_number, read_input_sequence
from support.processes import WATCHDOG

gymnasium = pytest.importorskip("gymnasium", reason="python3-gymnasium is not installed")

pytestmark = pytest.mark.usefixtures("runtime")

EXAMPLES = Path(__file__).resolve().parents[2] / "agent" / "examples"
RESETS = int(os.environ.get("STEPSCOPE_TEST_RESETS", "20"))  # 100 were run for the record


@pytest.fixture
def make_env():
    """Environments that are closed at the end."""
    made = []

    def make(command, **options):
        options = SIZE | {"xwayland": False} | options
        made.append(stepscope.Env(command, **options))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.mark.filterwarnings("ignore:.*alternative render modes.*")
@pytest.mark.parametrize("options", [
    {"keys": ["Up", "a"], "render_mode": "rgb_array"},
    {"actions": [(), "Left", ("Left", "ctrl")], "observation": "gray", "downsample": 2},
    {"keys": ["space", "mouse_left"], "pointer": "absolute", "frames_per_step": 3},
    {"pointer": "relative", "copy_observations": True},
], ids=["keys", "actions", "absolute", "relative"])
def test_gymnasium_finds_nothing_wrong(make_env, options):
    from gymnasium.utils.env_checker import check_env
    check_env(make_env(game_command(), **options))


def test_each_step_shows_the_next_picture(make_env):
    env = make_env(game_command())
    observation, info = env.reset(seed=1)
    number = read_frame_number(observation)
    for _ in range(30):
        observation, _, _, truncated, info = env.step(0)
        assert info["fresh"] and not truncated
        assert read_frame_number(observation) == number + 1
        number += 1
    assert info["virtual_time"] == pytest.approx(info["step"] / 60)


def test_a_step_without_a_picture_says_so_and_shows_the_one_before(make_env):
    env = make_env(game_command(rate=20))
    observation, _ = env.reset(seed=1)
    before = observation.copy()
    fresh = 0
    for _ in range(60):
        observation, _, _, _, info = env.step(0)
        assert info["status"] == ("presented" if info["fresh"] else "no_commit")
        assert np.array_equal(observation, before) != info["fresh"]
        before = observation.copy()
        fresh += info["fresh"]
    assert fresh == 20


def test_an_observation_is_the_games_own_memory(make_env):
    env = make_env(game_command())
    observation, _ = env.reset(seed=1)
    game = env.session.control.facts.window.pid
    for _ in range(3):  # until the game has made itself as many buffers as it needs now
        observation, *_ = env.step(0)
    for _ in range(10):
        assert env.picture.passed_through
        assert np.shares_memory(observation, env.picture.bgrx)
        assert not observation.flags.writeable
        assert env.picture.inode in processes.memory_inodes(game)
        assert env.picture.inode in processes.memory_inodes(os.getpid())
        observation, *_ = env.step(0)


def test_copied_observations_stay(make_env):
    env = make_env(game_command(), copy_observations=True)
    kept = [env.reset(seed=1)[0]] + [env.step(0)[0] for _ in range(10)]
    numbers = [read_frame_number(observation) for observation in kept]
    assert numbers == list(range(numbers[0], numbers[0] + 11))


def test_an_action_shows_in_the_step_it_came_with_or_the_next(make_env):
    env = make_env(game_command(), keys=["Up"])
    observation, _ = env.reset(seed=1)
    for _ in range(10):
        observation, *_ = env.step([0])
    before = read_input_sequence(observation)
    for _ in range(2):
        observation, *_ = env.step([1])
    assert read_input_sequence(observation) > before


def test_callbacks_and_macro(make_env):
    env = make_env(game_command(), reward=lambda observation, info: info["step"] / 2,
                   terminated=lambda observation, info: info["step"] == 15,
                   reset_keys=[(3, "Return"), (4, ())])
    _, info = env.reset(seed=1)
    start = info["step"]
    assert start >= 8
    for step in range(start + 1, 16):
        _, reward, terminated, truncated, _ = env.step(0)
        assert reward == step / 2 and terminated == (step == 15) and not truncated
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


def until_truncated(env, steps=200):
    for _ in range(steps):
        *_, truncated, info = env.step(0)
        if truncated:
            return info
    raise AssertionError(f"not truncated in {steps} steps")


@pytest.mark.parametrize("options, reason", [
    (["--crash-after", 0.3], "crashed: the game was ended by signal 6"),
    (["--exit-after", 0.3, "--exit-status", 3], "exited: the game exited with status 3"),
])
def test_an_end_of_the_game_truncates(make_env, options, reason):
    env = make_env(game_command(*options))
    env.reset(seed=1)
    assert reason in until_truncated(env)["reason"]
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset()
    assert not env.step(0)[3]


def test_a_game_that_hangs_truncates(make_env):
    env = make_env(game_command(), timeout=1)
    env.reset(seed=1)
    os.kill(env.session.control.facts.window.pid, signal.SIGSTOP)
    assert until_truncated(env, 1)["reason"].startswith("stalled:")


def test_a_compositor_that_dies_truncates(make_env):
    env = make_env(game_command())
    env.reset(seed=1)
    os.kill(env.session.pid, signal.SIGKILL)
    assert "the session was lost" in until_truncated(env, 1)["reason"]


def test_a_compositor_that_crashed_is_told():
    session = stepscope.Session(game_command(), xwayland=False)
    os.kill(session.pid, signal.SIGSEGV)
    with pytest.warns(stepscope.CompositorCrashWarning, match="SIGSEGV"):
        session.close()


def test_a_session_that_was_closed_waits_for_no_other_of_its_name():
    first = stepscope.Session(game_command(), xwayland=False)
    name = first.control.facts.name
    first.close()
    with stepscope.Session(game_command(), xwayland=False) as second:
        assert second.control.facts.name == name
        started = time.monotonic()
        first.close()
        del first
        assert time.monotonic() - started < 5
        assert second.step().fresh


def test_errors_say_what_was_expected(make_env):
    with pytest.raises(stepscope.StepscopeError, match="no key 'Jump'"):
        make_env(game_command(), keys=["Jump"])
    # The game is started while the session is connected to, or later, after the X server.
    for xwayland in (False, False, False, True):
        with pytest.raises(stepscope.StepscopeError,
                           match="'/nonexistent' can't be started: No such file or directory"):
            make_env(["/nonexistent"], xwayland=xwayland).reset()
    with pytest.raises(stepscope.StepscopeError, match="'/' can't be started: Permission denied"):
        make_env(["/"], xwayland=True).reset()
    with pytest.raises(stepscope.StepscopeError, match="did not get through reset"):
        make_env(["sh", "-c", "exit 4"]).reset()


def test_resets_leave_nothing(make_env, runtime):
    env = make_env(game_command())

    def episode():
        env.reset()
        for _ in range(10):  # until all memory of the game was seen
            env.step(0)
        gc.collect()
        return (sorted(processes.of_environment(str(runtime)).values()),
                processes.descriptor_kinds())

    first = episode()
    for _ in range(RESETS):
        assert episode() == first
    assert len(list((runtime / "stepscope").iterdir())) == 1
    env.close()
    assert not processes.of_environment(str(runtime))
    assert not list((runtime / "stepscope").iterdir())


def test_torch_tensors_on_request(make_env):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    observation, _ = make_env(game_command(), obs_type="torch").reset(seed=1)
    assert isinstance(observation, torch.Tensor) and observation.dtype == torch.uint8


def run_example(name, *arguments, **options):
    return subprocess.run([sys.executable, str(EXAMPLES / name), *arguments],
                          text=True, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=WATCHDOG, check=False, **options)


def test_the_random_agent_makes_a_video(tmp_path):
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    doom_command()
    video = tmp_path / "video.mp4"
    done = run_example("random_doom.py", "--steps", "30", "--output", str(video))
    assert done.returncode == 0, done.stderr
    assert video.stat().st_size > 1000


def test_the_learner_plays_and_draws_its_curve(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    curve = tmp_path / "curve.png"
    done = run_example("learn_catch.py", "--updates", "2", "--output", str(curve))
    # Nothing is learnt so soon, which is what its exit status says.
    assert done.returncode == 1 and "at last" in done.stdout, done.stderr
    assert curve.exists()


def test_gamepads_in_the_action_space(make_env):
    env = make_env(game_command(), keys=["pad_a", "pad1_dpup", "Up"],
                   axes=["pad_leftx", "pad1_righttrigger"])
    assert env.action_space["keys"].shape == (3,)
    assert env.action_space["axes"].low.tolist() == [-1, 0]
    assert env.action_space["axes"].high.tolist() == [1, 1]
    env.reset()
    # Without gamepads each action says what is missing, and what to do.
    with pytest.raises(stepscope.StepscopeError, match="no gamepad 0, it has 0.*gamepads=1"):
        env.step({"keys": [1, 0, 0], "axes": [0, 0]})
    for options, message in (({"keys": ["pad_z"]}, "no button 'z'"),
                             ({"axes": ["leftx"]}, "'leftx' is no gamepad's axis"),
                             ({"axes": ["pad_a"]}, "no axis 'a'")):
        with pytest.raises(stepscope.StepscopeError, match=message):
            make_env(game_command(), **options)
