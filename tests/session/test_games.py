# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real games of the distribution, unmodified: they run, are captured, and take input."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from support.pipeline import SINK, SOURCE, Frame, Gst, Pipeline
from support.processes import WATCHDOG, memory_inodes
from support.session import Session

pytestmark = pytest.mark.usefixtures("runtime")

NEWEST = f"{SOURCE} ! {SINK} max-buffers=1 drop=true"
FREEDOOM = next((path for folder in ("/usr/share/games/doom", "/usr/share/doom",
                                     "/usr/share/freedoom")
                 if (path := Path(folder) / "freedoom1.wad").is_file()), None)


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


def colours(frame):
    return frame.image()[:, :, :3]


def is_picture(frame):
    """More than a screen of one colour."""
    return np.unique(colours(frame).reshape(-1, 3)[::97], axis=0).shape[0] > 8


def differs(one, other, share=0.01):
    return np.mean((one != other).any(axis=2)) > share


def moves(pipeline, timeout=WATCHDOG):
    """Waits until the picture changes."""
    first = colours(pipeline.pull())
    pipeline.pull_until(lambda frame: differs(first, colours(frame), 0.002), "a change", timeout)


def stands_still(pipeline, frames=5, timeout=WATCHDOG):
    """Waits until so many frames in a row are the same. A game that stands still may commit on,
    or commit nothing: then half a second without a frame counts too."""
    deadline = time.monotonic() + timeout
    last, same = colours(pipeline.pull()), 0
    while same < frames:
        assert time.monotonic() < deadline, "the picture does not stand still"
        sample = pipeline.sink.emit("try-pull-sample", Gst.SECOND // 2)
        if not sample:
            return last
        now = colours(Frame(sample))
        del sample
        same = same + 1 if np.array_equal(now, last) else 0
        last = now
    return last


def doom(tmp_path):
    return ["chocolate-doom", "-iwad", str(FREEDOOM), "-nosound", "-nomusic", "-warp", "1", "1",
            "-skill", "1", "-config", str(tmp_path / "doom.cfg"), "-extraconfig",
            str(tmp_path / "extra.cfg")]


@needs("chocolate-doom")
@pytest.mark.skipif(not FREEDOOM, reason="freedoom1.wad is not installed")
def test_doom(backend, tmp_path):
    with (Session(*doom(tmp_path), environment={"SDL_VIDEODRIVER": backend}) as session,
          session.client() as client, Pipeline(NEWEST) as pipeline):
        window = client.wait_for_window(backend=backend)
        pipeline.pull_until(is_picture, "a picture of the game")
        # Level and weapon have come up when the picture passes through at the game's own pace.
        time.sleep(2)
        before = pipeline.stats()
        owner = window.pid if backend == "wayland" else session.xwayland()
        assert pipeline.settled(3, numbered=False).inode in memory_inodes(owner)
        for _ in range(20):
            pipeline.pull()
        after = pipeline.stats()
        assert after["passed-through"] - before["passed-through"] >= 15
        assert after["composed"] == before["composed"]

        pipeline.key("F1")
        help_screen = stands_still(pipeline)
        pipeline.key("Escape")
        pipeline.pull_until(lambda frame: differs(help_screen, colours(frame), 0.3), "the game")

        # Motion turns the view: all of the picture but the status bar moves.
        view = colours(pipeline.pull())
        for step in range(30):
            pipeline.move(320 + 40 * (step % 8), 180)
            time.sleep(0.02)
        pipeline.pull_until(lambda frame: differs(view, colours(frame), 0.3), "a turned view")


@needs("vkcube")
def test_vkcube(backend):
    wsi = {"wayland": "wayland", "x11": "xcb"}[backend]
    command = ["vkcube", "--wsi", wsi, "--width", "640", "--height", "360"]
    with Session(*command) as session, session.client() as client:
        with Pipeline(NEWEST) as pipeline:
            window = client.wait_for_window(backend=backend)
            pipeline.pull_until(is_picture, "a cube")
            moves(pipeline)
            before = pipeline.stats()
            for _ in range(20):
                frame = pipeline.pull()
                inode = frame.inode
                del frame
            after = pipeline.stats()
            assert after["passed-through"] - before["passed-through"] >= 15
            owner = window.pid if backend == "wayland" else session.xwayland()
            assert inode in memory_inodes(owner)
            pipeline.key("Escape")
            pipeline.drain()
        assert session.wait() == 0


@needs("supertux2")
@pytest.mark.parametrize("device", ["keyboard", "mouse"])
def test_supertux(backend, device, tmp_path):
    command = ["supertux2", "--userdir", str(tmp_path), "--renderer", "sdl", "--disable-sound",
               "--disable-music", "--geometry", "640x360"]
    with Session(*command, environment={"SDL_VIDEODRIVER": backend}) as session:
        with session.client() as client, Pipeline(NEWEST) as pipeline:
            client.wait_for_window(backend=backend)
            pipeline.pull_until(is_picture, "a picture of the game")
            moves(pipeline)
            pipeline.settled(10, numbered=False)
            leave = leave_by_keyboard if device == "keyboard" else leave_by_mouse
            assert leave(pipeline, session), f"the {device} does not reach the menu"
        assert session.wait() == 0


def leave_by_keyboard(pipeline, session):
    """The last entry of its menu is "Quit"; the first press may only end the intro."""
    deadline = time.monotonic() + WATCHDOG
    while time.monotonic() < deadline:
        pipeline.key("Up")
        time.sleep(0.3)
        pipeline.key("Return")
        if ends(session, 1):
            return True
    return False


def leave_by_mouse(pipeline, session):
    """Clicks from the bottom up: "Quit" is what it meets first."""
    for _ in range(3):
        for y in range(350, 150, -6):
            pipeline.move(320, y)
            pipeline.button(1, 320, y)
            if ends(session, 0.15):
                return True
    return ends(session, WATCHDOG)


def ends(session, seconds):
    deadline = time.monotonic() + seconds
    while session.process.poll() is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
