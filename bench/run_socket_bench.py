#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Frames in another process: the frame socket beside unixfdsink and shmsink, in one run.

Throughput: a game draws as fast as it may, one pipeline captures it and hands the frames on, and
frames are counted in a second process. Round trip: a program steps the game through the frame
socket; the time from its step to the picture. Slowness never fails the run; frames out of order do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "agent")]
import run_bench as base  # noqa: E402

from stepscope import FrameSocket  # noqa: E402

DEFAULT_SIZES = "640x360,3840x2160"
HOLD = "max-buffers=8"


def pipelines(name: str, path: str, width: int, height: int) -> tuple[str, str]:
    """What the producer does with frames, and the consumer."""
    if name == "fencesink":
        return (f"fencesink socket-path={path}", f"fencesrc name=src socket-path={path}")
    if name == "unixfdsink":
        return (f"unixfdsink socket-path={path} sync=false", f"unixfdsrc name=src socket-path={path}")
    if name == "shmsink":
        size = 8 * width * height * 4
        return (f"shmsink socket-path={path} shm-size={size} wait-for-connection=false sync=false",
                f"shmsrc name=src is-live=true socket-path={path} ! "
                f"video/x-raw,format=BGRx,width={width},height={height},framerate=0/1")
    raise base.BenchError(f"no transport '{name}'; there are fencesink, unixfdsink, shmsink")


@contextlib.contextmanager
def session(programs: base.Programs, width: int, height: int, logs: Path, *options: str):
    reader, writer = os.pipe()
    name = f"bench-{os.getpid()}"
    command = [programs.compositor(), "--session", name, "-W", str(width), "-H", str(height),
               "--ready-fd", str(writer), "--die-with-parent", *options, "--",
               *base.game_command(programs, "wayland", width, height, rate=0)]
    log = logs / "stepscope.log"
    try:
        with base.running(command, log, pass_fds=[writer]) as compositor:
            os.close(writer)
            writer = -1
            base.read_line(reader, compositor, log, "stepscope")
            yield name, compositor
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


@contextlib.contextmanager
def producer(programs: base.Programs, description: str, path: str, logs: Path):
    log = logs / "producer.log"
    environment = os.environ | programs.plugin_environment()
    with base.running(["gst-launch-1.0", "-q", *description.split()], log, env=environment) as process:
        deadline = time.monotonic() + base.START_SECONDS
        while not os.path.exists(path):
            if process.poll() is not None or time.monotonic() > deadline:
                raise base.BenchError(f"'{description}' did not start:\n{base.tail(log)}")
            time.sleep(0.02)
        yield process


def run_live(programs: base.Programs, transport: str, width: int, height: int, seconds: float,
             logs: Path) -> dict:
    path = str(logs / f"{transport}-{time.monotonic_ns()}")
    sink, source = pipelines(transport, path, width, height)
    with session(programs, width, height, logs, "-r", "0") as (name, compositor):
        game = base.find_descendant(compositor.pid, "stepscope-testgame")
        description = f"wlscreencopysrc session={name} {HOLD} ! {sink}"
        with producer(programs, description, path, logs) as sending:
            return base.measure(programs, f"{source} ! fakesink name=sink sync=false",
                                {"server": compositor.pid, "game": game, "producer": sending.pid},
                                seconds, programs.plugin_environment())


def run_round_trips(programs: base.Programs, width: int, height: int, seconds: float,
                    logs: Path) -> dict:
    path = str(logs / f"steps-{time.monotonic_ns()}")
    with session(programs, width, height, logs, "--lockstep", "-r", "60") as (name, _):
        description = (f"wlscreencopysrc session={name} mode=lockstep ! video/x-raw,framerate=60/1 "
                       f"! fencesink socket-path={path} wait=steps")
        with (producer(programs, description, path, logs),
              FrameSocket(path, steps=True, name="bench", wait=base.START_SECONDS) as agent):
            frame = agent.next()
            times, end = [], 0.0
            while not end or time.monotonic() < end:
                frame.release()
                began = time.perf_counter()
                following = agent.step()
                times.append(time.perf_counter() - began)
                if following.step != frame.step + 1:
                    raise base.BenchError(f"step {following.step} came after {frame.step}")
                frame = following
                if not end and len(times) == 50:  # for the caches of everybody
                    times, end = [], time.monotonic() + seconds
    times.sort()
    return {"steps": len(times), "p50_us": times[len(times) // 2] * 1e6,
            "p99_us": times[len(times) * 99 // 100] * 1e6}


def run_all(arguments: argparse.Namespace) -> dict:
    programs = base.Programs(arguments.build)
    transports = arguments.transports.split(",")
    sizes: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix="stepscope-bench-") as folder:
        logs = Path(folder)
        for width, height in arguments.sizes:
            rounds: dict[str, list[dict]] = {name: [] for name in [*transports, "steps"]}
            for number in range(arguments.rounds):
                for name in rounds:
                    print(f"{width}x{height} {name}: round {number + 1}", file=sys.stderr)
                    run = (run_round_trips(programs, width, height, arguments.seconds, logs)
                           if name == "steps" else
                           run_live(programs, name, width, height, arguments.seconds, logs))
                    rounds[name].append(run)
            sizes[f"{width}x{height}"] = rounds
    return sizes


def median(rounds: list[dict], key: str) -> float:
    return statistics.median(one[key] for one in rounds)


def print_table(sizes: dict[str, dict]) -> None:
    print(f"{'size':>10}  {'transport':<12}{'fps':>8}{'distinct/s':>12}   CPU us/frame: producer, "
          "consumer")
    for size, transports in sizes.items():
        for name, rounds in transports.items():
            if name == "steps":
                continue
            cpu = [statistics.median(one["cpu_per_frame_us"][part] for one in rounds)
                   for part in ("producer", "pipeline")]
            print(f"{size:>10}  {name:<12}{median(rounds, 'fps'):>8.0f}"
                  f"{median(rounds, 'distinct_fps'):>12.0f}   {cpu[0]:>9.1f}{cpu[1]:>9.1f}")
        steps = transports["steps"]
        print(f"{size:>10}  steps: round trip p50 {median(steps, 'p50_us'):.0f} us, "
              f"p99 {median(steps, 'p99_us'):.0f} us")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, help="meson build directory")
    parser.add_argument("--sizes", type=base.parse_sizes, default=base.parse_sizes(DEFAULT_SIZES))
    parser.add_argument("--seconds", type=float, default=3, help="per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transports", default="fencesink,unixfdsink,shmsink")
    parser.add_argument("--output", type=Path, default=Path("results/bench-socket.json"))
    arguments = parser.parse_args()
    try:
        sizes = run_all(arguments)
    except (base.BenchError, OSError, subprocess.TimeoutExpired) as error:
        print(f"run_socket_bench.py: {error}", file=sys.stderr)
        return 1
    print_table(sizes)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(
        {"machine": platform.machine(), "kernel": platform.release(), "cpus": os.cpu_count(),
         "seconds": arguments.seconds, "sizes": sizes}, indent=2) + "\n")
    print(f"written to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
