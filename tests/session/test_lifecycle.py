# SPDX-License-Identifier: LGPL-2.1-or-later
"""How sessions begin and end, and that nothing of them is left, whoever dies."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from support.pipeline import SOURCE, Gst, Pipeline, PipelineError, launch
from support.processes import WATCHDOG, descriptors, is_alive, of_environment, wait_until
from support.session import Session

pytestmark = pytest.mark.usefixtures("runtime")

SOON = 5  # seconds: a watchdog for what takes less than one


@pytest.mark.parametrize("command, status", [
    (["true"], 0),
    (["sh", "-c", "exit 7"], 7),
    (["sh", "-c", "kill -SEGV $$"], 128 + signal.SIGSEGV),
    (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
    (["/nonexistent/game"], 127),
    (["no-such-game-at-all"], 127),
    (["/etc"], 126),
])
def test_the_status_is_the_games(command, status):
    with Session(*command) as session:
        assert session.wait() == status


def test_a_crash_of_the_game_ends_the_stream_with_its_reason(game):
    command, _ = game("wayland", "--rate", 60, "--crash-after", 1)
    with Session(*command) as session, Pipeline(f"{SOURCE} ! fakesink name=sink") as pipeline:
        message = pipeline.message(Gst.MessageType.ELEMENT)
        while message.get_structure().get_name() != "stepscope-ended":
            message = pipeline.message(Gst.MessageType.ELEMENT)
        assert message.get_structure().get_string("how") == "signaled"
        assert message.get_structure().get_value("value") == signal.SIGABRT
        assert session.wait() == 128 + signal.SIGABRT


def test_sigterm_ends_the_game_first(tmp_path):
    mark = tmp_path / "mark"
    script = f"trap 'echo ended > {mark}; exit 5' TERM; echo > {mark}; while :; do sleep 0.05; done"
    with Session("sh", "-c", script) as session:
        wait_until(mark.exists, "the game's start")
        session.process.send_signal(signal.SIGTERM)
        assert session.wait() == 5
        assert mark.read_text() == "ended\n"


def test_a_session_ends_with_its_parent(runtime, game):
    command, report = game("wayland", "--rate", 30)
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); "
         "time.sleep(600)", "stepscope", "--die-with-parent", "--", *command],
        stderr=subprocess.DEVNULL)
    try:
        report.wait_for("frame")
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not is_alive(report.pid), "the end of the game", SOON)
    wait_until(lambda: not of_environment(str(runtime)), "the end of the session", SOON)


def test_ready_tells_where_the_session_is(game, runtime):
    command, _ = game("wayland", "--rate", 30)
    with Session(*command, name="ready") as session:
        assert session.ready["session"] == "ready"
        assert session.control.startswith(str(runtime))
        assert os.path.exists(session.control) and os.path.exists(session.ready["wayland"])
        assert os.stat(os.path.dirname(session.control)).st_mode & 0o077 == 0
        assert session.display.startswith(":")


def test_sessions_are_listed(game):
    def listed():
        return subprocess.run(["stepscope", "--list"], capture_output=True, text=True,
                              timeout=WATCHDOG, check=True)

    assert "no session" in listed().stderr
    command, _ = game("wayland", "--rate", 30)
    with Session(*command, name="one"), Session(*command, options=("-r", "59.94"), size="320x180"):
        lines = listed().stdout.splitlines()
        assert len(lines) == 3
        assert lines[1].split()[0] == "game" and "320x180" in lines[1] and "60000/1001" in lines[1]
        assert lines[2].split()[0] == "one" and "stepscope-testgame" in lines[2]
    assert listed().stdout == ""


def test_a_child_that_the_game_leaves_behind_is_ended():
    with Session("sh", "-c", "sleep 600 & (setsid sleep 601 &) ; sleep 0.5") as session:
        session.wait()
        session.check_gone(SOON)


def connections(pid):
    return sum(target.startswith("socket:") for target in descriptors(pid).values())


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def test_killing_the_game_ends_all(game, backend):
    command, report = game(backend, "--rate", 60)
    with Session(*command) as session, Pipeline() as pipeline:
        pipeline.numbered()
        kill(report.pid)
        pipeline.drain(SOON)
        assert session.wait(SOON) == 128 + signal.SIGKILL
        session.check_gone(SOON)


def test_killing_the_compositor_ends_all(game, backend):
    command, report = game(backend, "--rate", 60)
    with Session(*command, name="doomed") as session, Pipeline() as pipeline:
        pipeline.numbered()
        pid = session.pid
        kill(pid)
        with pytest.raises(PipelineError) as error:
            pipeline.drain(SOON)
        assert "'doomed'" in str(error.value) and str(pid) in str(error.value)
        assert "went away" in str(error.value)
        session.wait(SOON)
        wait_until(lambda: not is_alive(report.pid), "the end of the game", SOON)
        session.check_gone(SOON)


def test_killing_the_reaper_ends_all(game):
    command, report = game("wayland", "--rate", 60)
    with Session(*command) as session, Pipeline() as pipeline:
        pipeline.numbered()
        kill(session.reaper())
        try:
            pipeline.drain(SOON)
        except PipelineError:
            pass
        assert session.wait(SOON) != 0
        assert "reaper" in session.output()
        wait_until(lambda: not is_alive(report.pid), "the end of the game", SOON)
        session.check_gone(SOON)


def test_killing_a_pipeline_harms_nobody(game, runtime):
    command, report = game("wayland", "--rate", 60)
    with Session(*command) as session, Pipeline() as other:
        other.numbered()
        before = connections(session.pid)
        consumer = subprocess.Popen(["gst-launch-1.0", "-q", "wlscreencopysrc", "!", "fakesink"],
                                    stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: connections(session.pid) > before, "the pipeline's connection")
            time.sleep(0.3)
        finally:
            consumer.kill()
            consumer.wait()
        wait_until(lambda: connections(session.pid) == before, "the connection's end", SOON)
        shown = report.frames()
        other.pull_until(lambda frame: frame.number and frame.number > shown + 10, "new frames")
        assert session.process.poll() is None


def test_the_session_ends_in_order_while_it_is_captured(game):
    command, report = game("wayland", "--rate", 60)
    with Session(*command) as session, Pipeline() as pipeline:
        pipeline.numbered()
        session.process.send_signal(signal.SIGTERM)
        pipeline.drain(SOON)
        session.wait(SOON)
        wait_until(lambda: not is_alive(report.pid), "the end of the game", SOON)


def test_a_name_can_be_used_again_after_a_crash(game):
    command, _ = game("wayland", "--rate", 60)
    for _ in range(2):
        with Session(*command, name="again") as session:
            with Pipeline() as pipeline:
                pipeline.numbered()
            kill(session.pid)
            session.wait()
            session.check_gone(SOON)


def test_a_killed_session_leaves_its_successors_files_alone(runtime):
    """What the dead one had may be another's by the time that it is cleaned up after."""
    with Session("sleep", "1000", name="again") as first:
        folder = Path(first.control).parent
        lock = Path(f"/tmp/.X{first.display[1:]}-lock")
        socket = Path(f"/tmp/.X11-unix/X{first.display[1:]}")
        reaper = first.reaper()
        os.kill(reaper, signal.SIGSTOP)
        try:
            kill(first.pid)
            first.wait()
            # Who finds a dead process' number in the lock takes it over. This one is alive.
            mine = runtime / "lock"
            mine.write_text(f"{os.getpid():10}\n")
            os.replace(mine, lock)
            shutil.rmtree(folder)
            with Session("sleep", "1000", name="again", options=("--no-xwayland",)) as second:
                os.kill(reaper, signal.SIGCONT)
                wait_until(lambda: not is_alive(reaper), "the end of the reaper", SOON)
                assert socket.exists() and lock.read_text().strip() == str(os.getpid())
                with second.client():
                    pass
                assert not list(folder.parent.glob(".*"))
        finally:
            if is_alive(reaper):
                os.kill(reaper, signal.SIGCONT)
            lock.unlink(missing_ok=True)
            socket.unlink(missing_ok=True)


