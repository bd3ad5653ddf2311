#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Capture throughput, ours beside Xvfb with ximagesrc, in one run.

For each size the two take turns, several rounds each, so that what else the machine does hits
both. In each round the test game runs as fast as it may and the frames that arrive at a fakesink
are counted. The figures are medians over the rounds. Slowness never fails the run; frames out of
order, frames without a number and programs that fail do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_SECONDS = 20
STOP_SECONDS = 10
DEFAULT_SIZES = "640x360,1920x1080,3840x2160"

OURS = "stepscope"
PEER_MOVING = "ximagesrc"
PEER_STILL = "ximagesrc-still"


class BenchError(Exception):
    """A program did not do its part; the text says which and what to do."""


class Programs:
    """Where the programs are: given, or found in the build directory, or on PATH."""

    def __init__(self, build: Path | None):
        self.build = build
        self.game = self.find("stepscope-testgame", "tests/game")
        self.capture = self.find("capture_bench", "bench")

    def find(self, name: str, folder: str) -> str:
        if self.build and (self.build / folder / name).exists():
            return str(self.build / folder / name)
        for directory in os.environ.get("PATH", "").split(":"):
            if os.access(Path(directory) / name, os.X_OK):
                return str(Path(directory) / name)
        raise BenchError(f"can't find {name}; build the project and give its --build directory")

    def compositor(self) -> str:
        return self.find("stepscope", "compositor")

    def plugin_environment(self) -> dict[str, str]:
        if not self.build:
            return {}
        paths = [str(self.build / "elements"), os.environ.get("GST_PLUGIN_PATH", "")]
        return {"GST_PLUGIN_PATH": ":".join(path for path in paths if path)}


@contextlib.contextmanager
def running(command: list[str], log: Path, **options):
    """A program in a process group of its own, which is gone at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                                   start_new_session=True, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        # What it may have left behind, and itself where it did not listen.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read_line(fd: int, process: subprocess.Popen, log: Path, what: str) -> str:
    """The first line from a pipe that `process` writes when it is ready."""
    text = b""
    deadline = time.monotonic() + START_SECONDS
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(fd, 4096) if ready else b""
        if not chunk:
            state = f"ended with {process.poll()}" if ready else "did not become ready"
            raise BenchError(f"{what} {state}; its output:\n{tail(log)}")
        text += chunk
    return text.decode().strip()


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def find_descendant(pid: int, name: str) -> int:
    """The process called `name` below `pid`; it may take a moment to be there."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        waiting = [pid]
        while waiting:
            current = waiting.pop()
            with contextlib.suppress(OSError):
                if Path(os.readlink(f"/proc/{current}/exe")).name == name:
                    return current
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{current}/task").iterdir():
                    waiting += [int(child) for child in (task / "children").read_text().split()]
        time.sleep(0.05)
    raise BenchError(f"no process {name} appeared below process {pid}")


def measure(programs: Programs, pipeline: str, processes: dict[str, int], seconds: float,
            environment: dict[str, str]) -> dict:
    command = [programs.capture, "--seconds", str(seconds)]
    for name, pid in processes.items():
        command += ["--pid", f"{name}={pid}"]
    done = subprocess.run(command + [pipeline], capture_output=True, text=True, check=False,
                          env=os.environ | environment, timeout=seconds + 60)
    if done.returncode != 0:
        raise BenchError(f"the pipeline '{pipeline}' failed:\n{done.stderr.strip()}")
    result = json.loads(done.stdout)
    if result["order_errors"]:
        raise BenchError(f"{result['order_errors']} frames out of order in '{pipeline}'")
    if result["frames"] == 0:
        raise BenchError(f"no frame arrived in {seconds} s in '{pipeline}'")
    if result["decoded"] == 0:
        raise BenchError(f"no frame had a readable number in '{pipeline}'")
    result["fps"] = result["frames"] / result["seconds"]
    result["distinct_fps"] = result["distinct"] / result["seconds"]
    result["cpu_per_frame_us"] = {
        name: None if spent is None else spent / result["frames"] * 1e6
        for name, spent in result["cpu_seconds"].items()}
    if any(spent is None for spent in result["cpu_seconds"].values()):
        raise BenchError(f"a process ended while it was measured: {result['cpu_seconds']}")
    return result


