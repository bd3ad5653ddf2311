# SPDX-License-Identifier: LGPL-2.1-or-later
"""steamlaunchsrc: titles and commands start, are captured, and nothing of them is left."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from support import beeps, steam
from support.pipeline import SINK, Gst, GstVideo, Pipeline, PipelineError, errors_of
from support.pipewire import Daemon
from support.processes import WATCHDOG, descriptors, is_alive, of_environment, wait_until
from support.steam import DOOM, HALF_LIFE, PORTAL, UPDATE, SteamHome

pytestmark = pytest.mark.usefixtures("runtime")

SIZE = "width=320 height=180"
SOON = 10  # seconds: a watchdog for what takes less than two


@pytest.fixture(name="library")
def steam_library(tmp_path, monkeypatch):
    library = SteamHome(tmp_path)
    monkeypatch.setenv("HOME", str(library.home))
    monkeypatch.setenv("PATH", f"{library.bin}:{os.environ['PATH']}")
    for name in ("XDG_DATA_HOME", "STEPSCOPE_STEAM_ROOT", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    return library


class Launch(Pipeline):
    """A pipeline with steamlaunchsrc; remembers what it said on the way."""

    def __init__(self, properties: str, sink: str = SINK):
        super().__init__(f"steamlaunchsrc name=source {SIZE} {properties} ! {sink}")
        self.progress: list[dict] = []
        self.tags: dict[str, object] = {}
        self.bus.set_sync_handler(self.hear)

    def hear(self, _bus, message):
        structure = message.get_structure()
        if message.type == Gst.MessageType.ELEMENT and structure.has_name("steamlaunch-progress"):
            self.progress.append({structure.nth_field_name(i):
                                  structure.get_value(structure.nth_field_name(i))
                                  for i in range(structure.n_fields())})
        if message.type == Gst.MessageType.TAG:
            tags = message.parse_tag()
            for index in range(tags.n_tags()):
                name = tags.nth_tag_name(index)
                self.tags[name] = tags.get_value_index(name, 0)
        return Gst.BusSyncReply.PASS

    def stages(self, attempt: int = 1) -> list[str]:
        return [event["stage"] for event in self.progress if event["attempt"] == attempt]

    def stage(self, name: str, timeout: float = WATCHDOG, attempt: int = 1) -> dict:
        def said():
            return [event for event in self.progress
                    if event["stage"] == name and event["attempt"] == attempt]

        def settled():
            self.raise_errors()
            return said()

        return wait_until(settled, f"stage {name}: {self.progress}", timeout)[0]


def quoted(command: list[str]) -> str:
    """A command as the value of a property in a launch line."""
    words = shlex.join(map(str, command))
    return 'command="' + words.replace("\\", "\\\\").replace('"', '\\"') + '"'


def gst_launch(*words: str, **environment: str):
    return subprocess.run(["gst-launch-1.0", *words], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=WATCHDOG, env=os.environ | environment,
                          check=False)


def error_of(*words: str) -> str:
    done = gst_launch("steamlaunchsrc", *words, "!", "fakesink")
    assert done.returncode != 0, done.stdout
    errors = errors_of(done.stdout + done.stderr)
    assert errors, done.stdout + done.stderr
    return errors[0]


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


def test_eos_before_a_window():
    launch = Launch(quoted(["sleep", "600"]), "fakesink name=sink")
    with launch:
        launch.stage("process-up")
        launch.pipeline.send_event(Gst.Event.new_eos())
        launch.wait_eos()


# Steam titles, by the stand-in client.


def stream_of(library, game, app_id=PORTAL, properties="", backend="wayland"):
    command, report = game(backend, "--rate", 60)
    library.starts(app_id, list(map(str, command)))
    return Launch(f"app-id={app_id} {properties}"), report


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


# Who is killed, and what then.


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


# Errors for people.


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


def test_the_device_monitor_lists_titles(library):
    monitor = Gst.DeviceMonitor.new()
    monitor.add_filter("Source/Video", None)
    devices = {device.get_display_name(): device for device in monitor.get_devices()}
    assert "Portal 2 (620)" in devices and "Doom (Freedoom) (4045620583)" in devices
    assert not any("Proton" in name for name in devices)
    source = devices["Portal 2 (620)"].create_element()
    assert source.get_factory().get_name() == "steamlaunchsrc"
    assert source.get_property("app-id") == PORTAL


# Real games as titles: a shortcut, and a title that Steam would have installed.


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


# PipeWire: pictures that are pushed, and sound.


def test_pictures_pushed_by_pipewire(game):
    command, report = game("wayland", "--rate", 60)
    with Daemon(), Launch(quoted(command) + " capture=push num-buffers=30",
                          "fakesink name=sink") as launch:
        launch.wait_eos()
        assert launch.stage("first-frame")
    assert report.events("start")


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


def test_pushed_without_a_daemon(game):
    command, _ = game("wayland", "--rate", 60)
    error = error_of("capture=push", "command=" + shlex.join(map(str, command)), "timeout=3000")
    assert "PipeWire" in error or "pipewire" in error


WITH_SOUND = """game.video ! video/x-raw,width=320,height=180,framerate=30/1 ! queue ! videoconvert !
    x264enc tune=zerolatency ! queue ! mp4mux name=mux ! filesink location={}
    game.audio ! audio/x-raw,rate=48000 ! queue ! audioconvert ! opusenc ! queue ! mux."""


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


def test_sound_without_a_daemon():
    done = gst_launch("steamlaunchsrc", "name=game", "command=stepscope-testgame", "game.video", "!",
                      "fakesink", "game.audio", "!", "fakesink")
    error = errors_of(done.stdout + done.stderr)[0]
    assert "PipeWire" in error and "without the audio pad" in error


def test_lockstep_is_not_pushed():
    assert "capture=pull" in error_of("command=true", "mode=lockstep", "capture=push")


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


def test_a_session_name_that_is_taken(game):
    command, _ = game("wayland", "--rate", 60)
    with Launch(quoted(command) + " session=mine") as launch:
        launch.numbered()
        error = error_of("command=sleep 9", "session=mine")
        assert "mine" in error and "--session" in error