RING = 4  # pictures of its own that a compositor makes at most, each when it is needed first


def kinds_of_descriptors(pid="self") -> Counter:
    """How many a process has of each kind. A game's buffers are up to the game: it makes another
    when those that it has are in use. The compositor's own are bounded, and checked here."""
    kinds = Counter(re.sub(r"\[\d+\]", "", name) for name in descriptors(pid).values())
    pictures = sum(kinds.pop(name) for name in list(kinds) if "stepscope-picture" in name)
    assert pictures <= RING, f"{pictures} pictures of the compositor's own, the ring has {RING}"
    return Counter({kind: n for kind, n in kinds.items() if "memfd:testgame" not in kind})


def wait_for_descriptors(pid, own, its):
    """Until there are no more than `own` here and `its` in the compositor, of any kind."""
    more = []

    def back():
        more[:] = [kinds_of_descriptors() - own, kinds_of_descriptors(pid) - its]
        return not any(more)

    try:
        wait_until(back, "", SOON)
    except AssertionError:
        pytest.fail(f"too many here: {dict(more[0])}; in the compositor: {dict(more[1])}")


def test_starting_and_stopping_200_times_leaks_no_descriptor(game):
    command, _ = game("wayland", "--rate", 0, "--buffers", 4)
    with Session(*command, options=("-r", "0"), size="320x180") as session:
        pipeline = Pipeline()

        def cycle(times):
            for _ in range(times):
                with pipeline:
                    pipeline.pull()

        cycle(10)  # what is opened once is open now
        wait_until(lambda: any("memfd:testgame" in name for name in
                               descriptors(session.pid).values()), "no picture of the game")
        own, its = kinds_of_descriptors(), kinds_of_descriptors(session.pid)
        cycle(200)
        del pipeline
        wait_for_descriptors(session.pid, own, its)


def test_a_new_pipeline_each_time_leaks_no_descriptor(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command) as session:
        def cycle(times):
            for _ in range(times):
                with Pipeline() as pipeline:
                    pipeline.pull()
                    pipeline.move(1, 1)

        cycle(3)
        wait_until(lambda: any("memfd:testgame" in name for name in
                               descriptors(session.pid).values()), "no picture of the game")
        own, its = kinds_of_descriptors(), kinds_of_descriptors(session.pid)
        cycle(20)
        wait_for_descriptors(session.pid, own, its)


def test_thirty_sessions_leave_nothing():
    before = len(descriptors())
    for _ in range(30):
        with Session("true") as session:
            assert session.wait() == 0
    assert len(descriptors()) == before


def test_gst_launch_ends_with_the_game(game):
    command, _ = game("wayland", "--rate", 60, "--exit-after", 1)
    with Session(*command) as session:
        done = launch("wlscreencopysrc ! fakesink")
        assert done.returncode == 0 and "Got EOS" in done.stdout
        assert session.wait() == 0
