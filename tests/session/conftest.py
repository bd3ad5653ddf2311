# SPDX-License-Identifier: LGPL-2.1-or-later
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from support import processes
from support.pipewire import require
from support.session import Report
from support.steam import SteamHome

WATCHDOG = 200  # seconds for one test; only a hang takes as long


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "error::stepscope.CompositorCrashWarning")


@pytest.fixture(autouse=True)
def watchdog():
    def give_up(*_):
        raise TimeoutError(f"the test took more than {WATCHDOG} s")

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(WATCHDOG)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def runtime(monkeypatch):
    """A runtime directory for one test; nothing may be left in it, and nobody who knows it."""
    for program in ("stepscope", "stepscope-testgame"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not built")
    # Not below pytest's folder: the paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="stepscope-test-") as scratch:
        directory = Path(scratch) / "run"
        directory.mkdir(mode=0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
        monkeypatch.setenv("HOME", scratch)
        monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
        for name in ("STEPSCOPE_SESSION", "DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
            monkeypatch.delenv(name, raising=False)
        yield directory
        # After a compositor that was killed its reaper removes the session, and only then ends.
        deadline = time.monotonic() + 5
        while (left := processes.of_environment(str(directory))) and time.monotonic() < deadline:
            time.sleep(0.01)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, "processes are left after the test"
        # The folder of all sessions stays.
        files = [name for name in processes.files_below(directory) if name != "stepscope"]
        assert not files, "files are left in the runtime directory"


@pytest.fixture
def with_sound(runtime):
    """Sessions in lock-step have sound."""
    device = "libasound_module_pcm_stepscope.so"
    build = Path(shutil.which("stepscope")).resolve().parent.parent
    if not any((folder / device).exists()
               for folder in (build / "guest", *build.glob("lib*/**/stepscope"))):
        pytest.skip("built without ALSA")


@pytest.fixture
def game(tmp_path):
    """Makes commands of the test game: game(backend, *options) and the report that it writes."""
    count = 0

    def make(backend: str, *options: object) -> tuple[list[str], Report]:
        nonlocal count
        count += 1
        report = Report(tmp_path / f"report-{count}")
        command = ["stepscope-testgame", "--backend", backend, "--report", str(report.path)]
        return command + [str(option) for option in options], report

    return make


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A Steam library, and the stand-in for the client."""
    home = SteamHome(tmp_path)
    monkeypatch.setenv("HOME", str(home.home))
    monkeypatch.setenv("PATH", f"{home.bin}:{os.environ['PATH']}")
    for name in ("XDG_DATA_HOME", "STEPSCOPE_STEAM_ROOT", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def with_pipewire():
    done = subprocess.run(["stepscope", "--help"], capture_output=True, text=True, check=False)
    if "--pipewire" not in done.stdout:
        pytest.skip("stepscope was built without PipeWire")
    require("pipewire")


@pytest.fixture(params=["wayland", "x11"])
def backend(request):
    return request.param
