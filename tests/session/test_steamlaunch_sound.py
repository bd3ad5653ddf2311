# SPDX-License-Identifier: LGPL-2.1-or-later
"""steamlaunchsrc with PipeWire: pictures that are pushed, and sound."""

import json
import subprocess

import pytest

from support import beeps
from support.pipewire import Daemon
from support.processes import WATCHDOG
from support.steam import PORTAL
from support.steam_launch import Launch, gst_launch, quoted

pytestmark = pytest.mark.usefixtures("runtime")

WITH_SOUND = """game.video ! video/x-raw,width=320,height=180,framerate=30/1 ! queue ! videoconvert !
    x264enc tune=zerolatency ! queue ! mp4mux name=mux ! filesink location={}
    game.audio ! audio/x-raw,rate=48000 ! queue ! audioconvert ! opusenc ! queue ! mux."""


def test_pictures_pushed_by_pipewire(game):
    command, report = game("wayland", "--rate", 60)
    with Daemon(), Launch(quoted(command) + " capture=push num-buffers=30",
                          "fakesink name=sink") as launch:
        launch.wait_eos()
        assert launch.stage("first-frame")
    assert report.events("start")


@pytest.mark.parametrize("capture", ["pull", "push"])
def test_picture_and_sound_of_a_title_in_one_file(library, tmp_path, capture):
    library.starts(PORTAL, ["stepscope-testgame", "--rate", "60", "--beep"])
    video = tmp_path / "game.mp4"
    with Daemon():
        done = gst_launch("steamlaunchsrc", "name=game", f"app-id={PORTAL}", "num-buffers=120",
                          f"capture={capture}", *WITH_SOUND.format(video).split())
    assert done.returncode == 0, done.stderr
    assert "CRITICAL" not in done.stderr and "WARNING" not in done.stderr, done.stderr
    probe = subprocess.run(["ffprobe", "-v", "error", "-show_streams", "-of", "json", str(video)],
                           capture_output=True, text=True, timeout=WATCHDOG, check=True)
    streams = {stream["codec_type"]: stream for stream in json.loads(probe.stdout)["streams"]}
    assert set(streams) == {"video", "audio"}
    # The game flashes and beeps once a second.
    assert len(beeps.flashes(video)) >= 2 and len(beeps.beeps(video)) >= 2
