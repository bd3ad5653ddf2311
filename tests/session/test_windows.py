# SPDX-License-Identifier: LGPL-2.1-or-later
"""Windows of real programs: what is shown, who has the focus, what goes between them."""

import os
import shlex
import signal
import subprocess
import time

import numpy as np
import pytest

from support import frame_code
from support.pipeline import SINK, SOURCE, Pipeline
from support.processes import WATCHDOG, is_alive, wait_until
from support.session import HEIGHT, WIDTH, Session
from support.wire import globals_of

pytestmark = pytest.mark.usefixtures("runtime")

FEW = f"{SOURCE} max-buffers=2 ! {SINK}"
PRIVATE = {"stepscope_control_v1", "zwp_virtual_keyboard_manager_v1",
           "zwlr_virtual_pointer_manager_v1", "zwlr_screencopy_manager_v1",
           "ext_image_copy_capture_manager_v1", "ext_output_image_capture_source_manager_v1",
           "ext_data_control_manager_v1", "zwlr_data_control_manager_v1"}
ORDINARY = {"wl_compositor", "wl_shm", "wl_seat", "wl_output", "xdg_wm_base", "wp_viewporter",
            "wp_presentation", "zwp_pointer_constraints_v1", "zwp_relative_pointer_manager_v1",
            "wp_cursor_shape_manager_v1", "wl_data_device_manager"}


def together(*commands):
    """One command that runs several programs and ends when the last one ends."""
    lines = [f"{shlex.join(command)} &" for command in commands]
    return ["sh", "-c", "\n".join([*lines, "wait"])]


def after(seconds, command):
    return ["sh", "-c", f'sleep {seconds}; exec "$@"', "sh", *command]


def foreign_pixels(frame):
    """Where the picture is not the game's colour, as rows and columns."""
    image = frame.image()[:, :, :3]
    rows, columns = np.nonzero((image != image[-1, -1]).any(axis=2))
    outside = (rows >= 64) | (columns >= 136)
    return rows[outside], columns[outside]


def test_a_dialog_shows_over_its_game(game, backend):
    command, report = game(backend, "--rate", 60, "--buffers", 4, "--dialog-after", 2,
                           "--second-for", 2)
    with Session(*command), Pipeline(FEW) as pipeline:
        pipeline.numbered()
        over = pipeline.pull_until(lambda frame: frame.number and not frame.check().intact,
                                   "the dialog over the game")
        rows, columns = foreign_pixels(over)
        del over
        assert rows.size > 1000
        # In the middle.
        assert abs(rows.min() + rows.max() - HEIGHT) <= 4
        assert abs(columns.min() + columns.max() - WIDTH) <= 4
        report.wait_for("dialog_closed")
        assert pipeline.stats()["composed"] > 0
        pipeline.settled()


def test_a_menu_shows_over_its_game(game, backend):
    command, report = game(backend, "--rate", 60, "--buffers", 4, "--popup-after", 2,
                           "--second-for", 2)
    with Session(*command) as session, session.client() as client, Pipeline(FEW) as pipeline:
        pipeline.numbered()
        over = pipeline.pull_until(lambda frame: frame.number and not frame.check().intact,
                                   "the menu over the game")
        rows, columns = foreign_pixels(over)
        del over
        assert rows.size > 100
        report.wait_for("popup_closed")
        pipeline.settled()
        # The game kept its focus, or has it again.
        assert client.wait_for_window(pid=report.pid)
        pipeline.key("x")
        report.wait_for("key", keysym="x")


def test_windows_that_are_there_at_the_end(game, backend):
    """The one with the focus goes first: it was there first, and was clicked."""
    command, report = game(backend, "--rate", 60, "--buffers", 4, "--dialog-after", 1)
    with Session(*command) as session, Pipeline(FEW) as pipeline:
        report.wait_for("dialog_shown")
        pipeline.pull_until(lambda frame: frame.number and not frame.check().intact,
                            "the dialog over the game")
        pipeline.button(1, 20, 30)
        report.wait_for("button", button=0x110, pressed=False)
        pipeline.pull_until(lambda frame: frame.number and frame.check().intact,
                            "the game over its dialog")
        os.kill(session.reaper(), signal.SIGKILL)
        assert session.wait() == 1, session.output()


def test_a_launcher_hands_over_to_its_game(game, backend):
    command, launcher = game(backend, "--handover", "--title", "launcher", "--size", "320x180",
                             "--fixed-size", "--")
    inner, report = game(backend, "--rate", 60, "--title", "the game", "--exit-after", 3)
    with Session(*command, *inner[1:]) as session, session.client() as client:
        with Pipeline() as pipeline:
            client.wait_for_window(title="launcher")
            client.wait_for_window(title="the game", pid=launcher.wait_for("handover")["game_pid"])
            launcher.wait_for("exit")
            shown = report.frames()
            pipeline.pull_until(lambda frame: frame.number and frame.number > shown
                                and frame.check().intact, "the game alone")
        assert session.wait() == 0
        assert report.events("exit")


def test_a_window_of_fixed_size_is_centred(game, backend):
    command, report = game(backend, "--rate", 60, "--size", "320x180", "--fixed-size")
    with Session(*command), Pipeline() as pipeline:
        report.wait_for("frame", number=5)

        def shows_it(frame):
            inside = frame.image()[90:270, 160:480]
            return frame_code.check_frame(inside).intact

        frame = pipeline.pull_until(shows_it, "the game in the middle")
        assert frame.size == (WIDTH, HEIGHT)
        image = frame.image()
        for border in (image[:90], image[270:], image[:, :160], image[:, 480:]):
            assert not border[:, :, :3].any()


