# SPDX-License-Identifier: LGPL-2.1-or-later
"""steamlaunchsrc with titles of Steam: by the client, without it, and real games."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from support.pipeline import Gst
from support.pipewire import Daemon
from support.processes import WATCHDOG, is_alive
from support.steam import DOOM, HALF_LIFE, PORTAL, UPDATE
from support.steam_launch import SOON, Launch, error_of, stream_of

pytestmark = pytest.mark.usefixtures("runtime")


def test_a_title_by_the_client(library, game, backend):
    launch, report = stream_of(library, game, backend=backend)
    with launch:
        launch.numbered()
        launch.stage("first-frame")
        assert launch.stages() == ["client-found", "title-found", "launching", "session-ready",
                                   "process-up", "window-mapped", "first-frame"]
        assert launch.stage("process-up")["pid"] == report.pid
        found = launch.stage("title-found")
        assert found["title"] == "Portal 2" and found["build-id"] == 8942367
        assert launch.tags["title"] == "Portal 2"
        assert launch.tags["steam-app-id"] == PORTAL
        assert launch.tags["steam-build-id"] == 8942367
        client = library.client_pid
        assert is_alive(client)
    assert not is_alive(client) and not is_alive(report.pid)


@pytest.mark.parametrize("properties", ['title="portal 2"', f"app-id={PORTAL} launch-method=uri"])
def test_a_title_by_name_or_address(library, game, properties):
    command, report = game("wayland", "--rate", 60)
    library.starts(PORTAL, list(map(str, command)))
    with Launch(properties) as launch:
        launch.numbered()
    assert report.events("start")


def test_arguments_reach_the_title(library, game):
    command, report = game("wayland", "--rate", 60)
    library.starts(PORTAL, command[:1])
    with Launch(f'app-id={PORTAL} args="{shlex.join(command[1:])}"') as launch:
        launch.numbered()
    assert report.events("start")


def test_a_shortcut(library, game):
    launch, report = stream_of(library, game, DOOM)
    with launch:
        launch.numbered()
        assert "rungameid" in launch.stage("launching")["command"]
    assert report.events("start")


def test_the_clients_own_window_is_not_the_titles(library, game):
    window, its_report = game("x11", "--rate", 30)
    library.configure(window=window)
    library.configure(**{"shaders-ms": 1500})
    launch, _ = stream_of(library, game)
    with launch:
        launch.numbered()
        assert its_report.events("start")
        stages = launch.stages()
        assert stages.index("shader-pre-caching") < stages.index("process-up")
        assert stages.count("window-mapped") == 1
        title_pid = launch.stage("process-up")["pid"]
        assert launch.stage("window-mapped")["pid"] == title_pid != its_report.pid


def test_an_update_is_followed(library, game):
    library.configure(update=str(library.manifest(UPDATE)), **{"update-ms": 1200})
    launch, _ = stream_of(library, game, UPDATE, "timeout=4000")
    with launch:
        launch.numbered()
        updates = [event for event in launch.progress if event["stage"] == "updating"]
        bytes_done = [event["bytes-downloaded"] for event in updates]
        assert bytes_done[-2:] in ([2000, 3000], [3000, 4000], [2000, 4000])


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("method", ["client", "direct"])
def test_the_overlay(library, game, tmp_path, strip, method, monkeypatch):
    overlay = library.root / "ubuntu12_64/gameoverlayrenderer.so"
    overlay.parent.mkdir(parents=True)
    libc = next(path for path in ("/lib/x86_64-linux-gnu/libm.so.6", "/usr/lib/libm.so.6",
                                  "/lib64/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6")
                if Path(path).exists())
    overlay.write_bytes(Path(libc).read_bytes())
    # The loader takes a space for the end of a path.
    (tmp_path / "root").symlink_to(library.root)
    preload = str(tmp_path / "root/ubuntu12_64/gameoverlayrenderer.so")
    (library.root / "userdata/22202/config/localconfig.vdf").unlink()
    command, report = game("wayland", "--rate", 60)
    maps = tmp_path / "maps"
    title = ["sh", "-c", f'cat /proc/self/maps > {maps}; exec "$@"', "sh", *map(str, command)]
    if method == "client":
        if strip and subprocess.run(["bwrap", "--dev-bind", "/", "/", "true"], check=False,
                                    capture_output=True).returncode != 0:
            pytest.skip("bubblewrap does not work here")
        library.configure(overlay=preload)
        library.starts(PORTAL, title)
    else:
        monkeypatch.setenv("LD_PRELOAD", preload)
        library.program(PORTAL, title)
        library.write_appinfo({PORTAL: [{"executable": "game.sh", "oslist": "linux"}]})
    launch = Launch(f"app-id={PORTAL} launch-method={method} strip-overlay={strip}")
    with launch:
        launch.numbered()
    assert report.events("start")
    assert ("gameoverlayrenderer" in maps.read_text()) != strip


@pytest.mark.parametrize("version", [27, 28, 29])
def test_a_title_directly(library, game, version, tmp_path):
    command, report = game("wayland", "--rate", 60)
    script = f'echo "$PWD $SteamAppId $1" > {tmp_path}/out; shift; exec "$@"'
    library.program(HALF_LIFE, ["false"], "hl2.exe")
    library.program(PORTAL, ["sh", "-c", script, "sh"], "bin/portal2.sh")
    library.write_appinfo({
        7: [{"executable": "other"}],
        PORTAL: [{"executable": "portal2.exe", "type": "default", "oslist": "windows"},
                 {"executable": "bin\\portal2.sh", "arguments": "-first", "workingdir": "bin",
                  "type": "default", "oslist": "linux"}],
    }, version)
    # Its launch options are "LD_PRELOAD="" gamemoderun %command% -novid".
    (library.bin / "gamemoderun").write_text('#!/bin/sh\nexec "$@"\n')
    (library.bin / "gamemoderun").chmod(0o755)
    end = library.program(PORTAL, ["sh", "-c", 'exec "$@"'], "unused.sh")
    assert end.exists()
    words = shlex.join(map(str, command))
    config = library.root / "userdata/22202/config/localconfig.vdf"
    config.write_text(config.read_text().replace(" -novid", ""))
    with Launch(f'app-id={PORTAL} launch-method=direct args="{words}"') as launch:
        launch.numbered()
        assert launch.stages()[:3] == ["client-found", "title-found", "launching"]
    assert report.events("start")
    assert (tmp_path / "out").read_text() == (
        f"{library.install_folder(PORTAL)}/bin {PORTAL} -first\n")


def test_a_windows_title_directly_by_proton(library, game, tmp_path):
    command, report = game("wayland", "--rate", 60)
    library.write_appinfo({HALF_LIFE: [{"executable": "hl2.exe", "oslist": "windows"}]})
    tool = library.root / "compatibilitytools.d/GE"
    tool.mkdir(parents=True)
    (tool / "compatibilitytool.vdf").write_text(
        '"compatibilitytools" { "compat_tools" { "GE-Proton9-20" { "install_path" "." } } }')
    (tool / "toolmanifest.vdf").write_text(
        '"manifest" { "version" "2" "commandline" "/proton %verb%" }')
    (tool / "proton").write_text(
        f'#!/bin/sh\necho "$1|$2|$STEAM_COMPAT_DATA_PATH" > {tmp_path}/out\nshift 2\nexec "$@"\n')
    (tool / "proton").chmod(0o755)
    words = shlex.join(map(str, command))
    with Launch(f'app-id={HALF_LIFE} launch-method=direct args="{words}"') as launch:
        launch.numbered()
    folder = library.install_folder(HALF_LIFE)
    data = folder.parent.parent / f"compatdata/{HALF_LIFE}"
    assert (tmp_path / "out").read_text() == f"waitforexitandrun|{folder}/hl2.exe|{data}\n"
    assert report.events("start")


def test_beside_a_client_that_runs(library, game):
    command, report = game("wayland", "--rate", 60)
    client = library.run_client()
    try:
        library.starts(PORTAL, list(map(str, command)))
        error = error_of(f"app-id={PORTAL}", "launch-method=client")
        assert f"pid {client}" in error and "display :77" in error and "direct" in error
        library.program(PORTAL, list(map(str, command)))
        library.write_appinfo({PORTAL: [{"executable": "game.sh", "oslist": "linux"}]})
        config = library.root / "userdata/22202/config/localconfig.vdf"
        config.unlink()
        with Launch(f"app-id={PORTAL}") as launch:  # auto: directly
            launch.numbered()
        assert report.events("start") and is_alive(client)
    finally:
        library.end_client(client)


def test_playbin_and_uridecodebin(library, game):
    command, report = game("wayland", "--rate", 60)
    library.starts(PORTAL, list(map(str, command)))
    for line in (f"playbin uri=steam://run/{PORTAL} video-sink=fakesink",
                 f"uridecodebin uri=steam://rungameid/{PORTAL} ! videoconvert ! fakesink"):
        pipeline = Gst.parse_launch(line)
        bus = pipeline.get_bus()
        pipeline.set_state(Gst.State.PLAYING)
        seen = []
        deadline = time.monotonic() + WATCHDOG
        while "first-frame" not in seen:
            message = bus.timed_pop_filtered(Gst.SECOND, Gst.MessageType.ELEMENT |
                                             Gst.MessageType.ERROR)
            assert time.monotonic() < deadline, seen
            assert not message or message.type != Gst.MessageType.ERROR, message.parse_error()
            if message and message.get_structure().has_name("steamlaunch-progress"):
                seen.append(message.get_structure().get_string("stage"))
        pipeline.set_state(Gst.State.NULL)
    assert len(report.events("start")) == 2


def test_addresses():
    source = Gst.ElementFactory.make("steamlaunchsrc")
    assert source.set_uri("steam://run/620//-novid%20-w%20640/")
    assert source.get_property("app-id") == PORTAL
    assert source.get_property("args") == "-novid -w 640"
    assert source.get_uri() == "steam://run/620//-novid%20-w%20640/"
    for wrong in ("steam://run/", "steam://run/x", "steam://store/620", "steam://run/0"):
        with pytest.raises(Exception, match="steam://run/ID"):
            source.set_uri(wrong)


def test_the_device_monitor_lists_titles(library):
    monitor = Gst.DeviceMonitor.new()
    monitor.add_filter("Source/Video", None)
    devices = {device.get_display_name(): device for device in monitor.get_devices()}
    assert "Portal 2 (620)" in devices and "Doom (Freedoom) (4045620583)" in devices
    assert not any("Proton" in name for name in devices)
    source = devices["Portal 2 (620)"].create_element()
    assert source.get_factory().get_name() == "steamlaunchsrc"
    assert source.get_property("app-id") == PORTAL


def doom():
    folders = ("/usr/share/games/doom", "/usr/share/doom", "/usr/share/freedoom")
    wads = [wad for folder in folders if (wad := Path(folder) / "freedoom1.wad").is_file()]
    if not wads or not shutil.which("chocolate-doom"):
        pytest.skip("chocolate-doom and freedoom are not installed")
    return ["chocolate-doom", "-iwad", str(wads[0]), "-nomusic", "-warp", "1", "1"]


def supertux():
    if not shutil.which("supertux2"):
        pytest.skip("supertux2 is not installed")
    return ["supertux2", "--geometry", "320x180"]


@pytest.mark.parametrize("capture", ["pull", "push"])
@pytest.mark.parametrize("command, app_id", [(doom, DOOM), (supertux, PORTAL)])
def test_real_games_as_titles(library, command, app_id, capture):
    library.starts(app_id, command())
    with contextlib.ExitStack() as stack:
        if capture == "push":
            stack.enter_context(Daemon())
        launch = stack.enter_context(Launch(f"app-id={app_id} capture={capture}"))
        launch.pull_until(lambda frame: len(np.unique(frame.image()[::3, ::3, :3])) > 16,
                          "a picture")
        title = launch.stage("process-up")
        assert title["name"] == command()[0][:15]
        assert launch.stage("window-mapped")["pid"] == title["pid"]
        os.kill(title["pid"], signal.SIGKILL)
        launch.drain(SOON)
        assert launch.stages()[-1] == "exited"
