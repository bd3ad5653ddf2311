#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a step costs, beside the floor (a bare Wayland round trip through the same hops), beside
xdotool with ximagesrc under Xvfb, beside real time, and beside a game that nobody holds or
captures, in one run. They take turns, so that what else the machine does hits all of them.
Slowness never fails the run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from run_bench import START_SECONDS, BenchError, Programs, game_command, read_line, running, tail

DOOM_RATE = 35
# A demo of Freedoom's that takes 3,136 of Doom's tics.
DEMO = "demo4"
DEMO_STEPS = 3000
WADS = ("/usr/share/games/doom/freedoom1.wad", "/usr/share/doom/freedoom1.wad")


def output_of(command: list[str], seconds: float = 120) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    if done.returncode != 0:
        raise BenchError(f"{command[0]} failed:\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def ping_pong(programs: Programs, steps: int, _logs: Path) -> dict:
    return output_of([programs.find("ping_pong", "bench"), "--rounds", str(steps)])


def stepped(programs: Programs, command: list[str], size: str, rate: int, skip: int, steps: int,
            logs: Path) -> dict:
    width, height = size.split("x")
    session = f"bench-{os.getpid()}"
    reader, writer = os.pipe()
    environment = os.environ | {"SDL_AUDIODRIVER": "dummy", "SDL_VIDEODRIVER": "wayland",
                                "HOME": str(logs)}
    try:
        log = logs / "stepscope.log"
        with running([programs.compositor(), "--lockstep", "--seed", "1", "--no-xwayland",
                      "--session", session, "-W", width, "-H", height, "-r", str(rate),
                      "--renderer", "pixman", "--ready-fd", str(writer), "--die-with-parent", "--",
                      *command], log, pass_fds=[writer], env=environment) as compositor:
            os.close(writer)
            writer = -1
            read_line(reader, compositor, log, "stepscope")
            return output_of([programs.find("step_bench", "bench"), "--session", session, "--rate",
                              str(rate), "--skip", str(skip), "--steps", str(steps)])
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def trivial(programs: Programs, steps: int, logs: Path) -> dict:
    command = game_command(programs, "wayland", 320, 200, rate=60)
    return stepped(programs, command, "320x200", 60, 30, steps, logs)


def doom_command(*arguments: str) -> list[str]:
    wad = next((wad for wad in WADS if Path(wad).exists()), None)
    if wad is None:
        raise BenchError("freedoom is not installed; expected its freedoom1.wad")
    return ["chocolate-doom", "-iwad", wad, *arguments, "-nosound"]


def doom(programs: Programs, size: str, steps: int, logs: Path, *settings: str) -> dict:
    command = ["env", *settings, *doom_command("-warp", "1", "1", "-skill", "2")]
    return stepped(programs, command, size, DOOM_RATE, 100, steps, logs)


def doom_demo(programs: Programs, size: str, logs: Path) -> dict:
    return stepped(programs, doom_command("-playdemo", DEMO), size, DOOM_RATE, 60, DEMO_STEPS, logs)


def doom_unthrottled(programs: Programs, size: str, logs: Path) -> dict:
    """As fast as Doom itself goes, without capture: it neither sleeps nor waits for the screen."""
    width, height = size.split("x")
    environment = os.environ | {"SDL_AUDIODRIVER": "dummy", "SDL_VIDEODRIVER": "wayland",
                                "HOME": str(logs)}
    log = logs / "stepscope.log"
    with running([programs.compositor(), "--no-xwayland", "--session", f"bench-{os.getpid()}",
                  "-W", width, "-H", height, "-r", "1000", "--renderer", "pixman",
                  "--die-with-parent", "--", *doom_command("-timedemo", DEMO)],
                 log, env=environment) as compositor:
        compositor.wait(120)
    words = re.search(r"timed \d+ gametics .*\(([0-9.]+) fps\)", log.read_text(errors="replace"))
    if not words:
        raise BenchError(f"chocolate-doom told no speed:\n{tail(log)}")
    return {"steps_per_second": float(words[1])}


def xdotool(programs: Programs, steps: int, logs: Path) -> dict:
    """Each step: a key by xdotool, then a picture by ximagesrc."""
    import gi
    gi.require_version("Gst", "1.0")
    from gi.repository import Gst
    Gst.init(None)
    log = logs / "xvfb.log"
    reader, writer = os.pipe()
    try:
        with running(["Xvfb", "-displayfd", str(writer), "-screen", "0", "320x200x24", "-nolisten",
                      "tcp"], log, pass_fds=[writer]) as server:
            os.close(writer)
            writer = -1
            display = ":" + read_line(reader, server, log, "Xvfb")
            environment = os.environ | {"DISPLAY": display}
            with running(game_command(programs, "x11", 320, 200, rate=60), logs / "game.log",
                         env=environment):
                pipeline = Gst.parse_launch(
                    f"ximagesrc display-name={display} use-damage=false show-pointer=false ! "
                    "video/x-raw,framerate=1000/1 ! appsink name=sink sync=false max-buffers=1 "
                    "drop=true")
                sink = pipeline.get_by_name("sink")
                pipeline.set_state(Gst.State.PLAYING)
                costs = []
                for step in range(steps + 5):
                    begun = time.monotonic()
                    subprocess.run(["xdotool", "key", "Up"], env=environment, check=True,
                                   timeout=START_SECONDS)
                    if not sink.emit("try-pull-sample", START_SECONDS * Gst.SECOND):
                        raise BenchError("ximagesrc gave no picture")
                    if step >= 5:
                        costs.append((time.monotonic() - begun) * 1e6)
                pipeline.set_state(Gst.State.NULL)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    costs.sort()
    return {"p50_us": costs[len(costs) // 2], "p99_us": costs[int(0.99 * (len(costs) - 1))],
            "steps_per_second": 1e6 / statistics.mean(costs)}


CONTESTANTS = {
    "ping-pong": (lambda p, n, logs: ping_pong(p, 5 * n, logs), None),
    "trivial 320x200": (trivial, 60),
    "doom 320x200": (lambda p, n, logs: doom(p, "320x200", n, logs), DOOM_RATE),
    # Without llvmpipe's threads: for so small a picture they cost more than they save.
    "doom, one thread": (
        lambda p, n, logs: doom(p, "320x200", n, logs, "LP_NUM_THREADS=0"), DOOM_RATE),
    "doom 640x400": (lambda p, n, logs: doom(p, "640x400", n, logs), DOOM_RATE),
    "demo 320x200": (lambda p, _, logs: doom_demo(p, "320x200", logs), DOOM_RATE),
    "unthrottled 320x200": (lambda p, _, logs: doom_unthrottled(p, "320x200", logs), DOOM_RATE),
    "demo 640x400": (lambda p, _, logs: doom_demo(p, "640x400", logs), DOOM_RATE),
    "unthrottled 640x400": (lambda p, _, logs: doom_unthrottled(p, "640x400", logs), DOOM_RATE),
    "xdotool 320x200": (lambda p, n, logs: xdotool(p, max(10, n // 20), logs), 60),
}


def median(rounds: list[dict], name: str) -> float | None:
    values = [r[name] for r in rounds if name in r]
    return statistics.median(values) if values else None


def print_table(figures: dict[str, dict]) -> None:
    floor = figures["ping-pong"]["p50_us"]
    print(f"{'':<20}{'steps/s':>10}{'x real time':>13}{'p50 us':>10}{'p99 us':>10}"
          f"{'p50 / ping-pong':>17}")
    for name, f in figures.items():
        rate = CONTESTANTS[name][1]
        speed = f["steps_per_second"] or 1e6 / f["p50_us"]
        line = f"{name:<20}{speed:>10.0f}" + (f"{speed / rate:>13.1f}" if rate else " " * 13)
        if f["p50_us"] is not None:
            line += f"{f['p50_us']:>10.0f}{f['p99_us']:>10.0f}{f['p50_us'] / floor:>17.2f}"
        print(line.rstrip())


def print_ratios(rounds: dict[str, list[dict]]) -> None:
    """Of turns that followed one another."""
    for size in ("320x200", "640x400"):
        ratios = [ours["steps_per_second"] / free["steps_per_second"] for ours, free in
                  zip(rounds[f"demo {size}"], rounds[f"unthrottled {size}"], strict=True)]
        print(f"Doom's demo in steps / unthrottled at {size}: {statistics.median(ratios):.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, help="meson build directory")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of 200 steps")
    parser.add_argument("--output", type=Path, default=Path("results/step-bench.json"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.steps = 1, 200
    if arguments.rounds < 1 or arguments.steps < 1:
        parser.error("--rounds and --steps must be positive")
    try:
        programs = Programs(arguments.build)
        rounds: dict[str, list[dict]] = {name: [] for name in CONTESTANTS}
        loads = []
        for number in range(arguments.rounds):
            for name, (run, _) in CONTESTANTS.items():
                print(f"{name}: round {number + 1}", file=sys.stderr)
                with tempfile.TemporaryDirectory(prefix="stepscope-bench-") as logs:
                    rounds[name].append(run(programs, arguments.steps, Path(logs)))
                loads.append(os.getloadavg()[0])
    except (BenchError, OSError, subprocess.SubprocessError) as error:
        print(f"run_step_bench.py: {error}", file=sys.stderr)
        return 1
    figures = {name: {key: median(r, key) for key in ("steps_per_second", "p50_us", "p99_us")}
               for name, r in rounds.items()}
    print_table(figures)
    print_ratios(rounds)
    print(f"load average of the machine: {min(loads):.1f} to {max(loads):.1f},"
          f" {os.cpu_count()} CPUs")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(
        {"cpus": os.cpu_count(), "loads": loads, "figures": figures, "rounds": rounds}, indent=2)
        + "\n")
    print(f"written to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
