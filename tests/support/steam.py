# SPDX-License-Identifier: LGPL-2.1-or-later
"""A home with a Steam library in it, and the stand-in client that belongs to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
from pathlib import Path

from support.processes import is_alive, wait_until

FIXTURE = Path(__file__).resolve().parent.parent / "fixtures" / "steam"
PORTAL, HALF_LIFE, UPDATE, CELESTE, DOOM = 620, 220, 1145360, 427520, 0xF1234567


def standin_folder() -> Path:
    return Path(shutil.which("stepscope-testgame")).parent.parent / "steam"


class SteamHome:
    """A copy of the fixture with its placeholders replaced. `steam` is in self.bin."""

    def __init__(self, base: Path):
        self.base = base / "Größe é"
        shutil.copytree(FIXTURE, self.base)
        self.home = self.base / "home"
        self.root = self.home / ".local/share/Steam"
        self.disk = self.base / "disk"
        self.state = self.home / ".steam"
        values = {"@HOME@": self.home, "@DISK@": self.disk,
                  "@MISSING@": self.base / "media/unplugged"}
        for path in self.base.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                for name, value in values.items():
                    data = data.replace(name.encode(), str(value).encode())
                path.write_bytes(data)
        self.state.mkdir()
        for link in ("root", "steam"):
            (self.state / link).symlink_to(self.root)
        self.bin = self.base / "bin"
        self.bin.mkdir()
        for name in ("steam", "reaper"):
            (self.bin / name).symlink_to(standin_folder() / f"standin-{name}")
        self.settings: dict[str, object] = {"titles": {}}
        self.configure(log=str(self.root / "logs/connection_log.txt"))

    def configure(self, **settings: object) -> None:
        self.settings |= settings
        (self.state / "standin.json").write_text(json.dumps(self.settings))

    def starts(self, app_id: int, command: list[str]) -> None:
        """What the client starts for a title."""
        self.settings["titles"][str(app_id)] = command
        self.configure()

    def manifest(self, app_id: int) -> Path:
        name = f"appmanifest_{app_id}.acf"
        return next(path for path in self.base.rglob(name) if "old" not in path.parts)

    @property
    def client_pid(self) -> int:
        return int((self.state / "steam.pid").read_text())

    def run_client(self) -> int:
        """A client of the user's own, outside of any session."""
        subprocess.run([self.bin / "steam", "-silent"], check=True, timeout=20,
                       env=os.environ | {"DISPLAY": ":77"})
        wait_until((self.state / "steam.pid").exists, "the client's start")
        return wait_until(lambda: self.client_pid, "the client's pid")

    @staticmethod
    def end_client(pid: int) -> None:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "the client's end")

    def program(self, app_id: int, command: list[str], name: str = "game.sh") -> Path:
        """Makes a title's own executable, which starts the command with what it gets."""
        folder = self.install_folder(app_id)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        words = " ".join(f"'{word}'" for word in command)
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        path.chmod(0o755)
        return path

    def install_folder(self, app_id: int) -> Path:
        manifest = self.manifest(app_id)
        line = next(line for line in manifest.read_text().splitlines() if '"installdir"' in line)
        return manifest.parent / "common" / line.split('"')[3]

    def write_appinfo(self, titles: dict[int, list[dict[str, str]]], version: int = 29) -> None:
        path = self.root / "appcache/appinfo.vdf"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(appinfo(titles, version))


def appinfo(titles: dict[int, list[dict[str, str]]], version: int) -> bytes:
    """appinfo.vdf with launch entries: executable, arguments, workingdir, type, oslist, osarch."""
    keys: list[str] = []

    def key(name: str) -> bytes:
        if version < 29:
            return name.encode() + b"\0"
        if name not in keys:
            keys.append(name)
        return struct.pack("<I", keys.index(name))

    def text(name: str, value: str) -> bytes:
        return b"\x01" + key(name) + value.encode() + b"\0"

    def group(name: str, *parts: bytes) -> bytes:
        return b"\0" + key(name) + b"".join(parts) + b"\x08"

    def launch(index: int, entry: dict[str, str]) -> bytes:
        config = [text(name, entry[name]) for name in ("oslist", "osarch", "betakey")
                  if name in entry]
        own = [text(name, entry[name]) for name in ("executable", "arguments", "workingdir", "type")
               if name in entry]
        return group(str(index), *own, *([group("config", *config)] if config else []))

    sections = b""
    for app_id, entries in titles.items():
        launches = [launch(index, entry) for index, entry in enumerate(entries)]
        body = group("appinfo", b"\x02" + key("appid") + struct.pack("<I", app_id),
                     group("config", group("launch", *launches))) + b"\x08"
        head = struct.pack("<IIQ20sI", 2, 1, 3, b"t" * 20, 4) + (b"b" * 20 if version > 27 else b"")
        sections += struct.pack("<II", app_id, len(head) + len(body)) + head + body
    sections += struct.pack("<I", 0)
    start = struct.pack("<II", 0x07564400 + int(str(version), 16), 1)
    if version < 29:
        return start + sections
    table = struct.pack("<I", len(keys)) + b"".join(name.encode() + b"\0" for name in keys)
    return start + struct.pack("<q", len(start) + 8 + len(sections)) + sections + table
