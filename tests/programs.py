"""Runs the test programs of a meson build and counts the test cases inside them."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from results import Result, Results, Run, run_watched

SKIPPED_STATUS = 77
WATCHDOG_FACTOR = 4
SHORTEST_WATCHDOG = 120
LEAKS_OF_OTHERS = Path(__file__).resolve().parent / "support/leaks.supp"
SANITIZER_ENVIRONMENT = {
    # Tests know a sanitizer's complaint in what they start by the exit status.
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
    "LSAN_OPTIONS": f"suppressions={LEAKS_OF_OTHERS}:print_suppressions=0:exitcode=99",
    # GStreamer's scanner is a program without the sanitizers: it cannot load such a plugin.
    "GST_REGISTRY_FORK": "no",
}


@dataclass
class Program:
    name: str
    command: list[str]
    environment: dict[str, str]
    directory: str | None
    watchdog: float
    parallel: bool


def tests_of(build: Path, prefix: str) -> list[Program]:
    """The tests that meson knows, named PREFIX suite/name."""
    listing = subprocess.run(
        ["meson", "introspect", "--tests", str(build)],
        check=True,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    programs = []
    for test in json.loads(listing.stdout):
        suite = test["suite"][0].rpartition(":")[2] if test["suite"] else "tests"
        environment = dict(test["env"])
        if prefix:
            environment = SANITIZER_ENVIRONMENT | environment
        programs.append(
            Program(
                name=f"{prefix}{suite}/{test['name']}",
                command=test["cmd"],
                environment=environment,
                directory=test.get("workdir"),
                watchdog=max(SHORTEST_WATCHDOG, WATCHDOG_FACTOR * (test.get("timeout") or 0)),
                parallel=test["is_parallel"],
            )
        )
    return programs


def run(programs: list[Program], results: Results) -> None:
    workers = max(1, min(4, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda p: run_one(p, results), [p for p in programs if p.parallel]):
            pass
    for program in programs:
        if not program.parallel:
            run_one(program, results)


def is_catch2(executable: str) -> bool:
    try:
        return b"Catch::Session" in Path(executable).read_bytes() or (
            b"N5Catch" in Path(executable).read_bytes()
        )
    except OSError:
        return False


def run_one(program: Program, results: Results) -> None:
    with tempfile.TemporaryDirectory(prefix="stepscope-test-") as scratch:
        scratch_path = Path(scratch)
        runtime = scratch_path / "runtime"
        runtime.mkdir(mode=0o700)
        report = scratch_path / "report"
        environment = dict(os.environ)
        environment |= {
            "XDG_RUNTIME_DIR": str(runtime),
            "GST_REGISTRY": str(scratch_path / "registry.bin"),
            "CK_TAP_LOG_FILE_NAME": str(report),
            "HOME": scratch,
        }
        environment |= program.environment
        command = list(program.command)
        catch2 = is_catch2(command[0])
        if catch2:
            command += ["--reporter", f"junit::out={report}", "--reporter", "console"]
        finished = run_watched(command, program.watchdog, environment, program.directory)
        results.add_group(program.name, finished.seconds, outcomes(program, finished, report, catch2))
        shutil.rmtree(runtime, ignore_errors=True)


def outcomes(program: Program, finished: Run, report: Path, catch2: bool) -> list[Result]:
    name = program.name
    if finished.hung:
        text = f"killed: it still ran after {program.watchdog:.0f} s\n{finished.output}"
        return [Result(name, "failed", text)]
    if finished.status == SKIPPED_STATUS:
        return [Result(name, "skipped", finished.output.strip() or "no reason given")]
    cases = []
    if report.is_file():
        text = report.read_text(errors="replace")
        cases = catch2_cases(name, text) if catch2 else tap_cases(name, text)
    failed = [case for case in cases if case.outcome == "failed"]
    if finished.status != 0 and not failed:
        # It ended in a way that the report does not know: a crash, a sanitizer's complaint.
        cases.append(Result(name, "failed", f"{describe(finished.status)}\n{finished.output}"))
    elif failed:
        # The program's own output says more than the report, and holds all failures at once.
        failed[0].text += f"\n--- output of {name} ---\n{finished.output}"
    return cases or [Result(name, "passed", "")]


def describe(status: int) -> str:
    return f"ended by signal {-status}" if status < 0 else f"exit status {status}"


def catch2_cases(name: str, report: str) -> list[Result]:
    try:
        root = ElementTree.fromstring(report)
    except ElementTree.ParseError:
        return []  # cut off by a crash
    by_case: dict[str, Result] = {}
    for case in root.iter("testcase"):
        # Sections come as "case/section": the TEST_CASE is what counts.
        title = f"{name}: {case.get('name').split('/')[0]}"
        result = by_case.setdefault(title, Result(title, "passed", ""))
        skipped = case.find("skipped")
        bad = [child for tag in ("failure", "error") for child in case.findall(tag)]
        if bad:
            result.outcome = "failed"
            result.text += "\n".join((child.text or child.get("message", "")) for child in bad)
        elif skipped is not None and result.outcome == "passed":
            result.outcome = "skipped"
            result.text = skipped.get("message") or (skipped.text or "no reason given").strip()
    return list(by_case.values())


def tap_cases(name: str, report: str) -> list[Result]:
    cases = []
    for line in report.splitlines():
        match = re.match(r"(not )?ok \d+ - (.*)", line)
        if match:
            title, _, reason = match[2].partition("# SKIP")
            outcome = "failed" if match[1] else "skipped" if reason else "passed"
            cases.append(Result(f"{name}: {title.strip()}", outcome, reason.strip()))
    return cases
