# SPDX-License-Identifier: LGPL-2.1-or-later
"""Traces: recorded, replayed and verified, also beside busy loops."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import stepscope
import stepscope.trace
from support.agents import doom_command, game_command
from support.frame_code import read_frame_number
from support.processes import WATCHDOG

pytestmark = pytest.mark.usefixtures("runtime")

TRACE = Path(__file__).resolve().parents[2] / "agent" / "stepscope-trace"


def trace(*arguments, **options):
    return subprocess.run([sys.executable, str(TRACE), *map(str, arguments)], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=WATCHDOG,
                          check=False, **options)


def test_doom_is_the_same_beside_busy_loops(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.write_text("".join(
        json.dumps({"step": step, "key": key, "pressed": pressed}) + "\n"
        for step, key, pressed in [(60, "Up", True), (100, "Right", True), (120, "Right", False),
                                   (130, "ctrl", True), (150, "Up", False)]))
    file = tmp_path / "doom.jsonl"
    done = trace("record", "-o", file, "-W", 320, "-H", 200, "-r", 35, "-n", 200, "--seed", 7,
                 "--no-xwayland", "--inputs", inputs, "--", *doom_command())
    assert done.returncode == 0, done.stderr
    recorded = stepscope.trace.Trace.load(file)
    assert recorded.header.tier == "T2"
    assert len({step.hash for step in recorded.steps}) > 100
    done = trace("verify", "--runs", 2, "--load", file)
    assert done.returncode == 0, done.stderr
    assert stepscope.trace.Trace.load(tmp_path / "doom.verified.jsonl").header.tier == "T3"
    # Other inputs make other pictures: a comparison that can't fail would prove nothing.
    text = file.read_text()
    file.write_text(text.replace('"key":"Right"', '"key":"Left"'))
    done = trace("replay", file)
    assert done.returncode == 1 and "differs: hash" in done.stderr


def test_doom_on_x11_is_the_same_beside_busy_loops(tmp_path):
    # With its mouse: the game takes the pointer as soon as its window is there, and what it reads
    # of it then turns its first view.
    inputs = tmp_path / "inputs"
    inputs.write_text("".join(
        json.dumps({"step": step, "move_by": [20, 0]}) + "\n" for step in range(90, 100)))
    file = tmp_path / "doom.jsonl"
    done = trace("record", "-o", file, "-W", 320, "-H", 200, "-r", 35, "-n", 120, "--seed", 7,
                 "--platform", "x11", "--inputs", inputs, "--", *doom_command())
    assert done.returncode == 0, done.stderr
    assert len({step.hash for step in stepscope.trace.Trace.load(file).steps}) > 50
    done = trace("verify", "--runs", 4, "--load", file)
    assert done.returncode == 0, done.stderr
    # The mouse is there: without its motion the view is another one.
    text = file.read_text()
    file.write_text(text.replace('"move_by":[20,0]', '"move_by":[0,0]'))
    done = trace("replay", file)
    assert done.returncode == 1 and "differs: hash" in done.stderr


def test_a_game_that_waits_with_epoll_is_the_same_beside_busy_loops(tmp_path):
    inputs = tmp_path / "inputs"
    inputs.write_text("".join(
        json.dumps({"step": step, "move_by": [3, 1]}) + "\n" for step in range(5, 60)))
    file = tmp_path / "epoll.jsonl"
    done = trace("record", "-o", file, "-W", 320, "-H", 200, "-n", 60, "--seed", 7, "--platform",
                 "x11", "--inputs", inputs, "--", "stepscope-testgame", "--backend", "x11",
                 "--fullscreen", "--epoll")
    assert done.returncode == 0, done.stderr
    assert len({step.hash for step in stepscope.trace.Trace.load(file).steps}) > 50
    done = trace("verify", "--runs", 2, "--load", file)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("wsi", ["wayland", "xcb"])
def test_a_vulkan_game_is_the_same_beside_busy_loops(wsi, tmp_path):
    if not shutil.which("vkcube"):
        pytest.skip("vkcube is not installed")
    file = tmp_path / "cube.jsonl"
    done = trace("record", "-o", file, "-W", 320, "-H", 200, "-n", 60, "--seed", 7, "--platform",
                 {"wayland": "wayland", "xcb": "x11"}[wsi], "--", "vkcube", "--wsi", wsi)
    assert done.returncode == 0, done.stderr
    recorded = stepscope.trace.Trace.load(file)
    assert recorded.header.gate == "present (Vulkan)"
    assert len({step.hash for step in recorded.steps}) > 50
    done = trace("verify", "--runs", 2, "--load", file)
    assert done.returncode == 0, done.stderr


def test_a_game_with_chance_of_its_own_is_found_out(tmp_path):
    """Without a seed random numbers are the kernel's: how long this game waits differs."""
    wait = ("import os, sys; n = int.from_bytes(open('/dev/urandom', 'rb').read(4), 'big');"
            "import time; time.sleep(0.2 + n / 2**32);"
            f"os.execvp('stepscope-testgame', {game_command()!r})")
    file = tmp_path / "chance.jsonl"
    arguments = ["record", "-o", file, "-W", 320, "-H", 200, "-n", 100, "--no-xwayland"]
    done = trace(*arguments, "--", sys.executable, "-c", wait)
    assert done.returncode == 0, done.stderr
    done = trace("verify", "--runs", 4, file)
    assert done.returncode == 1 and "differs" in done.stderr
    assert list(tmp_path.glob("chance-step*-replayed.png")), done.stderr
    # The same game with a seed.
    done = trace(*arguments, "--seed", 3, "--", sys.executable, "-c", wait)
    assert done.returncode == 0, done.stderr
    done = trace("verify", "--runs", 2, file)
    assert done.returncode == 0, done.stderr


