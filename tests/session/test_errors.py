# SPDX-License-Identifier: LGPL-2.1-or-later
"""What people are told when something is wrong: one line that says what to do."""

import os
import shutil
import subprocess

import pytest

from support.pipeline import errors_of, launch
from support.processes import WATCHDOG
from support.session import Session

pytestmark = pytest.mark.usefixtures("runtime")


def stepscope(*arguments, **environment):
    return subprocess.run(["stepscope", *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=WATCHDOG,
                          env=os.environ | environment, check=False)


def assert_one_line(done, *words):
    assert done.returncode != 0
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    for word in ("stepscope:", *words):
        assert word in lines[0]


@pytest.mark.parametrize("arguments, words", [
    (["--no-such-flag", "--", "true"], ["--no-such-flag", "--help"]),
    (["-x", "--", "true"], ["-x", "--help"]),
    ([], ["no command", "stepscope [OPTIONS] -- COMMAND"]),
    (["--"], ["no command"]),
    (["-W", "0", "--", "true"], ["0", "16", "16384"]),
    (["-W", "99999", "--", "true"], ["99999", "16384"]),
    (["-H", "-5", "--", "true"], ["-5", "16"]),
    (["-W", "wide", "--", "true"], ["wide", "16"]),
    (["-r", "fast", "--", "true"], ["fast", "59.94"]),
    (["-r", "-1", "--", "true"], ["-1"]),
    (["-r", "1e9", "--", "true"], ["1e9", "1000"]),
    (["-r", "60/0", "--", "true"], ["60/0"]),
    (["--renderer", "crayon", "--", "true"], ["crayon", "pixman"]),
    (["--platform", "mir", "--", "true"], ["mir", "wayland", "x11"]),
    (["--platform", "x11", "--no-xwayland", "--", "true"], ["--no-xwayland"]),
    (["--gamepads", "many", "--", "true"], ["many", "0 to 16"]),
    (["--gamepads", "17", "--", "true"], ["17", "0 to 16"]),
    (["--session", "../evil", "--", "true"], ["../evil", "letters"]),
    (["--ready-fd", "99", "--", "true"], ["99", "descriptor"]),
    (["-W"], ["--output-width"]),
])
def test_wrong_arguments(arguments, words):
    done = stepscope(*arguments)
    assert_one_line(done, *words)
    assert done.returncode == 2


def test_gamepads_without_uinput():
    if os.access("/dev/uinput", os.R_OK | os.W_OK):
        pytest.skip("/dev/uinput can be used here")
    done = stepscope("--gamepads", "1", "--", "true")
    assert_one_line(done, "--gamepads", "/dev/uinput")
    assert any(hint in done.stderr for hint in ("modprobe uinput", "udev rule"))
    assert done.returncode == 1
    assert "no session" in stepscope("--list").stderr


def test_gamepads_of_a_uinput_that_is_others(tmp_path):
    """As it is on most systems: root's alone."""
    others = tmp_path / "uinput"
    others.touch(mode=0)
    inside = ["bwrap", "--dev-bind", "/", "/", "--dev", "/dev", "--bind", str(others), "/dev/uinput",
              "--cap-drop", "ALL"]
    if not shutil.which("bwrap") or subprocess.run([*inside, "true"], check=False,
                                                   capture_output=True).returncode != 0:
        pytest.skip("bwrap can't be used here")
    done = subprocess.run([*inside, "stepscope", "--gamepads", "1", "--", "true"], text=True,
                          capture_output=True, timeout=WATCHDOG, check=False)
    assert_one_line(done, "--gamepads needs /dev/uinput", f"user {os.geteuid()} may not open",
                    'udev rule: KERNEL=="uinput", TAG+="uaccess"')
    assert done.returncode == 1
    assert "no session" in stepscope("--list").stderr


def test_a_command_that_is_not_there():
    done = stepscope("--", "no-such-game")
    assert done.returncode == 127
    last = done.stderr.splitlines()[-1]
    assert "no-such-game" in last and "No such file" in last


def test_a_name_that_is_taken(game):
    command, _ = game("wayland", "--rate", 30)
    with Session(*command, name="mine"):
        assert_one_line(stepscope("--session", "mine", "--", "true"), "mine", "--session")


@pytest.fixture(name="unusable", params=["missing", "a file"])
def unusable_directory(request, tmp_path):
    path = tmp_path / "run"
    if request.param == "a file":
        path.write_text("")
    return str(path)


def test_a_runtime_directory_that_cant_be_used(unusable):
    assert_one_line(stepscope("--", "true", XDG_RUNTIME_DIR=unusable), "XDG_RUNTIME_DIR", unusable)
    assert_one_line(stepscope("--list", XDG_RUNTIME_DIR=unusable), "XDG_RUNTIME_DIR", unusable)
    done = launch("wlscreencopysrc ! fakesink", XDG_RUNTIME_DIR=unusable)
    assert_element_error(done, "XDG_RUNTIME_DIR", unusable)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_runtime_directory_that_cant_be_read(tmp_path):
    path = tmp_path / "locked"
    path.mkdir(mode=0)
    assert_one_line(stepscope("--", "true", XDG_RUNTIME_DIR=str(path)), "XDG_RUNTIME_DIR")


def assert_element_error(done, *words):
    assert done.returncode != 0
    errors = errors_of(done.stderr + done.stdout)
    assert errors, done.stderr
    for word in words:
        assert word in errors[0]


def test_the_element_without_a_session():
    assert_element_error(launch("wlscreencopysrc ! fakesink"), "no session is running",
                         "stepscope -- COMMAND")


def test_the_element_with_an_unknown_session(game):
    assert_element_error(launch("wlscreencopysrc session=nobody ! fakesink"), "nobody",
                         "stepscope --session nobody")
    command, _ = game("wayland", "--rate", 30)
    with Session(*command, name="somebody"):
        assert_element_error(launch("wlscreencopysrc session=nobody ! fakesink"), "nobody",
                             "somebody")
        done = launch("wlscreencopysrc ! fakesink", STEPSCOPE_SESSION="nobody")
        assert_element_error(done, "nobody", "STEPSCOPE_SESSION")


def test_the_element_with_a_name_that_cant_be():
    assert_element_error(launch("wlscreencopysrc session=a/b ! fakesink"), "a/b", "letters")


def test_the_element_with_several_sessions(game):
    command, _ = game("wayland", "--rate", 30)
    with Session(*command, name="one"), Session(*command, name="two"):
        done = launch("wlscreencopysrc ! fakesink")
        assert_element_error(done, "one", "two", "session=NAME", "STEPSCOPE_SESSION")
        chosen = launch("wlscreencopysrc num-buffers=2 ! fakesink", STEPSCOPE_SESSION="two")
        assert chosen.returncode == 0, chosen.stderr


def test_the_element_with_an_absurd_size(game):
    command, _ = game("wayland", "--rate", 30)
    with Session(*command):
        done = launch("wlscreencopysrc ! video/x-raw,width=99999,height=2 ! fakesink")
        assert_element_error(done, "downstream", "99999", "choose a width and height")


def test_the_element_with_a_format_that_is_not_there(game):
    command, _ = game("wayland", "--rate", 30)
    with Session(*command):
        done = launch("wlscreencopysrc ! video/x-raw,format=NV12 ! fakesink")
        assert done.returncode != 0


def test_the_element_when_the_display_is_gone(game, runtime):
    """Its socket is there, nobody listens."""
    command, _ = game("wayland", "--rate", 30)
    with Session(*command, name="gone") as session:
        os.unlink(session.control)
        done = launch("wlscreencopysrc session=gone ! fakesink")
        assert_element_error(done, "gone")


def test_the_game_is_told_of_no_display(tmp_path):
    """A display that does not come up: X11 is asked for, and there is no Xwayland."""
    done = subprocess.run(["stepscope", "--no-xwayland", "--", "sh", "-c",
                           'test -z "$DISPLAY" && exit 3'], capture_output=True, text=True,
                          timeout=WATCHDOG, check=False)
    assert done.returncode == 3