def game_command(programs: Programs, backend: str, width: int, height: int, *,
                 rate: int) -> list[str]:
    return [programs.game, "--backend", backend, "--size", f"{width}x{height}", "--fullscreen",
            "--rate", str(rate), "--paint", "stripe"]


def run_ours(programs: Programs, width: int, height: int, seconds: float, logs: Path) -> dict:
    log = logs / "stepscope.log"
    session = f"bench-{os.getpid()}"
    reader, writer = os.pipe()
    try:
        command = [programs.compositor(), "--session", session, "-W", str(width), "-H",
                   str(height), "-r", "0", "--ready-fd", str(writer), "--die-with-parent", "--",
                   *game_command(programs, "wayland", width, height, rate=0)]
        with running(command, log, pass_fds=[writer]) as compositor:
            os.close(writer)
            writer = -1
            read_line(reader, compositor, log, "stepscope")
            game = find_descendant(compositor.pid, "stepscope-testgame")
            return measure(programs,
                           f"wlscreencopysrc name=src session={session} "
                           "! fakesink name=sink sync=false",
                           {"server": compositor.pid, "game": game}, seconds,
                           programs.plugin_environment())
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def run_peer(programs: Programs, width: int, height: int, seconds: float, logs: Path,
             rate: int) -> dict:
    log = logs / "xvfb.log"
    reader, writer = os.pipe()
    try:
        command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", f"{width}x{height}x24",
                   "-nolisten", "tcp"]
        with running(command, log, pass_fds=[writer]) as server:
            os.close(writer)
            writer = -1
            display = ":" + read_line(reader, server, log, "Xvfb")
            environment = {"DISPLAY": display}
            with running(game_command(programs, "x11", width, height, rate=rate),
                         logs / "game.log", env=os.environ | environment) as game:
                # ximagesrc waits for the next period of its frame rate: a rate that it never
                # reaches lets it run free.
                return measure(programs,
                               "ximagesrc use-damage=false show-pointer=false "
                               "! video/x-raw,framerate=100000/1 "
                               "! fakesink name=sink sync=false",
                               {"server": server.pid, "game": game.pid}, seconds, environment)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def contestants(programs: Programs, wanted: list[str]) -> dict:
    """What takes part. The peer runs twice: beside a game that draws without pause, as ours does,
    and beside one that leaves it the whole machine, which is the most it can do."""
    known = {
        OURS: run_ours,
        PEER_MOVING: lambda *args: run_peer(*args, rate=0),
        PEER_STILL: lambda *args: run_peer(*args, rate=10),
    }
    chosen = {}
    for name in wanted:
        if name not in known:
            raise BenchError(f"no contestant '{name}'; there are {', '.join(known)}")
        run = known[name]
        chosen[name] = lambda *args, run=run: run(programs, *args)
    return chosen


def summarise(rounds: list[dict]) -> dict:
    def median(values):
        return statistics.median(values)

    return {
        "fps": median([r["fps"] for r in rounds]),
        "distinct_fps": median([r["distinct_fps"] for r in rounds]),
        "lost_per_second": median([r["lost"] / r["seconds"] for r in rounds]),
        "unreadable": sum(r["unreadable"] for r in rounds),
        "memories": max(r["memories"] for r in rounds),
        "cpu_per_frame_us": {part: median([r["cpu_per_frame_us"][part] for r in rounds])
                             for part in rounds[0]["cpu_per_frame_us"]},
        "rounds": rounds,
    }


