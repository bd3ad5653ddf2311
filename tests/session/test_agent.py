# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Python package for agents: environments, their ends, and traces."""

import gc
import json
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
import stepscope.trace
from support import processes
from support.frame_code import read_frame_number, read_input_sequence
from support.processes import WATCHDOG

gymnasium = pytest.importorskip("gymnasium", reason="python3-gymnasium is not installed")

pytestmark = pytest.mark.usefixtures("runtime")

TRACE = Path(__file__).resolve().parents[2] / "agent" / "stepscope-trace"
SIZE = {"width": 320, "height": 200}
RESETS = int(os.environ.get("STEPSCOPE_TEST_RESETS", "20"))  # 100 were run for the record


def game_command(*options, rate=60):
    return ["stepscope-testgame", "--backend", "wayland", "--fullscreen", "--rate", str(rate),
            *map(str, options)]


def doom_command():
    wad = next((path for path in (Path("/usr/share/games/doom/freedoom1.wad"),
                                  Path("/usr/share/doom/freedoom1.wad")) if path.exists()), None)
    if not shutil.which("chocolate-doom") or wad is None:
        pytest.skip("chocolate-doom or freedoom is not installed")
    return ["chocolate-doom", "-iwad", str(wad), "-warp", "1", "1", "-skill", "2", "-nosound"]


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


def trace(*arguments, **options):
    return subprocess.run([sys.executable, str(TRACE), *map(str, arguments)], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=WATCHDOG,
                          check=False, **options)


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
    env.step([1])
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
        for _ in range(5):  # until all memory of the game was seen
            env.step(0)
        gc.collect()
        return (sorted(processes.of_environment(str(runtime)).values()),
                sorted(target.partition(":")[0] for target in processes.descriptors().values()))

    first = episode()
    for _ in range(RESETS):
        assert episode() == first
    assert len(list((runtime / "stepscope").iterdir())) == 1
    env.close()
    assert not processes.of_environment(str(runtime))
    assert not list((runtime / "stepscope").iterdir())


def everything_of(runtime):
    """Of all sessions: processes by name (15 letters), this process's descriptors by kind, directories, and the
    descriptors of each compositor by number."""
    alive = processes.of_environment(str(runtime))
    compositors = [pid for pid, name in alive.items() if name == "stepscope"]
    return (sorted(alive.values()),
            sorted(target.partition(":")[0] for target in processes.descriptors().values()),
            len(list((runtime / "stepscope").iterdir())),
            [len(processes.descriptors(pid)) for pid in compositors])


def test_eight_side_by_side_leave_nothing(runtime):
    before = sorted(processes.descriptors())
    envs = make_vector(8, "SameStep", terminated=lambda observation, info: info["step"] >= 8)
    try:
        envs.reset(seed=1)
        seen = None
        for episode in range(3):
            for _ in range(8):  # ends and begins an episode of all eight
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


def test_torch_tensors_on_request(make_env):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    observation, _ = make_env(game_command(), obs_type="torch").reset(seed=1)
    assert isinstance(observation, torch.Tensor) and observation.dtype == torch.uint8


