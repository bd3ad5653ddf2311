"""What the parts of the test runner share: results, and running a command under a watchdog."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Result:
    name: str
    outcome: str  # passed, failed or skipped
    text: str  # the output of a failure, the reason of a skip


class Results:
    """Collects results and shows each as it comes. Thread-safe."""

    def __init__(self, patterns: list[str]):
        self.patterns = [pattern.lower() for pattern in patterns]
        self.results: list[Result] = []
        self.lock = threading.Lock()

    def wants(self, name: str) -> bool:
        return not self.patterns or any(pattern in name.lower() for pattern in self.patterns)

    def add(self, name: str, outcome: str, seconds: float, text: str = "") -> None:
        self.add_group(name, seconds, [Result(name, outcome, text)])

    def add_group(self, name: str, seconds: float, group: list[Result]) -> None:
        """The results of one program: one line, with their number where there are several."""
        with self.lock:
            self.results += group
            failed = [result for result in group if result.outcome == "failed"]
            skipped = [result for result in group if result.outcome == "skipped"]
            word = "FAIL" if failed else "skip" if len(skipped) == len(group) else "ok"
            note = f"{len(group)} tests, " if len(group) > 1 else ""
            if skipped and len(group) > 1:
                note += f"{len(skipped)} skipped, "
            reason = f": {skipped[0].text.strip().splitlines()[0]}" if word == "skip" else ""
            print(f"{word:4} {name} ({note}{seconds:.1f} s){reason}", flush=True)

    def summarize(self) -> int:
        """Prints failures in full, the skips' reasons and the count; returns the exit status."""
        failed = [result for result in self.results if result.outcome == "failed"]
        skipped = [result for result in self.results if result.outcome == "skipped"]
        passed = len(self.results) - len(failed) - len(skipped)
        for result in failed:
            print(f"\n=== FAILED {result.name}\n{result.text.rstrip()}")
        if skipped:
            print("\nSkipped:")
            for result in skipped:
                print(f"  {result.name}: {' '.join(result.text.split())}")
        if not self.results:
            what = f"no test's name contains {' or '.join(self.patterns)}" if self.patterns else (
                "there are no tests")
            print(f"stepscope: error: {what}", file=sys.stderr)
        if failed:
            # Once more by name alone: a long output above is easily cut.
            print("\nFailed:")
            for result in failed:
                print(f"  {result.name}")
        print()
        print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped", flush=True)
        return 1 if failed or not self.results else 0


class FirstTry:
    """Passes on what passed and keeps failures back: they get a second try, when the machine is
    quiet, and what they said the first time is shown."""

    MAX_RETRIES = 6  # more failures than this are no accident

    def __init__(self, results: Results):
        self.results = results
        self.failures: dict[str, tuple[float, list[Result]]] = {}

    def wants(self, name: str) -> bool:
        return self.results.wants(name)

    def add(self, name: str, outcome: str, seconds: float, text: str = "") -> None:
        self.add_group(name, seconds, [Result(name, outcome, text)])

    def add_group(self, name: str, seconds: float, group: list[Result]) -> None:
        if all(result.outcome != "failed" for result in group):
            self.results.add_group(name, seconds, group)
            return
        with self.results.lock:
            self.failures[name] = seconds, group
            print(f"again later  {name} ({seconds:.1f} s)", flush=True)

    def to_try_again(self, names: set[str]) -> set[str]:
        """Those of `names` that failed; counts as failed what gets no second try."""
        again = set(self.failures) & names
        if len(again) > self.MAX_RETRIES:
            again = set()
        for name, (seconds, group) in self.failures.items():
            if name not in again:
                self.results.add_group(name, seconds, group)
                continue
            for result in group:
                if result.outcome == "failed":
                    print(f"first try of {result.name}:\n{result.text.rstrip()}\n", flush=True)
        return again


@dataclass
class Run:
    status: int
    output: str
    seconds: float
    hung: bool


def end_group(process: subprocess.Popen) -> None:
    """Ends the process's whole group: asked first, killed after a moment."""
    for number, patience in ((signal.SIGTERM, 2), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
    # What the leader left behind.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_watched(command: list[str], watchdog: float, env=None, cwd=None) -> Run:
    """Runs a command in a process group of its own; ends the group after watchdog seconds."""
    started = time.monotonic()
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=cwd,
        start_new_session=True,
    ) as process:
        hung = False
        try:
            output, _ = process.communicate(timeout=watchdog)
        except subprocess.TimeoutExpired:
            hung = True
            end_group(process)
            try:
                output, _ = process.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                output = b"(a process outside the group holds the output)"
                process.stdout.close()
        finally:
            end_group(process)
    text = output.decode(errors="replace")
    return Run(process.returncode, text, time.monotonic() - started, hung)


def become_subreaper() -> None:
    """Processes whose parent ends become this process's children, wherever they hid."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(stat.parent.name))
    return found


def end_stray_processes() -> None:
    """Kills what tests left running. Only called when nothing is meant to run any more."""
    for _ in range(20):
        strays = children()
        if not strays:
            return
        for pid in strays:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
