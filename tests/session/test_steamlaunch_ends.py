# SPDX-License-Identifier: LGPL-2.1-or-later
"""steamlaunchsrc when somebody is killed, when a launcher is done, and when it is stopped."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from support.pipeline import SINK, Gst, PipelineError
from support.pipewire import Daemon
from support.processes import descriptors, is_alive, of_environment, wait_until
from support.steam_launch import SOON, Launch, quoted, stream_of

pytestmark = pytest.mark.usefixtures("runtime")


def test_lockstep_restarts_in_one_stream(game):
    command, _ = game("wayland", "--vsync", "--exit-after", 1)
    caps = "video/x-raw,framerate=60/1"
    with Launch(quoted(command) + " mode=lockstep on-exit=restart", f"{caps} ! {SINK}") as launch:
        last = -1
        while launch.stages(3).count("first-frame") == 0:
            frame = launch.pull()
            segment = frame.sample.get_segment()
            now = segment.to_running_time(Gst.Format.TIME, frame.pts)
            assert now > last
            last = now
            del frame


def test_eos_before_a_window():
    launch = Launch(quoted(["sleep", "600"]), "fakesink name=sink")
    with launch:
        launch.stage("process-up")
        launch.pipeline.send_event(Gst.Event.new_eos())
        launch.wait_eos()


def victim_of(who, library, launch, report):
    if who == "client":
        return library.client_pid
    title = launch.stage("process-up")["pid"]
    assert title == report.pid
    if who == "game":
        return title
    stat = Path(f"/proc/{title}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])  # its reaper


@pytest.mark.parametrize("on_exit", ["eos", "error", "restart"])
@pytest.mark.parametrize("who", ["client", "reaper", "game"])
def test_somebody_is_killed(library, game, who, on_exit):
    launch, report = stream_of(library, game, properties=f"on-exit={on_exit}")
    with launch:
        launch.numbered()
        os.kill(victim_of(who, library, launch, report), signal.SIGKILL)
        if on_exit == "restart":
            launch.stage("first-frame", attempt=2)
            assert launch.stage("exited")["description"]
            launch.numbered()
        elif on_exit == "error":
            with pytest.raises(PipelineError) as error:
                launch.drain(SOON)
            expected = "the Steam client" if who == "client" else "Portal 2 (620)"
            assert expected in str(error.value)
        else:
            launch.drain(SOON)
            assert launch.stages()[-1] == "exited"


def test_a_session_that_takes_long_to_end_is_awaited(game, tmp_path):
    """The capture says at once that the session is over; its process may be there for a while, on
    a busy machine for one."""
    program = tmp_path / "stepscope"
    program.write_text(f"#!/bin/sh\n'{shutil.which('stepscope')}' \"$@\"\nstatus=$?\n"
                       "sleep 3\nexit $status\n")
    program.chmod(0o755)
    command, _ = game("wayland", "--rate", 60, "--exit-after", 1)
    with Launch(f"{quoted(command)} on-exit=restart stepscope={program}") as launch:
        launch.stage("first-frame", 60, attempt=2)
        assert "exited" in launch.stages()


@pytest.mark.parametrize("who", ["launcher", "game", "compositor"])
def test_somebody_of_a_command_is_killed(game, who):
    command, report = game("wayland", "--rate", 60)
    script = ["sh", "-c", '"$@" & wait', "sh", *map(str, command)]
    with Launch(quoted(script)) as launch:
        launch.numbered()
        shell = launch.stage("process-up")["pid"]
        stat = Path(f"/proc/{shell}/stat").read_text()
        reaper = int(stat.rpartition(")")[2].split()[1])
        compositor = int(Path(f"/proc/{reaper}/stat").read_text().rpartition(")")[2].split()[1])
        victims = {"launcher": shell, "game": report.pid, "compositor": compositor}
        os.kill(victims[who], signal.SIGKILL)
        launch.drain(SOON)
        wait_until(lambda: not is_alive(report.pid), "the game's end", SOON)


def test_a_launcher_that_is_done_leaves_its_game(game):
    command, report = game("wayland", "--rate", 60)
    script = ["sh", "-c", '"$@" & sleep 0.5', "sh", *map(str, command)]
    with Launch(quoted(script)) as launch:
        shown = launch.numbered().number
        shell = launch.stage("process-up")["pid"]
        wait_until(lambda: not is_alive(shell), "the launcher's end")
        launch.pull_until(lambda frame: frame.number and frame.number > shown + 60, "later frames")
        assert is_alive(report.pid)


def test_starting_and_stopping_leaves_nothing(game, backend, runtime):
    """A few times here; STEPSCOPE_TEST_STARTS=100 for the record."""
    command, _ = game(backend, "--rate", 60)
    launch = Launch(quoted(command) + " timeout=20000")
    times = int(os.environ.get("STEPSCOPE_TEST_STARTS", "12"))

    def cycle(count):
        for _ in range(count):
            with launch:
                launch.pull()

    cycle(2)
    before = len(descriptors())
    cycle(times)
    assert of_environment(str(runtime)) == {}
    wait_until(lambda: len(descriptors()) <= before, "descriptors to be closed", SOON)


def test_stopping_at_any_time_leaves_nothing(library, game):
    launch, _ = stream_of(library, game)
    for delay in (0, 0.02, 0.1, 0.3, 0.6):
        launch.play()
        time.sleep(delay)
        launch.stop()


@pytest.mark.parametrize("on_exit", ["eos", "restart"])
def test_a_pushed_game_is_killed(game, on_exit):
    command, report = game("wayland", "--rate", 60)
    with Daemon(), Launch(quoted(command) + f" capture=push on-exit={on_exit}") as launch:
        launch.numbered()
        os.kill(report.pid, signal.SIGKILL)
        if on_exit == "eos":
            launch.drain(SOON)
        else:
            launch.stage("first-frame", attempt=2)