def test_doom_is_the_same_beside_busy_loops(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.write_text("".join(
        json.dumps({"step": step, "key": key, "pressed": pressed}) + "\n"
        for step, key, pressed in [(60, "Up", True), (100, "Right", True), (120, "Right", False),
                                   (130, "ctrl", True), (150, "Up", False)]))
    file = tmp_path / "doom.jsonl"
    done = trace("record", "-o", file, "-W", 320, "-H", 200, "-r", 35, "-n", 200, "--seed", 7,
                 "--no-xwayland", "--inputs", inputs, "--", *doom_command())
    assert done.returncode == 0, done.stderr
    recorded = stepscope.trace.Trace.load(file)
    assert recorded.header.tier == "T2"
    assert len({step.hash for step in recorded.steps}) > 100
    done = trace("verify", "--runs", 2, "--load", file)
    assert done.returncode == 0, done.stderr
    assert stepscope.trace.Trace.load(tmp_path / "doom.verified.jsonl").header.tier == "T3"
    # Other inputs make other pictures: a comparison that can't fail would prove nothing.
    text = file.read_text()
    file.write_text(text.replace('"key":"Right"', '"key":"Left"'))
    done = trace("replay", file)
    assert done.returncode == 1 and "differs: hash" in done.stderr


def test_doom_on_x11_is_the_same_beside_busy_loops(tmp_path):
    # With its mouse: the game takes the pointer as soon as its window is there, and what it reads
    # of it then turns its first view.
    inputs = tmp_path / "inputs"
    inputs.write_text("".join(
        json.dumps({"step": step, "move_by": [20, 0]}) + "\n" for step in range(90, 100)))
    file = tmp_path / "doom.jsonl"
    done = trace("record", "-o", file, "-W", 320, "-H", 200, "-r", 35, "-n", 120, "--seed", 7,
                 "--platform", "x11", "--inputs", inputs, "--", *doom_command())
    assert done.returncode == 0, done.stderr
    assert len({step.hash for step in stepscope.trace.Trace.load(file).steps}) > 50
    done = trace("verify", "--runs", 4, "--load", file)
    assert done.returncode == 0, done.stderr
    # The mouse is there: without its motion the view is another one.
    text = file.read_text()
    file.write_text(text.replace('"move_by":[20,0]', '"move_by":[0,0]'))
    done = trace("replay", file)
    assert done.returncode == 1 and "differs: hash" in done.stderr


def test_a_game_that_waits_with_epoll_is_the_same_beside_busy_loops(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.write_text("".join(
        json.dumps({"step": step, "move_by": [3, 1]}) + "\n" for step in range(5, 60)))
    file = tmp_path / "epoll.jsonl"
    done = trace("record", "-o", file, "-W", 320, "-H", 200, "-n", 60, "--seed", 7, "--platform",
                 "x11", "--inputs", inputs, "--", "stepscope-testgame", "--backend", "x11",
                 "--fullscreen", "--epoll")
    assert done.returncode == 0, done.stderr
    assert len({step.hash for step in stepscope.trace.Trace.load(file).steps}) > 50
    done = trace("verify", "--runs", 2, "--load", file)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("wsi", ["wayland", "xcb"])
def test_a_vulkan_game_is_the_same_beside_busy_loops(wsi, tmp_path):
    if not shutil.which("vkcube"):
        pytest.skip("vkcube is not installed")
    file = tmp_path / "cube.jsonl"
    done = trace("record", "-o", file, "-W", 320, "-H", 200, "-n", 60, "--seed", 7, "--platform",
                 {"wayland": "wayland", "xcb": "x11"}[wsi], "--", "vkcube", "--wsi", wsi)
    assert done.returncode == 0, done.stderr
    recorded = stepscope.trace.Trace.load(file)
    assert recorded.header.gate == "present (Vulkan)"
    assert len({step.hash for step in recorded.steps}) > 50
    done = trace("verify", "--runs", 2, "--load", file)
    assert done.returncode == 0, done.stderr


def test_a_game_with_chance_of_its_own_is_found_out(tmp_path):
    """Without a seed random numbers are the kernel's: how long this game waits differs."""
    wait = ("import os, sys; n = int.from_bytes(open('/dev/urandom', 'rb').read(4), 'big');"
            "import time; time.sleep(0.2 + n / 2**32);"
            f"os.execvp('stepscope-testgame', {game_command()!r})")
    file = tmp_path / "chance.jsonl"
    arguments = ["record", "-o", file, "-W", 320, "-H", 200, "-n", 100, "--no-xwayland"]
    done = trace(*arguments, "--", sys.executable, "-c", wait)
    assert done.returncode == 0, done.stderr
    done = trace("verify", "--runs", 4, file)
    assert done.returncode == 1 and "differs" in done.stderr
    assert list(tmp_path.glob("chance-step*-replayed.png")), done.stderr
    # The same game with a seed.
    done = trace(*arguments, "--seed", 3, "--", sys.executable, "-c", wait)
    assert done.returncode == 0, done.stderr
    done = trace("verify", "--runs", 2, file)
    assert done.returncode == 0, done.stderr


def test_the_first_difference_is_named_with_both_pictures(tmp_path):
    mark = tmp_path / "mark"
    commands = [" ".join(game_command(rate=rate)) for rate in (30, 60)]
    # Runs of this game take turns in how fast they are.
    script = (f"if [ -e {mark} ]; then rm {mark}; exec {commands[1]}; "
              f"else touch {mark}; exec {commands[0]}; fi")
    file = tmp_path / "turns.jsonl"
    done = trace("record", "-o", file, "-W", 320, "-H", 200, "-n", 20, "--no-xwayland",
                 "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert stepscope.trace.Trace.load(file).header.tier == "T1"
    done = trace("verify", "--runs", 3, file)
    assert done.returncode == 1, done.stderr
    pictures = {path.stem.rpartition("-")[2]: path for path in tmp_path.glob("*.png")}
    assert sorted(pictures) == ["recorded", "replayed"], done.stderr
    image = pytest.importorskip("PIL.Image", reason="python3-pil is not installed")
    numbers = {name: read_frame_number(np.array(image.open(path)))
               for name, path in pictures.items()}
    assert numbers["replayed"] == numbers["recorded"] + 1
    header = stepscope.trace.Trace.load(tmp_path / "turns.verified.jsonl").header
    assert header.tier == "T1" and "differs" in header.tier_reason


def run_example(name, *arguments, **options):
    return subprocess.run([sys.executable, str(TRACE.parent / "examples" / name), *arguments],
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


def test_usage_errors_of_traces(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("no trace\n")
    for arguments in (["replay", broken], ["verify", tmp_path / "none"], ["record"],
                      ["verify", "--runs", 0, broken],
                      ["record", "-o", tmp_path / "file", "--", "/nonexistent"]):
        done = trace(*arguments)
        assert done.returncode == 2 and done.stderr, arguments
        assert "Traceback" not in done.stderr


def test_a_trace_without_pictures_is_not_bit_exact(tmp_path):
    file = tmp_path / "dark.jsonl"
    done = trace("record", "-o", file, "-n", 3, "--seed", 1, "--no-xwayland", "--", "true")
    assert done.returncode == 0 and "last step exited" in done.stderr
    done = trace("verify", "--runs", 1, file)
    assert done.returncode == 0, done.stderr
    header = stepscope.trace.Trace.load(tmp_path / "dark.verified.jsonl").header
    assert header.tier == "T0" and "no step shows a picture" in header.tier_reason


def test_traces_that_no_recording_wrote_are_refused(tmp_path):
    head = {"stepscope_trace": 1, "command": ["true"]}
    step = {"step": 1, "status": "presented", "now_ns": 1, "hash": "00", "inputs": []}
    broken = [
        ["null", step], [head, "[]"], [head], [head, step | {"step": 2}], [head, step, step],
        *([head | {name: value}, step]
          for name, value in [("command", "true"), ("command", []), ("command", [1]),
                              ("width", "320"), ("height", None), ("fps", 60), ("seed", "1"),
                              ("platform", "windows"), ("xwayland", "no"), ("environment", [1]),
                              ("environment", {"A": 1}), ("tier", "T9"), ("unknown", 1)]),
        *([head, step | {name: value}]
          for name, value in [("status", None), ("now_ns", "1"), ("hash", 3), ("inputs", "Up"),
                              ("inputs", [1]), ("unknown", 1)]),
        *([head, step | {"inputs": [event]}]
          for event in [{}, {"key": 1, "pressed": True}, {"key": "Up"}, {"button": [], "pressed": 1},
                        {"move_to": ["a", None]}, {"move_by": [1]}, {"scroll": [float("nan"), 0]}]),
    ]
    file = tmp_path / "broken.jsonl"
    for lines in broken:
        file.write_text("".join(
            (line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        with pytest.raises(stepscope.StepscopeError):
            stepscope.trace.Trace.load(file)
    done = trace("verify", file)
    assert done.returncode == 2 and "Traceback" not in done.stderr


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


def test_gamepads_in_traces():
    good = [{"pad_button": "pad_start", "pressed": True}, {"pad_axis": "pad2_lefty", "value": -1}]
    stepscope.trace.check_events(good)
    for wrong in ({"pad_button": "start", "pressed": 1}, {"pad_button": "pad_leftx", "pressed": True},
                  {"pad_axis": "pad_a", "value": 0}, {"pad_axis": "pad_lefttrigger", "value": -0.5},
                  {"pad_axis": "pad_leftx"}):
        with pytest.raises(stepscope.StepscopeError):
            stepscope.trace.check_events([wrong])
