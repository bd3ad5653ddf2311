# SPDX-License-Identifier: LGPL-2.1-or-later
"""What steamlaunchsrc says to people when a start fails."""

import shlex

import pytest

from support.pipeline import errors_of
from support.steam import PORTAL
from support.steam_launch import Launch, error_of, gst_launch, quoted

pytestmark = pytest.mark.usefixtures("runtime")


def test_errors_without_steam(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    error = error_of("app-id=620")
    assert "Steam" in error and str(tmp_path / ".local/share/Steam") in error


@pytest.mark.parametrize("words, expected", [
    (["app-id=621"], ["no title '621'", "stepscope-games"]),
    (["title=portel 2"], ["did you mean Portal 2 (620)", "isn't there; mount its disk"]),
    (["app-id=1245620"], ["app 1245620", "isn't there; mount its disk"]),
    (["app-id=427520"], ["files missing", "verify"]),
    (["app-id=1145360", "launch-method=direct"], ["needs an update", "Steam client"]),
    (["app-id=2805730"], ["is a tool"]),
    (["app-id=620", "mode=lockstep"], ["lockstep", "launch-method=direct"]),
    (["app-id=620", "launch-method=direct"], ["appinfo.vdf", "launch-method=client"]),
    (["app-id=620", "command=true"], ["exclude each other"]),
    ([], ["app-id=ID", "command="]),
    (["command=sh -c 'open"], ["command:", "closing '"]),
    (["command=true", "env=1=2"], ["env:", "NAME=value"]),
    (["command=true", "launch-method=direct"], ["launch-method", "command"]),
    (["command=true", "working-directory=/nowhere"], ["/nowhere"]),
    (["command=true", "log-file=/nowhere/log"], ["/nowhere/log"]),
    (["command=true", "stepscope=/nowhere/stepscope"], ["/nowhere/stepscope", "property"]),
    (["command=no-such-game"], ["no-such-game", "No such file"]),
    (["command=true"], ["'true' exited with status 0 before it showed a window"]),
    (["command=sh -c 'echo no GPU >&2; exit 3'"], ["exited with status 3", "no GPU"]),
    (["command=sleep 600", "timeout=1000"], ["'sleep' runs", "no window within 1 s"]),
])
def test_errors(library, words, expected):
    error = error_of(*words)
    for part in expected:
        assert part in error
    assert "\n" not in error


def test_not_logged_in(library, game):
    users = library.root / "config/loginusers.vdf"
    remembered = users.read_text()
    forgotten = remembered
    for key in ("RememberPassword", "AllowAutoLogin"):
        forgotten = forgotten.replace(f'"{key}"\t\t"1"', f'"{key}"\t\t"0"')
    users.write_text(forgotten)
    assert "log in" in error_of("app-id=620")
    users.unlink()
    assert "nobody has logged in" in error_of("app-id=620")
    users.write_text(remembered)
    window, _ = game("wayland", "--rate", 30)
    library.configure(login=False, window=window, hang=True)
    error = error_of("app-id=620", "timeout=3000")
    assert "not logged in" in error and "was seen" in error


def test_a_client_that_hangs(library):
    library.configure(hang=True)
    error = error_of("app-id=620", "timeout=2000")
    assert "the Steam client (pid" in error and "has not started Portal 2 (620)" in error


def test_a_title_without_a_window(library):
    library.starts(PORTAL, ["sleep", "600"])
    error = error_of("app-id=620", "timeout=2000")
    assert "Portal 2 (620) runs (pid" in error and "'sleep'" in error and "no window" in error


def test_a_title_that_ends_at_once(library):
    library.starts(PORTAL, ["sh", "-c", "sleep 0.6; echo libfoo.so is missing; exit 1"])
    error = error_of("app-id=620")
    assert "Portal 2 (620)" in error and "libfoo.so is missing" in error


def test_an_update_that_stands_still(library):
    library.configure(hang=True)
    error = error_of("app-id=1145360", "timeout=2000")
    assert "needs an update" in error or "is being updated" in error


def test_pushed_without_a_daemon(game):
    command, _ = game("wayland", "--rate", 60)
    error = error_of("capture=push", "command=" + shlex.join(map(str, command)), "timeout=3000")
    assert "PipeWire" in error or "pipewire" in error


def test_sound_without_a_daemon():
    done = gst_launch("steamlaunchsrc", "name=game", "command=stepscope-testgame", "game.video", "!",
                      "fakesink", "game.audio", "!", "fakesink")
    error = errors_of(done.stdout + done.stderr)[0]
    assert "PipeWire" in error and "without the audio pad" in error


def test_lockstep_is_not_pushed():
    assert "capture=pull" in error_of("command=true", "mode=lockstep", "capture=push")


def test_a_session_name_that_is_taken(game):
    command, _ = game("wayland", "--rate", 60)
    with Launch(quoted(command) + " session=mine") as launch:
        launch.numbered()
        error = error_of("command=sleep 9", "session=mine")
        assert "mine" in error and "--session" in error
