"""Runs the session tests (pytest), in a new process after a test that hangs or fails."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
from pathlib import Path

from results import Results, end_group

# They run the sanitized build, which STEPSCOPE_SANITIZED_BUILD names.
SANITIZED_TESTS = (
    "session/test_malformed_clients.py::test_lies_under_the_sanitizers",
    "session/test_sanitized_ends.py::test_two_windows",
    "session/test_sanitized_ends.py::test_a_stepper_that_stays",
)
WATCHDOG = 300  # seconds without a test starting or ending


MAX_RETRIES = 6  # more failures than this are no accident


class FirstPass:
    """Keeps failures back: they get a second try, alone, when the machine is quiet."""

    def __init__(self, results: Results):
        self.results = results
        self.patterns = results.patterns
        self.failures: dict[str, tuple[float, str]] = {}

    def add(self, name: str, outcome: str, seconds: float, text: str = "") -> None:
        if outcome == "failed":
            self.failures[name] = (seconds, text)
            last = text.strip().splitlines()[-1:] or [""]
            print(f"again later  {name}: {last[0]}", flush=True)
        else:
            self.results.add(name, outcome, seconds, text)


def run(directory: Path, build: Path, results: Results) -> None:
    """Sessions are many processes that share two processors with whatever else runs there: a test
    that fails is run once more after all others, and what it said the first time is shown."""
    if not directory.is_dir():
        return
    first = FirstPass(results)
    done: list[str] = []
    run_all(directory, build, first, done)
    failures = first.failures
    if len(failures) > MAX_RETRIES or any(name not in done for name in failures):
        for name, (seconds, text) in failures.items():
            results.add(name, "failed", seconds, text)
    elif failures:
        for name, (_, text) in failures.items():
            print(f"first try of {name}:\n{text}\n", flush=True)
        second = FirstPass(results)
        second.patterns = list(failures)
        second.add = results.add
        run_all(directory, build, second, [name for name in done if name not in failures])


def run_all(directory: Path, build: Path, results: FirstPass, done: list[str]) -> None:
    """A test that failed may have left threads and connections of libraries behind that others
    would share: those run in a process of their own. With many failures that takes too long."""
    attempt = 0
    while True:
        attempt += 1
        before = len(done)
        alone = attempt <= MAX_RETRIES
        hung, failed = run_once(directory, build, results, done, attempt, stop_at_failure=alone)
        if hung is not None:
            done.append(hung)  # the others still get their turn
        elif not (failed and alone) or len(done) == before:
            return


def run_once(
    directory: Path, build: Path, results: FirstPass, done: list[str], attempt: int,
    stop_at_failure: bool,
) -> tuple[str | None, bool]:
    """One pytest process. Returns the name of the test that hung, if one did, and whether tests
    failed."""
    read_fd, write_fd = os.pipe()
    select = {"patterns": results.patterns, "done": done}
    command = [sys.executable, "-m", "pytest", str(directory), "-q", "--tb=long"]
    command += ["--rootdir", str(directory.parent.parent)]
    command += ["-p", "pytest_events", "-p", "no:cacheprovider"]
    command += [f"--junitxml={build}/test-results/session-{attempt}.xml"]
    command += ["--exitfirst"] if stop_at_failure else []
    with tempfile.TemporaryDirectory(prefix="stepscope-session-") as scratch:
        runtime = Path(scratch) / "runtime"
        runtime.mkdir(mode=0o700)
        environment = os.environ | {
            "STEPSCOPE_TEST_EVENTS": str(write_fd),
            "STEPSCOPE_TEST_SELECT": json.dumps(select),
            "PYTHONPATH": f"{directory.parent}:{os.environ.get('PYTHONPATH', '')}",
            "PATH": f"{build}/tests/game:{build}/agent:{os.environ['PATH']}",
            "XDG_RUNTIME_DIR": str(runtime),
            "HOME": scratch,
            # A registry of its own: programs of the sanitized build leave theirs without our plugin.
            "GST_REGISTRY": f"{scratch}/gst-registry.bin",
        }
        log_path = Path(scratch) / "log"
        with open(log_path, "wb") as log, subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=directory.parent.parent,
            pass_fds=[write_fd],
            start_new_session=True,
        ) as process:
            os.close(write_fd)
            try:
                running, hung = follow(read_fd, results, done)
            finally:
                os.close(read_fd)
            if not hung:
                try:
                    process.wait(WATCHDOG)
                except subprocess.TimeoutExpired:
                    results.add("session/end", "failed", WATCHDOG, "pytest did not end")
            end_group(process)
        output = log_path.read_text(errors="replace")
    if hung:
        text = f"killed: nothing happened for {WATCHDOG} s\n{output}"
        results.add(running or "session/collection", "failed", WATCHDOG, text)
        return running, True
    # 0 all passed, 1 failures (already counted), 5 nothing selected.
    if process.returncode not in (0, 1, 5):
        name = running or "session/pytest"
        results.add(name, "failed", 0, f"pytest ended with {process.returncode}\n{output}")
        return running, False
    return None, process.returncode == 1


def follow(fd: int, results: FirstPass, done: list[str]) -> tuple[str | None, bool]:
    """Reads events until the plugin's end is closed. Returns the running test and whether it hung.

    Children of the tests may have inherited nothing of the pipe: pytest alone holds it open.
    """
    running = None
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while True:
            if not selector.select(WATCHDOG):
                return running, True
            data = os.read(fd, 65536)
            if not data:
                return running, False
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["event"] == "start":
                    running = event["name"]
                elif event["event"] == "result":
                    done.append(event["name"])
                    running = None
                    results.add(event["name"], event["outcome"], event["seconds"], event["text"])