@pytest.mark.parametrize("options", [["--fullscreen"], ["--size", "1000x700"],
                                     ["--size", "200x200"]])
def test_a_game_gets_the_output_whatever_it_asks_for(game, backend, options):
    command, _ = game(backend, "--rate", 60, "--buffers", 4, *options)
    with Session(*command), Pipeline(FEW) as pipeline:
        frame = pipeline.pull_until(lambda frame: frame.check().intact, "a game that fills it")
        assert frame.size == (WIDTH, HEIGHT)
        del frame
        pipeline.settled(3)


def test_the_newest_window_has_the_focus_until_it_closes(game, backend):
    first, older = game(backend, "--rate", 60, "--title", "older")
    second, newer = game(backend, "--rate", 60, "--title", "newer", "--exit-after", 2)
    with (Session(*together(first, after(1, second))) as session, session.client() as client,
          Pipeline() as pipeline):
        client.wait_for_window(title="older")
        client.wait_for_window(title="newer")
        newer.wait_for("focus", focused=True, main=True)
        pipeline.key("n")
        newer.wait_for("key", keysym="n")
        assert not older.events("key", keysym="n")
        newer.wait_for("exit")
        client.wait_for_window(title="older")
        pipeline.key("o")
        older.wait_for("key", keysym="o")
        shown = older.frames()
        pipeline.pull_until(lambda frame: frame.number and frame.number > shown
                            and frame.check().intact, "the older game again")


@pytest.mark.parametrize("source, target", [("x11", "wayland"), ("wayland", "x11")])
def test_the_clipboard_goes_between_x11_and_wayland(game, source, target):
    text = "von hier nach dort: äöü"
    giver, given = game(source, "--rate", 30, "--title", "giver", "--set-clipboard", text)
    taker, taken = game(target, "--rate", 30, "--title", "taker", "--get-clipboard")
    with (Session(*together(giver, after(2, taker))) as session, session.client() as client,
          Pipeline() as pipeline):
        client.wait_for_window(title="giver")
        given.wait_for("focus", focused=True)
        # Wayland lets a client offer something only with the serial of an input.
        pipeline.move(100, 100)
        pipeline.button(1, 100, 100)
        pipeline.key("c")
        given.wait_for("clipboard_offered")
        client.wait_for_window(title="taker")
        assert taken.wait_for("clipboard")["text"] == text


def test_a_locked_pointer_moves_relatively(game, backend):
    command, report = game(backend, "--rate", 60, "--lock-pointer")
    with Session(*command), Pipeline() as pipeline:
        pipeline.numbered()
        pipeline.move(300, 170)
        pipeline.move(320, 180)
        report.wait_for("pointer_locked")
        report.wait_for("relative_motion")
        time.sleep(0.3)  # for the rest of the way to where it starts
        motions = len(report.events("relative_motion"))
        for x in range(320, 400, 8):
            pipeline.move(x, 180)
            time.sleep(0.02)

        def total():
            return sum(event["dx"] for event in report.events("relative_motion")[motions:])

        wait_until(lambda: total() >= 60, "relative motion")
        assert sum(abs(event["dy"]) for event in report.events("relative_motion")[motions:]) < 8


def test_a_game_that_asks_to_be_minimised_is_shown_on(game):
    command, report = game("x11", "--rate", 60, "--title", "minimise me")
    minimise = ["sh", "-c", "sleep 1; xdotool search --name 'minimise me' windowminimize"]
    if subprocess.run(["which", "xdotool"], capture_output=True, check=False).returncode != 0:
        pytest.skip("xdotool is not installed")
    with Session(*together(command, minimise)), Pipeline() as pipeline:
        pipeline.numbered()
        shown = report.frames()
        pipeline.pull_until(lambda frame: frame.number > shown + 90, "frames for a second and more")


def test_the_game_sees_ordinary_globals_only(game):
    command, _ = game("wayland", "--rate", 30)
    with Session(*command) as session:
        for_games = globals_of(session.ready["wayland"])
        for_control = globals_of(session.control)
        assert not for_games & PRIVATE
        assert ORDINARY <= for_games
        assert PRIVATE - {"zwlr_data_control_manager_v1"} <= for_control


def test_the_game_has_a_runtime_directory_of_its_own(tmp_path, runtime):
    seen = tmp_path / "seen"
    with Session("sh", "-c", f"env > {seen}; ls $XDG_RUNTIME_DIR >> {seen}") as session:
        assert session.wait() == 0
    lines = seen.read_text().splitlines()
    environment = dict(line.partition("=")[::2] for line in lines if "=" in line)
    own = environment["XDG_RUNTIME_DIR"]
    assert own != str(runtime) and own.startswith(str(runtime))
    assert environment["WAYLAND_DISPLAY"] in lines
    assert environment["DISPLAY"].startswith(":")
    assert not [line for line in lines if "=" not in line and "control" in line]


def test_a_window_that_hangs_is_ended_with_the_session(game):
    command, report = game("wayland", "--rate", 30)
    with Session(*command) as session:
        report.wait_for("frame", number=3)
        pid = report.pid
        subprocess.run(["kill", "-STOP", str(pid)], check=True)
        session.end()
        wait_until(lambda: not is_alive(pid), "the end of the game", WATCHDOG)
