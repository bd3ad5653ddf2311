# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pipelines with steamlaunchsrc, and what gst-launch-1.0 says of one."""

import os
import shlex
import subprocess

from support.pipeline import SINK, Gst, Pipeline, errors_of
from support.processes import WATCHDOG, wait_until
from support.steam import PORTAL

SIZE = "width=320 height=180"
SOON = 10  # seconds: a watchdog for what takes less than two


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
    """The first error of a launch that has to fail."""
    done = gst_launch("steamlaunchsrc", *words, "!", "fakesink")
    assert done.returncode != 0, done.stdout
    errors = errors_of(done.stdout + done.stderr)
    assert errors, done.stdout + done.stderr
    return errors[0]


def stream_of(library, game, app_id=PORTAL, properties="", backend="wayland"):
    """A launch of a title that is the test game, and the report of that."""
    command, report = game(backend, "--rate", 60)
    library.starts(app_id, list(map(str, command)))
    return Launch(f"app-id={app_id} {properties}"), report
