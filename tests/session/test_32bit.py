# SPDX-License-Identifier: LGPL-2.1-or-later
"""32-bit programs in a lock-step session, beside 64-bit ones."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest

from stepscope.control import Control, Status
from support.processes import wait_until
from support.session import Session

pytestmark = pytest.mark.usefixtures("runtime")

STEP_NS = 20_000_000
TICKS_PER_STEP = 2
STEP_TIMEOUT_MS = 60_000


@pytest.fixture(params=["clock_program_32", "clock_program_32_time64"])
def program(request) -> Path:
    """Prints a line with the time every 10 ms of it."""
    path = Path(shutil.which("stepscope")).parent.parent / "tests" / "guest" / request.param
    if not path.exists():
        pytest.skip("the compiler could not build 32-bit programs")
    return path


def ticks(session: Session) -> list[int]:
    return [int(value) for value in re.findall(r"^tick \d+ (\d+)$", session.output(), re.M)]


def test_a_program_that_will_run_on_real_time_is_named(program, tmp_path):
    # As installed where the compiler could build for 64 bits alone.
    library = tmp_path / "libstepscope-clock.so"
    shutil.copy(program.parent.parent.parent / "guest" / library.name, library)
    with Session(program, "busy", options=("--lockstep", "--no-xwayland"),
                 environment={"STEPSCOPE_CLOCK_LIBRARY": str(library)}) as session:
        wait_until(lambda: "library for those is missing" in session.output(), "the message")
        assert f"'{program}' is a 32-bit program" in session.output()


def test_a_32_bit_program_lives_in_the_games_time(program):
    script = f"{program} ticks & exec stepscope-testgame --backend wayland --rate 50 --fullscreen"
    with (Session("sh", "-c", script, options=("--lockstep",)) as session,
          Control(session.control) as control):
        for _ in range(25):
            result = control.step(STEP_NS, STEP_TIMEOUT_MS)
            assert result.status in (Status.PRESENTED, Status.NO_COMMIT), result.message
        seen = ticks(session)
        assert len(seen) >= 25 * TICKS_PER_STEP - 5
        assert {after - before for before, after in zip(seen, seen[1:])} == {10_000_000}
        time.sleep(0.5)
        assert ticks(session) == seen
        control.step(STEP_NS, STEP_TIMEOUT_MS)
        assert len(ticks(session)) == len(seen) + TICKS_PER_STEP
        # The loader has complained of nothing: each process got the library of its kind.
        assert "ld.so" not in session.output()
