# SPDX-License-Identifier: LGPL-2.1-or-later
"""A PipeWire daemon of the test's own, in its own runtime directory and with its own settings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.processes import WATCHDOG, wait_until

# No hardware, no D-Bus, nothing of the user's.
DAEMON = """
context.properties = { core.daemon = true core.name = pipewire-0 support.dbus = false }
context.spa-libs = {
    support.* = support/libspa-support
    audio.convert.* = audioconvert/libspa-audioconvert
    audio.adapt = audioconvert/libspa-audioconvert
    audio.mixer.* = audiomixer/libspa-audiomixer
}
context.modules = [
    { name = libpipewire-module-protocol-native }
    { name = libpipewire-module-metadata }
    { name = libpipewire-module-spa-node-factory }
    { name = libpipewire-module-client-node }
    { name = libpipewire-module-access }
    { name = libpipewire-module-adapter }
    { name = libpipewire-module-link-factory }
    { name = libpipewire-module-session-manager }
]
context.objects = [
    { factory = metadata args = { metadata.name = default } }
    { factory = spa-node-factory args = {
        factory.name = support.node.driver node.name = Dummy-Driver
        node.group = pipewire.dummy node.sync-group = sync.dummy priority.driver = 20000 } }
]
"""


def require(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")


class Daemon:
    """PipeWire in XDG_RUNTIME_DIR; with `manager`, WirePlumber makes the links."""

    def __init__(self, manager: bool = True, pulse: bool = False):
        require("pipewire", "pw-dump", "pw-link", *(["wireplumber"] if manager else []),
                *(["pipewire-pulse"] if pulse else []))
        self.manager = manager
        self.pulse = pulse
        self.runtime = Path(os.environ["XDG_RUNTIME_DIR"])
        self.home = self.runtime.parent
        self.processes: list[subprocess.Popen] = []

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, kind, *_) -> None:
        self.stop()
        if kind is not None:
            print(self.log.read_text(errors="replace"))

    @property
    def log(self) -> Path:
        return self.home / "pipewire.log"

    def spawn(self, *command: str) -> None:
        with open(self.log, "ab") as log:
            self.processes.append(subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | {"DBUS_SESSION_BUS_ADDRESS": "disabled:"}))

    def start(self) -> None:
        config = self.home / "pipewire-test.conf"
        config.write_text(DAEMON)
        self.spawn("pipewire", "-c", str(config))
        wait_until((self.runtime / "pipewire-0").exists, "PipeWire's socket")
        if self.manager:
            self.spawn("wireplumber")
            wait_until(lambda: [entry for entry in self.dump()
                                if properties(entry).get("wireplumber.daemon")],
                       "WirePlumber")
        if self.pulse:
            self.spawn("pipewire-pulse")
            wait_until((self.runtime / "pulse" / "native").exists, "the PulseAudio server")

    def stop(self, kill: bool = False) -> None:
        for process in reversed(self.processes):
            process.kill() if kill else process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(WATCHDOG)
        self.processes.clear()
        for path in self.runtime.glob("pipewire-0*"):
            path.unlink()
        shutil.rmtree(self.runtime / "pulse", ignore_errors=True)

    def dump(self) -> list[dict]:
        done = subprocess.run(["pw-dump"], capture_output=True, text=True, check=False,
                              timeout=WATCHDOG)
        try:
            return json.loads(done.stdout)
        except ValueError:  # the daemon comes or goes
            return []

    def nodes(self) -> dict[str, dict]:
        """Properties of the nodes, by name."""
        return {properties(entry)["node.name"]: properties(entry) | {"id": entry["id"]}
                for entry in self.dump() if entry["type"].endswith(":Node")
                and "node.name" in properties(entry)}

    def wait_for_node(self, name: str) -> dict:
        return wait_until(lambda: self.nodes().get(name), f"node {name}")

    def links(self, state: str = "") -> list[tuple[str, str]]:
        """Names of the nodes that are linked: from, to; of links in that state alone."""
        dump = self.dump()
        names = {entry["id"]: properties(entry).get("node.name", "") for entry in dump}
        return [(names.get(entry["info"]["output-node-id"], ""),
                 names.get(entry["info"]["input-node-id"], ""))
                for entry in dump if entry["type"].endswith(":Link")
                and state in ("", entry["info"]["state"])]


def properties(entry: dict) -> dict:
    return (entry.get("info") or {}).get("props") or {}
