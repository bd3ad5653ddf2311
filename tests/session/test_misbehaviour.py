# SPDX-License-Identifier: LGPL-2.1-or-later
"""Games that misbehave, in lock-step: each step has its status in time, and the session goes on or
ends as it should."""

import os
import signal
import sys
import textwrap
import time

import pytest
from stepscope.control import Status

import stepscope
from support.frame_code import read_frame_number
from support.processes import is_alive, wait_until

pytestmark = pytest.mark.usefixtures("runtime")


def game_command(*options, rate=60):
    return ["stepscope-testgame", "--backend", "wayland", "--fullscreen", "--rate", str(rate),
            *map(str, options)]


def session_of(*command, timeout=20, **options):
    return stepscope.Session([*command], width=320, height=200, fps=60, seed=1, timeout=timeout,
                             **({"xwayland": False} | options))


def python(text):
    """A game without a window."""
    return sys.executable, "-c", textwrap.dedent(text)


def until_over(session, steps=200):
    """Steps until the game has ended; the last result, and the statuses before it."""
    before = []
    for _ in range(steps):
        result = session.step()
        if result.status >= Status.EXITED:
            return result, before
        before.append(result.status)
    raise AssertionError(f"not over in {steps} steps: {before[-5:]}")


def test_one_that_spins_on_the_clock_is_moved_on():
    with session_of(*python("""
            import time
            while time.monotonic() < 1000.5: pass
            """)) as session:
        result, before = until_over(session)
        # 0.5 s of its time, which begins at 1000 s.
        assert result.status == Status.EXITED and result.message.endswith("status 0")
        assert 29 <= len(before) <= 32 and set(before[1:]) == {Status.NO_COMMIT}


def test_one_that_never_presents_is_stepped_on():
    with session_of("sleep", "100000") as session:
        for step in range(1, 101):
            result = session.step()
            # The first picture of a session is its empty screen.
            assert result.status == (Status.NO_COMMIT if step > 1 else Status.PRESENTED)
            assert result.step == step and result.now_ns == step * 10**9 // 60


def test_one_that_shows_two_pictures_a_tick_loses_none():
    with session_of(*game_command(rate=120)) as session:
        numbers = []
        while len(numbers) < 60:
            result = session.step()
            assert result.status in (Status.PRESENTED, Status.NO_COMMIT)
            if result.fresh:
                numbers.append(read_frame_number(result.picture.rgb()))
        shown = [number for number in numbers if number]
        assert shown == list(range(shown[0], shown[0] + len(shown))), "a step shows one picture"


@pytest.mark.parametrize("xwayland", [False, True], ids=["wayland", "beside-an-x-server"])
@pytest.mark.parametrize("how, status, message", [
    ("os._exit(3)", Status.EXITED, "the game exited with status 3"),
    ("os.kill(os.getpid(), 11)", Status.CRASHED, "the game was ended by signal 11"),
    ("os.kill(os.getpid(), 9)", Status.CRASHED, "the game was ended by signal 9"),
], ids=["exit", "crash", "kill"])
def test_one_that_ends_within_a_step_is_told_apart(how, status, message, xwayland):
    # In the middle of step 6, while others of its threads wait for time.
    with session_of(*python(f"""
            import os, threading, time
            threading.Thread(target=time.sleep, args=(50,), daemon=True).start()
            time.sleep(5.5 / 60)
            {how}
            """), xwayland=xwayland) as session:
        for _ in range(5):
            assert session.control.step(10**9 // 60, 20000).status < Status.EXITED
        result = session.control.step(10**9 // 60, 20000)
        assert result.status == status and message in result.message
        assert result.now_ns == 6 * (10**9 // 60), "a step covers its time, whatever ends in it"
        wait_until(lambda: not is_alive(session.pid), "the end of the session")


def answer_of_compositor(session, length_ns=10**9 // 60):
    """A step's answer as it was sent, without what Python finds out about the end after it."""
    control = session.control
    control.begin_step(length_ns, 20000)
    while control._answer is None:
        control.dispatch()
    return control._answer


def test_the_answer_itself_says_crashed():
    for _ in range(5):
        with session_of(*game_command("--crash-after", 0.3)) as session:
            answers = [answer_of_compositor(session) for _ in range(18)]
            while answers[-1].status < Status.EXITED:
                answers.append(answer_of_compositor(session))
            assert answers[-1].status == Status.CRASHED
            assert "was ended by signal 6" in answers[-1].message


def test_one_that_hangs_is_named_and_may_go_on():
    with session_of(*python("""
            import time
            from pathlib import Path
            time.sleep(0.1)
            while not Path("go-on").exists(): pass
            time.sleep(100000)
            """), timeout=1, environment={"PYTHONDONTWRITEBYTECODE": "1"},
            home=os.environ["HOME"]) as session:
        # Files are looked at without a look at the clock: nothing can move on.
        begun = time.monotonic()
        for _ in range(20):
            result = session.step()
            if result.status == Status.TIMEOUT:
                break
        assert result.status == Status.TIMEOUT and "runs" in result.message
        assert time.monotonic() - begun < 30
        stood = result.now_ns
        assert session.step().now_ns == stood, "the watchdog moved the game's time"


def test_one_that_is_stopped_times_out_and_goes_on_when_continued():
    with session_of(*game_command(), timeout=1) as session:
        while not session.step().fresh:
            pass
        pid = session.control.facts.window.pid
        os.kill(pid, signal.SIGSTOP)
        result = session.step()
        assert result.status == Status.TIMEOUT and str(pid) in result.message
        os.kill(pid, signal.SIGCONT)
        number = read_frame_number(result.picture.rgb())
        for _ in range(10):
            result = session.step()
        assert result.fresh and read_frame_number(result.picture.rgb()) > number


def test_a_launcher_hands_over_to_its_game():
    command = ["stepscope-testgame", "--backend", "wayland", "--handover", "--",
               *game_command()[1:]]
    with session_of(*command) as session:
        statuses = [session.step() for _ in range(20)]
        launcher = session.control.facts.window.pid
        for _ in range(120):
            statuses.append(session.step())
        assert all(result.status in (Status.PRESENTED, Status.NO_COMMIT) for result in statuses)
        game = session.control.facts.window.pid
        assert game and game != launcher and not is_alive(launcher)
        assert all(session.step().fresh for _ in range(20))


def test_a_launcher_whose_game_opens_its_window_late_in_the_games_time():
    script = f"(sleep 3; exec {' '.join(game_command())}) & exit 0"
    with session_of("sh", "-c", script) as session:
        time.sleep(6)  # of nobody's time: steps are what counts
        for _ in range(240):
            result = session.step()
            assert result.status in (Status.PRESENTED, Status.NO_COMMIT), result.message
        assert result.fresh


def test_a_launcher_that_leaves_a_daemon_ends_after_five_seconds_of_game_time():
    with session_of("sh", "-c", "sleep 100000 & exit 4") as session:
        result, before = until_over(session, 400)
        assert result.status == Status.EXITED and result.message == "the game exited with status 4"
        assert 295 <= len(before) <= 310
