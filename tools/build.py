#!/usr/bin/env python3
"""Configures and compiles one build folder: quietly if there is nothing to do.

A stamp in the folder holds the environment's identity and the options; when they change, the
folder is configured from nothing, because compilers and libraries may have changed under it.
"""

import argparse
import fcntl
import os
import re
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
# Compiled in less than half the time that -O2 -g takes, with the line numbers that reports need.
SANITIZE_OPTIONS = [
    "-Db_sanitize=address,undefined", "-Db_lundef=false",
    "-Doptimization=1", "-Ddebug=false", "-Dc_args=-g1", "-Dcpp_args=-g1",
]  # fmt: skip
STEP = re.compile(r"^\[(\d+)/(\d+)\]")
LOG_TAIL_LINES = 60
CI_PROGRESS_SECONDS = 30


def fail(message: str, log: Path) -> None:
    lines = log.read_text(errors="replace").splitlines()
    # The compiler's words come after the first FAILED; what ninja still finished hides them.
    first = next((i for i, line in enumerate(lines) if line.startswith("FAILED")), None)
    shown = lines[first : first + LOG_TAIL_LINES] if first is not None else lines[-LOG_TAIL_LINES:]
    print("\n".join(shown), file=sys.stderr)
    sys.exit(f"stepscope: error: {message}; the full log is {log}")


class Progress:
    """One line, rewritten on a terminal; elsewhere a line now and then."""

    def __init__(self, title: str):
        self.title = title
        self.shown_at = 0.0
        self.started = time.monotonic()
        self.shown = False

    def show(self, detail: str) -> None:
        now = time.monotonic()
        text = f"stepscope: {self.title}: {detail} ({now - self.started:.0f} s)"
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif not self.shown or now - self.shown_at >= CI_PROGRESS_SECONDS:
            print(text, file=sys.stderr, flush=True)
            self.shown_at = now
        self.shown = True

    def end(self) -> None:
        if self.shown and sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def configure(build: Path, stamp: Path, wanted: str, options: list[str]) -> None:
    progress = Progress(build.name)
    progress.show("configuring")
    command = ["meson", "setup", str(build), str(SOURCE), *options]
    if (build / "meson-private").is_dir():
        command.append("--wipe")
    stamp.unlink(missing_ok=True)
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    progress.end()
    # Not written while meson runs: it wipes the folder.
    log = build / "stepscope-configure.log"
    log.write_bytes(result.stdout)
    if result.returncode != 0:
        fail(f"{build.name} cannot be configured", log)
    stamp.write_text(wanted)


def compile_all(build: Path, log: Path) -> None:
    progress = Progress(build.name)
    environment = dict(os.environ, NINJA_STATUS="[%f/%t] ")
    # The GIR's step starts GStreamer, with this build's libraries: what can't be loaded with those
    # must not be remembered as broken where the plain build's programs look.
    environment["GST_REGISTRY"] = str(build / "gst-registry-build.bin")
    with (
        open(log, "w") as output,
        subprocess.Popen(
            ["ninja", "-C", str(build)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        ) as ninja,
    ):
        for line in ninja.stdout:
            output.write(line)
            step = STEP.match(line)
            if step:
                progress.show(f"{step[1]} of {step[2]}")
    progress.end()
    if ninja.returncode != 0:
        fail(f"{build.name} does not compile", log)


def lock_folder(build: Path) -> None:
    """Two runs in one folder would compile over each other. Held until this process ends."""
    build.mkdir(exist_ok=True)
    folder = os.open(build, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"stepscope: another run is building in {build}; waiting", file=sys.stderr)
        fcntl.flock(folder, fcntl.LOCK_EX)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("--sanitize", action="store_true", help="with ASan and UBSan")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    options = SANITIZE_OPTIONS if arguments.sanitize else []
    wanted = f"{os.environ.get('STEPSCOPE_ENV_ID', 'unknown')} {' '.join(options)}\n"
    stamp = build / "stepscope-environment"
    log = build / "stepscope-compile.log"
    try:
        lock_folder(build)
        if not stamp.is_file() or stamp.read_text() != wanted:
            configure(build, stamp, wanted, options)
        compile_all(build, log)
    except PermissionError as error:
        sys.exit(
            f"stepscope: error: cannot write to {error.filename}; "
            f"was {build} made by another user? Remove it"
        )
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