def test_the_first_difference_is_named_with_both_pictures(tmp_path):
    mark = tmp_path / "mark"
    commands = [" ".join(game_command(rate=rate)) for rate in (30, 60)]
    # Runs of this game take turns in how fast they are.
    script = (f"if [ -e {mark} ]; then rm {mark}; exec {commands[1]}; "
              f"else touch {mark}; exec {commands[0]}; fi")
    file = tmp_path / "turns.jsonl"
    done = trace("record", "-o", file, "-W", 320, "-H", 200, "-n", 20, "--no-xwayland",
                 "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert stepscope.trace.Trace.load(file).header.tier == "T1"
    done = trace("verify", "--runs", 3, file)
    assert done.returncode == 1, done.stderr
    pictures = {path.stem.rpartition("-")[2]: path for path in tmp_path.glob("*.png")}
    assert sorted(pictures) == ["recorded", "replayed"], done.stderr
    image = pytest.importorskip("PIL.Image", reason="python3-pil is not installed")
    numbers = {name: read_frame_number(np.array(image.open(path)))
               for name, path in pictures.items()}
    assert numbers["replayed"] == numbers["recorded"] + 1
    header = stepscope.trace.Trace.load(tmp_path / "turns.verified.jsonl").header
    assert header.tier == "T1" and "differs" in header.tier_reason


def test_usage_errors_of_traces(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("no trace\n")
    for arguments in (["replay", broken], ["verify", tmp_path / "none"], ["record"],
                      ["verify", "--runs", 0, broken],
                      ["record", "-o", tmp_path / "none" / "file", "--", "true"],
                      ["record", "-o", tmp_path, "--", "true"],
                      ["record", "-o", tmp_path / "file", "--inputs", "none", "--", "true"],
                      ["record", "-o", tmp_path / "file", "--", "/nonexistent"]):
        done = trace(*arguments)
        assert done.returncode == 2 and done.stderr, arguments
        assert "Traceback" not in done.stderr


def test_an_interrupted_recording_keeps_its_steps(tmp_path):
    file, seen = tmp_path / "cut.jsonl", tmp_path / "seen"
    # Says so when it has had some steps, and goes on for ever.
    game = f"sleep 1; echo >'{seen}'; while :; do sleep 1; done"
    process = subprocess.Popen(
        [sys.executable, str(TRACE), "record", "-o", str(file), "-n", "1000000000",
         "--no-xwayland", "--", "sh", "-c", game],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + WATCHDOG
        while not seen.exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=WATCHDOG)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and "interrupted after" in said
    trace_of_it = stepscope.trace.Trace.load(file)
    assert trace_of_it.header.steps == len(trace_of_it.steps) > 10


def test_a_trace_without_pictures_is_not_bit_exact(tmp_path):
    file = tmp_path / "dark.jsonl"
    done = trace("record", "-o", file, "-n", 3, "--seed", 1, "--no-xwayland", "--", "true")
    assert done.returncode == 0 and "last step exited, gate none, tier T0" in done.stderr
    done = trace("verify", "--runs", 1, file)
    assert done.returncode == 0, done.stderr
    header = stepscope.trace.Trace.load(tmp_path / "dark.verified.jsonl").header
    assert header.tier == "T0" and "no step shows a picture" in header.tier_reason


def test_traces_that_no_recording_wrote_are_refused(tmp_path):
    head = {"stepscope_trace": 1, "command": ["true"]}
    step = {"step": 1, "status": "presented", "now_ns": 1, "hash": "00", "inputs": []}
    broken = [
        ["null", step], [head, "[]"], [head], [head, step | {"step": 2}], [head, step, step],
        *([head | {name: value}, step]
          for name, value in [("command", "true"), ("command", []), ("command", [1]),
                              ("width", "320"), ("height", None), ("fps", 60), ("seed", "1"),
                              ("platform", "windows"), ("xwayland", "no"), ("environment", [1]),
                              ("environment", {"A": 1}), ("tier", "T9"), ("unknown", 1)]),
        *([head, step | {name: value}]
          for name, value in [("status", None), ("now_ns", "1"), ("hash", 3), ("inputs", "Up"),
                              ("inputs", [1]), ("unknown", 1)]),
        *([head, step | {"inputs": [event]}]
          for event in [{}, {"key": 1, "pressed": True}, {"key": "Up"}, {"button": [], "pressed": 1},
                        {"move_to": ["a", None]}, {"move_by": [1]}, {"scroll": [float("nan"), 0]}]),
    ]
    file = tmp_path / "broken.jsonl"
    for lines in broken:
        file.write_text("".join(
            (line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        with pytest.raises(stepscope.StepscopeError):
            stepscope.trace.Trace.load(file)
    done = trace("verify", file)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_gamepads_in_traces():
    good = [{"pad_button": "pad_start", "pressed": True}, {"pad_axis": "pad2_lefty", "value": -1}]
    stepscope.trace.check_events(good)
    for wrong in ({"pad_button": "start", "pressed": 1}, {"pad_button": "pad_leftx", "pressed": True},
                  {"pad_axis": "pad_a", "value": 0}, {"pad_axis": "pad_lefttrigger", "value": -0.5},
                  {"pad_axis": "pad_leftx"}):
        with pytest.raises(stepscope.StepscopeError):
            stepscope.trace.check_events([wrong])


def test_a_game_without_a_window_is_told_as_that(tmp_path):
    done = trace("record", "-o", tmp_path / "trace", "-n", 3, "--seed", 1, "--no-xwayland", "--",
                 "sleep", 100)
    assert done.returncode == 0 and "tier T0 (the game showed no window)" in done.stderr