def compare(sizes: dict[str, dict]) -> dict:
    """Ours to the peer per size, at its best; ours at the largest to the smallest size."""
    result: dict = {"fps_ours_to_peer": {}}
    for size, figures in sizes.items():
        peers = [f["fps"] for name, f in figures.items() if name != OURS]
        if OURS in figures and peers:
            result["fps_ours_to_peer"][size] = figures[OURS]["fps"] / max(peers)
    with_ours = [figures[OURS] for figures in sizes.values() if OURS in figures]
    if len(with_ours) > 1:
        # All that capturing costs; what the game spends on drawing is its own.
        costs = [f["cpu_per_frame_us"]["server"] + f["cpu_per_frame_us"]["pipeline"]
                 for f in with_ours]
        result["cost_last_to_first_size"] = costs[-1] / costs[0] if costs[0] > 0 else None
    return result


def print_table(sizes: dict[str, dict], comparison: dict) -> None:
    print(f"{'size':>10}  {'contestant':<16}{'fps':>9}{'distinct/s':>12}{'lost/s':>9}"
          f"{'memories':>10}   CPU us/frame: server, game, pipeline")
    for size, figures in sizes.items():
        for name, f in figures.items():
            cpu = f["cpu_per_frame_us"]
            print(f"{size:>10}  {name:<16}{f['fps']:>9.0f}{f['distinct_fps']:>12.0f}"
                  f"{f['lost_per_second']:>9.0f}{f['memories']:>10}   "
                  f"{cpu['server']:>9.1f}{cpu['game']:>9.1f}{cpu['pipeline']:>9.1f}")
    for size, ratio in comparison["fps_ours_to_peer"].items():
        print(f"{size:>10}  ours / the peer at its best: {ratio:.2f} x")
    if comparison.get("cost_last_to_first_size") is not None:
        first, last = list(sizes)[0], list(sizes)[-1]
        print(f"            ours, CPU per frame at {last} / {first}: "
              f"{comparison['cost_last_to_first_size']:.2f} x")


def parse_sizes(text: str) -> list[tuple[int, int]]:
    sizes = []
    for part in text.split(","):
        width, separator, height = part.partition("x")
        if not separator or not width.isdigit() or not height.isdigit():
            raise argparse.ArgumentTypeError(f"expected sizes such as 640x360,1920x1080, "
                                             f"got '{part}'")
        sizes.append((int(width), int(height)))
    return sizes


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, help="meson build directory")
    parser.add_argument("--sizes", type=parse_sizes, default=parse_sizes(DEFAULT_SIZES))
    parser.add_argument("--seconds", type=float, default=3, help="per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of half a second")
    parser.add_argument("--contestants", default=f"{OURS},{PEER_MOVING},{PEER_STILL}",
                        help="comma-separated (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results/bench.json"))
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 0.5
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    return arguments


def run_all(arguments: argparse.Namespace) -> None:
    programs = Programs(arguments.build)
    chosen = contestants(programs, arguments.contestants.split(","))
    sizes: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix="stepscope-bench-") as logs:
        for width, height in arguments.sizes:
            rounds: dict[str, list[dict]] = {name: [] for name in chosen}
            for number in range(arguments.rounds):
                for name, run in chosen.items():
                    print(f"{width}x{height} {name}: round {number + 1}", file=sys.stderr)
                    rounds[name].append(run(width, height, arguments.seconds, Path(logs)))
            sizes[f"{width}x{height}"] = {name: summarise(r) for name, r in rounds.items()}
    comparison = compare(sizes)
    print_table(sizes, comparison)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(
        {"machine": platform.machine(), "kernel": platform.release(), "cpus": os.cpu_count(),
         "seconds": arguments.seconds, "sizes": sizes, "comparison": comparison}, indent=2) + "\n")
    print(f"written to {arguments.output}")


def main() -> int:
    arguments = parse_arguments()
    try:
        run_all(arguments)
    except (BenchError, OSError, subprocess.TimeoutExpired) as error:
        print(f"run_bench.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
