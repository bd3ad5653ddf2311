# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test game against stock display servers: what other tests rely on it to do."""

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from support import frame_code

GAME = os.environ.get("STEPSCOPE_TESTGAME") or shutil.which("stepscope-testgame")
WATCHDOG = 60

pytestmark = pytest.mark.skipif(not GAME, reason="STEPSCOPE_TESTGAME does not name the test game")


def stop(server):
    server.terminate()
    try:
        server.wait(WATCHDOG)
    finally:
        server.kill()


@pytest.fixture(scope="module", name="xvfb")
def start_xvfb():
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is not installed")
    reader, writer = os.pipe()
    with subprocess.Popen(["Xvfb", "-displayfd", str(writer), "-screen", "0", "640x360x24",
                           "-nolisten", "tcp"], pass_fds=[writer],
                          stderr=subprocess.DEVNULL) as server:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            display = ":" + pipe.readline().strip()
        yield {"DISPLAY": display}, "x11"
        stop(server)


@pytest.fixture(scope="module", name="weston")
def start_weston(tmp_path_factory):
    if not shutil.which("weston"):
        pytest.skip("weston is not installed")
    runtime = tmp_path_factory.mktemp("runtime")
    runtime.chmod(0o700)
    environment = {"XDG_RUNTIME_DIR": str(runtime), "WAYLAND_DISPLAY": "test"}
    with subprocess.Popen(["weston", "--backend=headless", "--renderer=pixman", "--socket=test",
                           "--idle-time=0"], env=os.environ | environment,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + WATCHDOG
        while not (runtime / "test").exists():
            assert server.poll() is None and time.monotonic() < deadline, "weston did not start"
            time.sleep(0.02)
        yield environment, "wayland"
        stop(server)


@pytest.fixture(name="display", params=["xvfb", "weston"])
def either_display(request):
    return request.getfixturevalue(request.param)


def play(display, *options, report=None):
    environment, backend = display
    command = [GAME, "--backend", backend, *options]
    if report:
        command += ["--report", str(report)]
    return subprocess.run(command, env=os.environ | environment, timeout=WATCHDOG, check=False)


def events(report, kind):
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    return [line for line in lines if line["event"] == kind]


@pytest.mark.parametrize("pace", [["--rate", "0"], ["--rate", "200"], ["--vsync"]])
@pytest.mark.parametrize("pool", [["--pool", "sealable"],
                                  ["--pool", "unsealable", "--shared-pool", "--argb"]])
def test_ends_after_its_frames_with_its_status(display, pace, pool, tmp_path):
    report = tmp_path / "report"
    game = play(display, "--frames", "20", "--exit-status", "7", *pace, *pool, report=report)
    assert game.returncode == 7
    assert [frame["number"] for frame in events(report, "frame")] == list(range(1, 21))
    assert events(report, "exit")[0]["frames"] == 20
    assert events(report, "release")


def test_crashes_as_told(display):
    assert play(display, "--crash-after", "0.2").returncode == -signal.SIGABRT


def test_opens_and_closes_dialog_and_popup(display, tmp_path):
    report = tmp_path / "report"
    game = play(display, "--dialog-after", "0.1", "--popup", "--second-for", "0.2",
                "--exit-after", "1", report=report)
    assert game.returncode == 0
    for kind in ("dialog_shown", "popup_shown", "dialog_closed", "popup_closed"):
        assert len(events(report, kind)) == 1, kind


def test_hands_over_to_a_game(display, tmp_path):
    launcher, game = tmp_path / "launcher", tmp_path / "game"
    done = play(display, "--handover", "--report", str(launcher), "--", "--backend", display[1],
                "--frames", "3", "--report", str(game))
    assert done.returncode == 0
    started = events(launcher, "handover")[0]["game_pid"]
    deadline = time.monotonic() + WATCHDOG
    while not (game.exists() and events(game, "exit")):
        assert time.monotonic() < deadline, "the game did not end"
        time.sleep(0.05)
    assert events(game, "start")[0]["pid"] == started


def test_says_that_there_is_no_display(tmp_path):
    nowhere = {"DISPLAY": ":no", "WAYLAND_DISPLAY": "no", "XDG_RUNTIME_DIR": str(tmp_path)}
    for backend in ("x11", "wayland"):
        assert play((nowhere, backend)).returncode == 1


def test_wayland_sees_presentation_and_frame_callbacks(weston, tmp_path):
    report = tmp_path / "report"
    assert play(weston, "--vsync", "--frames", "10", report=report).returncode == 0
    presented = [event["number"] for event in events(report, "presented")]
    assert presented == sorted(presented) and len(presented) >= 5
    assert len(events(report, "frame_callback")) >= 9


def test_clipboard_goes_from_game_to_game_on_x11(xvfb, tmp_path):
    report = tmp_path / "report"
    environment, _ = xvfb
    owner_report = tmp_path / "owner"
    with subprocess.Popen([GAME, "--backend", "x11", "--set-clipboard", "frühling", "--report",
                           str(owner_report)], env=os.environ | environment) as owner:
        deadline = time.monotonic() + WATCHDOG
        while not (owner_report.exists() and events(owner_report, "clipboard_offered")):
            assert time.monotonic() < deadline, "nothing was offered"
            time.sleep(0.02)
        # A while for the request to arrive at the server, then the other game asks.
        time.sleep(0.1)
        play(xvfb, "--get-clipboard", "--exit-after", "1", report=report)
        stop(owner)
    assert events(report, "clipboard")[0]["text"] == "frühling"


def test_frames_on_the_screen_can_be_checked(xvfb, tmp_path):
    environment, _ = xvfb
    pictures = tmp_path / "pictures"
    with subprocess.Popen([GAME, "--backend", "x11", "--fullscreen", "--rate", "100"],
                          env=os.environ | environment) as game:
        subprocess.run(["gst-launch-1.0", "-q", "ximagesrc", "use-damage=false",
                        "show-pointer=false", "num-buffers=60", "!",
                        "video/x-raw,framerate=30/1", "!", "filesink", f"location={pictures}"],
                       env=os.environ | environment, timeout=WATCHDOG, check=True)
        stop(game)
    frames = np.fromfile(pictures, dtype=np.uint8).reshape(-1, 360, 640, 4)
    checks = [frame_code.check_frame(frame) for frame in frames]
    shown = [check.number for check in checks if check.number is not None]
    assert len(shown) >= 10 and shown == sorted(shown)
    assert all(check.intact for check in checks if check.number is not None)
