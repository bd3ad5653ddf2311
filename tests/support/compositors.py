# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other people's compositors for tests, without a screen."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from support import processes
from support.processes import wait_until

CAPTURABLE = ("cage", "labwc", "sway")


class Compositor:
    """A compositor that runs `game`; ends it with the context. Its display has a runtime directory of
    its own: it is reached by `display`, the path of its socket."""

    def __init__(self, kind: str, *game: str, outputs: int = 1,
                 environment: dict[str, str] | None = None):
        if not shutil.which(kind):
            pytest.skip(f"{kind} is not installed")
        self.kind = kind
        self.game = list(game) or ["sleep", "600"]
        # The paths of sockets are short: not below pytest's folder.
        self.folder = Path(tempfile.mkdtemp(prefix="stepscope-other-"))
        # Below the test's own runtime directory are only sessions; but its name in the environment
        # tells which processes are the test's.
        self.environment = os.environ | {
            "STEPSCOPE_TEST_RUNTIME": os.environ["XDG_RUNTIME_DIR"],
            "XDG_RUNTIME_DIR": str(self.folder), "XDG_CONFIG_HOME": str(self.folder),
            "WLR_BACKENDS": "headless", "WLR_RENDERER": "pixman",
            "WLR_HEADLESS_OUTPUTS": str(outputs), "WLR_LIBINPUT_NO_DEVICES": "1",
        } | (environment or {})
        self.process: subprocess.Popen | None = None

    def command(self) -> list[str]:
        quoted = " ".join(self.game)
        if self.kind == "cage":
            return ["cage", "--", *self.game]
        if self.kind == "labwc":
            return ["labwc", "-C", str(self.folder), "-s", quoted]
        if self.kind == "sway":
            config = self.folder / "config"
            config.write_text(f"default_border none\nexec {quoted}\n")
            return ["sway", "-c", str(config)]
        assert self.kind == "weston"
        return ["weston", "--backend=headless", "--renderer=pixman", "--socket=wayland-1"]

    def __enter__(self) -> Compositor:
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment, start_new_session=True)
        try:
            wait_until(self.sockets, f"a socket of {self.kind}")
        except BaseException:
            self.__exit__(AssertionError)
            raise
        return self

    def __exit__(self, kind, *_) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        # What it started may not notice its end, or not at once.
        wait_until(self.nothing_left, f"an end of what {self.kind} started")
        if kind is not None:
            print(f"--- {self.kind}\n{(self.folder / 'log').read_text(errors='replace')}")
        shutil.rmtree(self.folder)

    def nothing_left(self) -> bool:
        left = processes.of_environment(str(self.folder))
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not left

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def sockets(self) -> list[Path]:
        return [path for path in self.folder.glob("wayland-*") if path.is_socket()]

    @property
    def display(self) -> str:
        return str(self.sockets()[0])

    def swaymsg(self, *words: str) -> None:
        socket = next(self.folder.glob("sway-ipc.*"))
        subprocess.run(["swaymsg", "--socket", str(socket), "--", *words], check=True, timeout=20,
                       env=self.environment, stdout=subprocess.DEVNULL)
