#!/usr/bin/env python3
"""Runs every test and ends with the line "N passed, N failed, N skipped".

What is run: the build's unit and check programs, once plain and once with the sanitizers; the
session tests (pytest); the kernel suite, in a virtual machine; the quick part of lint. Each
TEST_CASE of a program counts as a test. Started by `./run test`, which prepares the environment and
the plain build; `./run lint` adds clang-tidy, which takes as long as all the rest.
"""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import kernel_tier  # noqa: E402
import lint  # noqa: E402
import programs  # noqa: E402
import sessions  # noqa: E402
from results import FirstTry, Results, become_subreaper, end_stray_processes  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("STEPSCOPE_BUILD", ROOT / "build"))
SANITIZED_BUILD = BUILD.with_name(BUILD.name + "-asan")


def run_on_host(
    tests: list[programs.Program], results: Results | FirstTry
) -> list[programs.Program]:
    """Runs the tests that are wanted; returns those that belong into the virtual machine."""
    wanted = [test for test in tests if results.wants(test.name)]
    programs.run([test for test in wanted if not kernel_tier.is_kernel_test(test)], results)
    return [test for test in wanted if kernel_tier.is_kernel_test(test)]


def run_programs(results: Results) -> None:
    first = FirstTry(results)
    in_machine = run_on_host(programs.tests_of(BUILD, ""), first)
    in_machine += run_sanitized(first)
    kernel_tier.run(in_machine, first)
    tests = [
        test
        for build, prefix in ((BUILD, ""), (SANITIZED_BUILD, "asan/"))
        if first.failures and (build / "build.ninja").exists()
        for test in programs.tests_of(build, prefix)
    ]
    again = first.to_try_again({test.name for test in tests})
    kernel_tier.run(run_on_host([test for test in tests if test.name in again], results), results)


def run_sanitized(results: Results | FirstTry) -> list[programs.Program]:
    # The sanitized build has the same tests; it is only built when one of them is wanted.
    names = [f"asan/{test.name}" for test in programs.tests_of(BUILD, "")]
    names += sessions.SANITIZED_TESTS
    if not any(results.wants(name) for name in names):
        return []
    command = [sys.executable, str(ROOT / "tools/build.py"), str(SANITIZED_BUILD), "--sanitize"]
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode != 0:
        results.add("asan/build", "failed", 0, "the build with the sanitizers failed, see above")
        return []
    os.environ["STEPSCOPE_SANITIZED_BUILD"] = str(SANITIZED_BUILD)
    return run_on_host(programs.tests_of(SANITIZED_BUILD, "asan/"), results)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lint-only", action="store_true")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    arguments = parser.parse_args()
    kernel_tier.wants_host_devices()  # said wrongly, it is said at once
    become_subreaper()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = Results(arguments.patterns)
    try:
        # What takes a second and fails most easily comes first.
        lint.run(ROOT, BUILD, results, tidy=arguments.lint_only)
        if not arguments.lint_only:
            run_programs(results)
            sessions.run(ROOT / "tests/session", BUILD, results)
    except KeyboardInterrupt:
        results.add("run", "failed", 0, "interrupted")
    finally:
        end_stray_processes()
    return results.summarize()


if __name__ == "__main__":
    sys.exit(main())
