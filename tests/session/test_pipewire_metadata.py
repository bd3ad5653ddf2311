# SPDX-License-Identifier: LGPL-2.1-or-later
"""What comes with the pictures of a PipeWire node: damage, the cursor, and pictures on request."""

from __future__ import annotations

import json
import subprocess
import time
from itertools import pairwise

import pytest

from support.pipeline import Pipeline
from support.pipewire import Daemon, require
from support.pipewire_session import offered
from support.session import Session

pytestmark = pytest.mark.usefixtures("with_pipewire")


class Probe:
    """Our own consumer: what a node says about its pictures, as it comes."""

    def __init__(self, node: str):
        require("stepscope-pipewire-probe")
        self.process = subprocess.Popen(["stepscope-pipewire-probe", node],
                                        stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def next(self) -> dict:
        line = self.process.stdout.readline()
        assert line, "the consumer ended"
        return json.loads(line)

    def until(self, condition, what: str) -> dict:
        for _ in range(500):
            picture = self.next()
            if condition(picture):
                return picture
        raise AssertionError(f"no picture {what}; the last: {picture}")


def test_metadata(runtime, game):
    """Crop and damage of pictures, by a consumer of ours."""
    command, _ = game("wayland", "--rate", 20, "--paint", "stripe")
    with Daemon(manager=False) as daemon, \
            Session(*command, options=("--pipewire", "--pipewire-node", "320x180")) as session:
        offered(session, daemon)
        daemon.wait_for_node(f"stepscope.{session.name}.320x180")
        with Probe(f"stepscope.{session.name}") as probe:
            pictures = [probe.next() for _ in range(60)]
            for picture in pictures:
                assert picture["crop"] == [0, 0, 640, 360]
                assert picture["bytes"] == 640 * 360 * 4
                assert picture["damage"] and not picture["corrupted"]
                for x, y, width, height in picture["damage"]:
                    assert 0 <= x < x + width <= 640 and 0 <= y < y + height <= 360
            steps = [after["pts"] - before["pts"] for before, after in pairwise(pictures)]
            assert all(step > 0 for step in steps)
            orders = [after["sequence"] - before["sequence"] for before, after in pairwise(pictures)]
            assert all(order > 0 for order in orders)
            # What the game says: this one draws its number alone.
            small = probe.until(lambda picture: picture["damage"] != [[0, 0, 640, 360]],
                                "that changed in part")
            assert sum(width * height for _, _, width, height in small["damage"]) < 640 * 360 / 2
        with Probe(f"stepscope.{session.name}.320x180") as probe:
            for _ in range(10):
                picture = probe.next()
                # What changed has no exact place in a scaled picture.
                assert picture["crop"] == [0, 0, 320, 180]
                assert picture["damage"] == [[0, 0, 320, 180]]


def test_the_cursor_comes_along(runtime, game):
    """Beside the picture, with what it looks like; not where somebody has it drawn in."""
    command, report = game("wayland", "--rate", 20, "--cursor", "arrow")
    with Daemon(manager=False) as daemon, \
            Session(*command, options=("--pipewire", "--pipewire-node", "320x180")) as session:
        offered(session, daemon)
        daemon.wait_for_node(f"stepscope.{session.name}.320x180")
        direct = Pipeline(f"wlscreencopysrc name=source session={session.name} "
                          "! fakesink sync=false")
        with Probe(f"stepscope.{session.name}") as probe, direct:
            direct.move(400, 200)
            report.wait_for("pointer_focus", focused=True)
            direct.move(401, 202)
            shown = probe.until(lambda picture: picture["cursor"]["position"] == [401, 202]
                                and picture["cursor"].get("size") == [16, 16], "with the cursor")
            cursor = shown["cursor"]
            assert cursor["id"] and cursor["hotspot"] == [0, 0]
            assert cursor["first"] >> 24 == 255 and cursor["last"] >> 24 == 0  # its lower half
            direct.source.set_property("cursor", "embedded")
            probe.until(lambda picture: picture["cursor"]["id"] == 0, "with the cursor drawn in")
            direct.source.set_property("cursor", "hidden")
            again = probe.until(lambda picture: picture["cursor"]["id"] != 0, "with it beside")
            assert again["cursor"]["position"] == [401, 202]
            assert again["cursor"]["first"] == cursor["first"]
        with direct, Probe(f"stepscope.{session.name}.320x180") as probe:
            half = probe.until(lambda picture: picture["cursor"]["id"] != 0, "with a small cursor")
            assert half["cursor"]["position"] == [200, 101]
            assert half["cursor"]["size"] == [8, 8]


def test_pictures_on_request(runtime, game):
    """One for each request, and the newest; none without one."""
    require("stepscope-pipewire-probe")
    command, _ = game("wayland", "--rate", 20)
    with Daemon(manager=False) as daemon, Session(*command, options=("--pipewire",)) as session:
        offered(session, daemon)
        with subprocess.Popen(["stepscope-pipewire-probe", f"stepscope.{session.name}", "request"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as probe:
            try:
                pictures = []
                for turn in range(9):
                    probe.stdin.write("\n")
                    probe.stdin.flush()
                    picture = json.loads(probe.stdout.readline())
                    age = time.monotonic_ns() - picture["pts"]
                    if turn > 2:  # memory is new at first, and the stream negotiated anew with it
                        pictures.append(picture)
                        assert age < 900_000_000, age  # or it waited for the request
                    time.sleep(1)  # for twenty of the game's pictures
                for before, after in pairwise(pictures):
                    assert after["pts"] - before["pts"] > 500_000_000
                    assert after["sequence"] > before["sequence"]
            finally:
                probe.kill()
        # Others get pictures as ever.
        with Probe(f"stepscope.{session.name}") as ordinary:
            for _ in range(10):
                ordinary.next()
