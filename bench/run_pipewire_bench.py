#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pictures pushed by PipeWire: ours beside weston's, and Xvfb with ximagesrc, in one run.

Two parts for each contestant, which take turns. Throughput: the test game draws as fast as it may,
frames that arrive at a fakesink are counted. Latency: the game draws 60 frames per second and
reports when it committed each; the consumer notes when it got it, and reads the number in it.
The daemon is the benchmark's own, in a private runtime directory. Slowness never fails the run.
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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from run_bench import (  # noqa: E402
    BenchError, Programs, find_descendant, game_command, measure, read_line, running, tail)

from support.pipewire import DAEMON  # noqa: E402

LATENCY_RATE = 60
READY_SECONDS = 20
OURS, WESTON, XIMAGE = "stepscope", "weston", "ximagesrc"


def wait_for(condition, what: str, log: Path):
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.1)
    raise BenchError(f"{what} did not come; the log:\n{tail(log)}")


def nodes() -> set[str]:
    done = subprocess.run(["pw-dump"], capture_output=True, text=True, check=False, timeout=20)
    try:
        dump = json.loads(done.stdout)
    except ValueError:
        return set()
    return {((entry.get("info") or {}).get("props") or {}).get("node.name", "")
            for entry in dump if entry["type"].endswith(":Node")}


@contextlib.contextmanager
def daemon(folder: Path):
    """PipeWire and WirePlumber in the runtime directory; yields the daemon's process."""
    config = folder / "daemon.conf"
    config.write_text(DAEMON)
    environment = os.environ | {"DBUS_SESSION_BUS_ADDRESS": "disabled:"}
    socket = Path(os.environ["XDG_RUNTIME_DIR"]) / "pipewire-0"
    with running(["pipewire", "-c", str(config)], folder / "pipewire.log", env=environment) as server:
        wait_for(socket.exists, "PipeWire's socket", folder / "pipewire.log")
        with running(["wireplumber"], folder / "wireplumber.log", env=environment):
            wait_for(lambda: nodes() and True, "PipeWire", folder / "pipewire.log")
            yield server


class Round:
    """What one contestant is started with."""

    def __init__(self, programs: Programs, size: tuple[int, int], rate: int, folder: Path):
        self.programs = programs
        self.width, self.height = size
        self.rate = rate
        self.folder = folder
        self.report = folder / "report"
        self.report.unlink(missing_ok=True)

    def game(self, backend: str) -> list[str]:
        command = game_command(self.programs, backend, self.width, self.height, rate=self.rate)
        return command + (["--report", str(self.report)] if self.rate else [])

    def node(self, name: str, log: Path) -> str:
        wait_for(lambda: name in nodes(), f"the node {name}", log)
        return f"pipewiresrc target-object={name} ! video/x-raw"


@contextlib.contextmanager
def run_ours(this: Round):
    log = this.folder / "stepscope.log"
    session = f"bench-{os.getpid()}"
    command = [this.programs.compositor(), "--session", session, "-W", str(this.width), "-H",
               str(this.height), "-r", "0", "--pipewire", "--audio", "off", "--no-xwayland",
               "--die-with-parent", "--", *this.game("wayland")]
    with running(command, log) as server:
        source = this.node(f"stepscope.{session}", log)
        yield source, {"server": server.pid,
                       "game": find_descendant(server.pid, "stepscope-testgame")}, {}


@contextlib.contextmanager
def run_weston(this: Round):
    log = this.folder / "weston.log"
    rate = this.rate or 1000
    config = this.folder / "weston.ini"
    config.write_text("[core]\nbackend=pipewire\nidle-time=0\n[output]\nname=pipewire\n"
                      f"mode={this.width}x{this.height}@{rate}\n")
    socket = f"bench-{os.getpid()}"
    with running(["weston", "--renderer=pixman", "--shell=kiosk", f"--config={config}",
                  f"--socket={socket}"], log) as server:
        source = this.node("weston.pipewire", log)
        environment = os.environ | {"WAYLAND_DISPLAY": socket}
        with running(this.game("wayland"), this.folder / "game.log", env=environment) as game:
            yield source, {"server": server.pid, "game": game.pid}, {}


@contextlib.contextmanager
def run_ximage(this: Round):
    log = this.folder / "xvfb.log"
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0",
               f"{this.width}x{this.height}x24", "-nolisten", "tcp"]
    try:
        with running(command, log, pass_fds=[writer]) as server:
            display = {"DISPLAY": ":" + read_line(reader, server, log, "Xvfb")}
            with running(this.game("x11"), this.folder / "game.log",
                         env=os.environ | display) as game:
                yield ("ximagesrc use-damage=false show-pointer=false "
                       f"! video/x-raw,framerate={this.rate or 100000}/1",
                       {"server": server.pid, "game": game.pid}, display)
    finally:
        os.close(reader)
        os.close(writer)


CONTESTANTS = {OURS: run_ours, WESTON: run_weston, XIMAGE: run_ximage}


def committed(report: Path) -> dict[int, int]:
    """When the game committed each frame."""
    times = {}
    for line in report.read_text().splitlines():
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if event.get("event") == "frame":
                times[event["number"]] = event["time_ns"]
    return times


