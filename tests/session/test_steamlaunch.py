# SPDX-License-Identifier: LGPL-2.1-or-later
"""steamlaunchsrc with a command: it starts, and is captured with the surroundings it asked for."""

import json
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from support.pipeline import SINK, Gst
from support.processes import WATCHDOG, is_alive
from support.steam_launch import SIZE, Launch, gst_launch, quoted

pytestmark = pytest.mark.usefixtures("runtime")


def test_a_command(game, backend):
    command, report = game(backend, "--rate", 60)
    with Launch(quoted(command)) as launch:
        frame = launch.numbered()
        assert frame.size == (320, 180) and frame.check().number
        del frame
        launch.stage("first-frame")
        assert launch.stages() == ["launching", "session-ready", "process-up", "window-mapped",
                                   "first-frame"]
        assert all(event["took"] <= event["elapsed"] for event in launch.progress)
        assert launch.stage("process-up")["pid"] == report.pid
        assert launch.tags["title"] == "stepscope-testgame"
        pid = report.pid
    assert not is_alive(pid)


def test_args_env_and_folder(game, tmp_path):
    command, report = game("wayland", "--rate", 60)
    script = 'echo "$1|$2|$A|$B|$C|$PWD" > out; shift 2; exec "$@"'
    properties = (quoted(["sh", "-c", script, "sh"]) +
                  f' args="one \'two words\' {shlex.join(command)}" env="A=1 B=\'b c\' -C"'
                  f' working-directory="{tmp_path}"')
    os.environ["C"] = "ours"
    try:
        with Launch(properties) as launch:
            launch.numbered()
    finally:
        del os.environ["C"]
    assert report.events("start")
    assert (tmp_path / "out").read_text() == f"one|two words|1|b c||{tmp_path}\n"


def test_caps_choose_size_and_rate(game):
    command, report = game("wayland", "--vsync")
    caps = "video/x-raw,width=400,height=240,framerate=30/1"
    with Launch(quoted(command), f"{caps} ! {SINK}") as launch:
        assert launch.numbered().size == (400, 240)
        assert not [event for event in report.events("configure") if event["width"] == 320]


def test_the_output_is_logged(game, tmp_path):
    command, _ = game("wayland", "--rate", 60)
    log = tmp_path / "log"
    with Launch(quoted(["sh", "-c", 'echo from the game; exec "$@"', "sh", *command]) +
                f" log-file={log}") as launch:
        launch.numbered()
    assert "from the game\n" in log.read_text()


def test_num_buffers_and_child_properties(game):
    command, _ = game("wayland", "--rate", 60)
    launch = Launch(quoted(command) + " num-buffers=5 zero-copy=off cursor=embedded "
                    "video-source::max-buffers=7", "fakesink name=sink")
    inner = launch.source.get_by_name("video-source")
    assert inner.get_property("max-buffers") == 7
    assert inner.get_property("zero-copy").value_nick == "off"
    with launch:
        launch.wait_eos()
    assert launch.source.get_property("stats").get_value("frames") == 5


def test_lockstep(game):
    command, report = game("wayland", "--vsync")
    caps = "video/x-raw,framerate=60/1"
    with Launch(quoted(command) + " mode=lockstep", f"{caps} ! {SINK}") as launch:
        times = [launch.pull().pts for _ in range(20)]
    assert [round(time * 60 / Gst.SECOND) for time in times] == list(range(20))
    assert report.events("start")


def test_recording(game, tmp_path):
    command, _ = game("wayland", "--rate", 60)
    video = tmp_path / "game.mp4"
    done = gst_launch("-e", "steamlaunchsrc", "num-buffers=30", *SIZE.split(),
                      "command=" + shlex.join(map(str, command)), "!",
                      "video/x-raw,framerate=30/1", "!", "queue", "!", "videoconvert", "!",
                      "x264enc", "tune=zerolatency", "!", "mp4mux", "!", "filesink",
                      f"location={video}")
    assert done.returncode == 0, done.stderr
    probe = subprocess.run(["ffprobe", "-v", "error", "-count_frames", "-show_streams",
                            "-show_format", "-of", "json", str(video)], capture_output=True,
                           text=True, timeout=WATCHDOG, check=True)
    found = json.loads(probe.stdout)
    assert int(found["streams"][0]["nb_read_frames"]) == 30
    assert found["format"]["tags"]["title"] == "stepscope-testgame"


def bubblewrap_works() -> bool:
    return bool(shutil.which("bwrap")) and subprocess.run(
        ["bwrap", "--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "true"],
        capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not bubblewrap_works(), reason="bubblewrap does not work here")
def test_the_sandbox(game, backend, runtime, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    secret = tmp_path / "secret"
    secret.write_text("")
    command, _ = game(backend, "--rate", 60)
    command = command[:command.index("--report")] + ["--rate", "60"]
    probe = (f'for path in {secret} {runtime}/stepscope/*/control /proc/{os.getpid()}; do '
             'test -e "$path" && echo "sees $path"; done; '
             f'touch {tmp_path}/written /usr/written; exec "$@"')
    log = tmp_path / "log"
    with Launch(quoted(["sh", "-c", probe, "sh", *command]) +
                f" sandbox=true log-file={log}"
                f" working-directory={Path(shutil.which(command[0])).parent}") as launch:
        launch.numbered()
    text = log.read_text()
    assert "sees" not in text
    assert not (tmp_path / "written").exists()
    assert "/usr/written" in text and not Path("/usr/written").exists()
