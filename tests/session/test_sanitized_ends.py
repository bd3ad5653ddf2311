# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ends of sessions with the sanitizers: they see what is asked of parts that are gone already."""

import os
from pathlib import Path

import programs
import pytest

import test_lockstep
import test_windows

pytestmark = pytest.mark.usefixtures("runtime", "sanitized")


@pytest.fixture
def sanitized(monkeypatch):
    """The compositor that was built with ASan and UBSan; it aborts where they complain."""
    build = os.environ.get("STEPSCOPE_SANITIZED_BUILD")
    if not build:
        pytest.skip("no build with the sanitizers; `./run test` makes one")
    for name, value in programs.SANITIZER_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=1:exitcode=99")
    monkeypatch.setenv("UBSAN_OPTIONS", "print_stacktrace=1:halt_on_error=1:abort_on_error=1")
    # Elements and the plain game are found beside it as before.
    monkeypatch.setenv("PATH", f"{Path(build) / 'compositor'}:{os.environ['PATH']}")


def test_two_windows(game, backend):
    test_windows.test_windows_that_are_there_at_the_end(game, backend)


def test_a_stepper_that_stays():
    test_lockstep.test_a_session_ends_though_its_game_has_no_time_to(True)
