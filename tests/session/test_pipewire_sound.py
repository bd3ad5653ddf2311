# SPDX-License-Identifier: LGPL-2.1-or-later
"""A session's sound as a PipeWire node."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from support import beeps
from support.pipeline import Gst, Pipeline
from support.pipewire import Daemon, require
from support.pipewire_session import offered
from support.processes import wait_until
from support.session import Session

pytestmark = pytest.mark.usefixtures("with_pipewire")

# More for the record.
SOUND_SECONDS = float(os.environ.get("STEPSCOPE_TEST_SOUND_SECONDS", "6"))


def record(session: Session, path: Path, seconds: float) -> None:
    """Picture and sound in one file."""
    name = f"stepscope.{session.name}"
    with Pipeline(f"""
            pipewiresrc target-object={name} ! video/x-raw ! queue ! videoconvert ! jpegenc ! queue
            ! matroskamux name=mux ! filesink name=sink location={path}
            pipewiresrc target-object={name}.sound stream-properties=props,stream.capture.sink=true
            ! audio/x-raw,rate=48000 ! queue ! audioconvert ! audio/x-raw,format=S16LE ! queue
            ! mux.""") as pipeline:
        time.sleep(seconds)
        pipeline.pipeline.send_event(Gst.Event.new_eos())
        assert pipeline.bus.timed_pop_filtered(60 * Gst.SECOND, Gst.MessageType.EOS)


def test_sound_and_picture_are_together(runtime, game, tmp_path):
    command, _ = game("wayland", "--rate", 60, "--beep")
    with Daemon() as daemon, Session(*command, options=("--pipewire", "-r", "0")) as session:
        sink = daemon.wait_for_node(f"stepscope.{session.name}.sound")
        assert sink["media.class"] == "Audio/Sink"
        offered(session, daemon)
        wait_until(lambda: ("beep", sink["node.name"]) in daemon.links(), "the game's sound")
        record(session, tmp_path / "beep.mkv", SOUND_SECONDS)
    apart = beeps.offsets(tmp_path / "beep.mkv")
    print("beeps after their flashes, in ms:", [round(offset * 1000, 1) for offset in apart])
    assert len(apart) >= 3
    # pipewiresrc dates a stream by the arrival of its first buffer, so that how far the two are apart
    # depends on how busy the machine was then. It must not change afterwards.
    assert max(abs(offset - statistics.median(apart)) for offset in apart) < 0.1, apart


def test_games_of_pulseaudio_play_to_the_session(runtime):
    require("chocolate-doom")
    with Daemon(pulse=True) as daemon:
        command = ("chocolate-doom", "-iwad", "/usr/share/games/doom/freedoom1.wad", "-window")
        with Session(*command, environment={"SDL_AUDIODRIVER": "pulseaudio"}) as session:
            sink = f"stepscope.{session.name}.sound"
            daemon.wait_for_node(sink)
            wait_until(lambda: [link for link in daemon.links() if link[1] == sink],
                       "a link from Doom")


def test_no_sound(runtime, game):
    command, report = game("wayland")
    with Daemon() as daemon, Session(*command, options=("--pipewire", "--audio", "off")) as session:
        offered(session, daemon)
        assert f"stepscope.{session.name}.sound" not in daemon.nodes()
        inner = Path(session.control).parent / "runtime"
        assert not (inner / "pulse").exists() and not (inner / "pipewire-0").exists()
        environment = Path(f"/proc/{report.pid}/environ").read_text()
        assert "PIPEWIRE_" not in environment and "PULSE_" not in environment