def receive(source: str, seconds: float, environment: dict[str, str]) -> list[tuple[int, int]]:
    """Number and time of arrival of each new frame."""
    os.environ.update(environment)
    from support.pipeline import Gst, Pipeline

    arrivals: list[int] = []

    def note(_pad, _info):
        arrivals.append(time.monotonic_ns())
        return Gst.PadProbeReturn.OK

    received, last, taken = [], None, 0
    with Pipeline(f"{source} ! appsink name=sink sync=false max-buffers=0") as pipeline:
        pipeline.sink.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, note)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            number = pipeline.pull().number
            if number and number != last and last is not None:
                received.append((number, arrivals[taken]))
            last = number or last
            taken += 1
    return received


def latency(source: str, report: Path, seconds: float, environment: dict[str, str]) -> dict:
    received = receive(source, seconds, environment)
    time.sleep(0.5)  # the report's last lines
    sent = committed(report)
    late = sorted((arrival - sent[number]) / 1e6 for number, arrival in received if number in sent)
    if len(late) < 2:
        raise BenchError(f"no frame of known age arrived from '{source}'")
    first, last = received[0][0], received[-1][0]
    return {"p50_ms": statistics.median(late), "p99_ms": late[int(len(late) * 0.99)],
            "frames": len(late), "missed": last - first + 1 - len(received)}


def run_round(name: str, programs: Programs, arguments, folder: Path, pipewire: int) -> dict:
    figures = {}
    for part, rate in (("throughput", 0), ("latency", LATENCY_RATE)):
        print(f"{name}: {part}", file=sys.stderr)
        this = Round(programs, arguments.size, rate, folder)
        with CONTESTANTS[name](this) as (source, processes, environment):
            if part == "latency":
                figures |= latency(source, this.report, arguments.seconds, environment)
                continue
            result = measure(programs, f"{source} ! fakesink name=sink sync=false",
                             processes | {"daemon": pipewire}, arguments.seconds,
                             environment | programs.plugin_environment())
            figures |= {"fps": result["distinct_fps"], "cpu": result["cpu_per_frame_us"],
                        "lost_per_second": result["lost"] / result["seconds"]}
    return figures


def summarise(rounds: list[dict]) -> dict:
    def middle(key):
        return statistics.median(each[key] for each in rounds)

    return {key: middle(key) for key in ("fps", "lost_per_second", "p50_ms", "p99_ms", "missed")} \
        | {"cpu": {part: statistics.median(each["cpu"][part] for each in rounds)
                   for part in rounds[0]["cpu"]}, "rounds": rounds}


def print_table(results: dict[str, dict]) -> None:
    print(f"{'contestant':<12}{'frames/s':>9}{'lost/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'missed':>8}"
          "   CPU us/frame: server, game, daemon, consumer")
    for name, f in results.items():
        cpu = " ".join(f"{f['cpu'][part]:>8.1f}" for part in ("server", "game", "daemon", "pipeline"))
        print(f"{name:<12}{f['fps']:>9.0f}{f['lost_per_second']:>9.0f}{f['p50_ms']:>9.2f}"
              f"{f['p99_ms']:>9.2f}{f['missed']:>8.0f}   {cpu}")
    load = os.getloadavg()
    print(f"load averages at the end: {load[0]:.1f} {load[1]:.1f}")


def parse_size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not width.isdigit() or not height.isdigit():
        raise argparse.ArgumentTypeError(f"expected a size such as 1280x720, got '{text}'")
    return int(width), int(height)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, help="meson build directory")
    parser.add_argument("--size", type=parse_size, default=(1280, 720))
    parser.add_argument("--seconds", type=float, default=5, help="per part and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestants", default=",".join(CONTESTANTS),
                        help="comma-separated (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results/bench-pipewire.json"))
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    arguments.contestants = arguments.contestants.split(",")
    for name in arguments.contestants:
        if name not in CONTESTANTS:
            parser.error(f"no contestant '{name}'; there are {', '.join(CONTESTANTS)}")
    return arguments


def run_all(arguments: argparse.Namespace) -> None:
    programs = Programs(arguments.build)
    os.environ |= programs.plugin_environment()
    rounds: dict[str, list[dict]] = {name: [] for name in arguments.contestants}
    with tempfile.TemporaryDirectory(prefix="stepscope-bench-") as name:
        folder = Path(name)
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        os.environ |= {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(folder)}
        with daemon(folder) as pipewire:
            for _ in range(arguments.rounds):
                for contestant, figures in rounds.items():
                    figures.append(run_round(contestant, programs, arguments, folder, pipewire.pid))
    results = {contestant: summarise(figures) for contestant, figures in rounds.items()}
    print_table(results)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(
        {"machine": platform.machine(), "kernel": platform.release(), "cpus": os.cpu_count(),
         "size": arguments.size, "seconds": arguments.seconds, "load": os.getloadavg(),
         "results": results}, indent=2) + "\n")
    print(f"written to {arguments.output}")


def main() -> int:
    arguments = parse_arguments()
    try:
        run_all(arguments)
    except (BenchError, OSError, subprocess.TimeoutExpired) as error:
        print(f"run_pipewire_bench.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
