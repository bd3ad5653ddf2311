# SPDX-License-Identifier: LGPL-2.1-or-later
"""Replays traces and tells whether, and where first, a replay is not the same."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stepscope.png import write_png
from stepscope.trace import Run, Trace

# Until the recorded picture of a differing step was seen again.
SEARCHES = 3

# Ends with its parent, however that ends.
BUSY_LOOP = "import ctypes; ctypes.CDLL(None).prctl(1, 9)\nwhile True: pass"


@dataclass
class Difference:
    step: int
    what: str
    picture: np.ndarray | None  # what the replay shows there


@contextlib.contextmanager
def busy_loops() -> Iterator[int]:
    """One process for each processor that does nothing but run; how many there are."""
    count = len(os.sched_getaffinity(0))
    loops: list[subprocess.Popen] = []
    try:
        for _ in range(count):
            loops.append(subprocess.Popen([sys.executable, "-c", BUSY_LOOP]))
        yield count
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def replay(trace: Trace, timeout: float) -> Difference | None:
    """Stops at the first step that is not the same."""
    last = trace.steps[-1].step if trace.steps else 0
    done = 0
    with Run(trace.header, trace.inputs(), timeout) as run:
        for recorded, step in zip(trace.steps, run.steps(last)):
            done += 1
            if what := recorded.difference(step):
                return Difference(step.step, what, shown_by(run))
        if done < len(trace.steps):
            return Difference(done + 1, "the replay ended before it", shown_by(run))
    return None


def shown_by(run: Run) -> np.ndarray | None:
    return None if run.picture is None else run.picture.rgb_copy()


def find_recorded_picture(trace: Trace, at: int, timeout: float) -> np.ndarray | None:
    """A trace has hashes, not pictures: another replay that is the same up to there shows it."""
    for _ in range(SEARCHES):
        with Run(trace.header, trace.inputs(), timeout) as run:
            for recorded, step in zip(trace.steps, run.steps(at)):
                if recorded.difference(step):
                    break
                if step.step == at:
                    return shown_by(run)
    return None


def save_pictures(
    trace: Trace, difference: Difference, stem: Path, timeout: float
) -> tuple[list[str], str]:
    """Saves both pictures of a differing step; the names, and a remark for what is missing."""
    saved = []
    recorded = find_recorded_picture(trace, difference.step, timeout)
    for name, picture in (("recorded", recorded), ("replayed", difference.picture)):
        if picture is not None:
            path = f"{stem}-step{difference.step}-{name}.png"
            write_png(path, picture)
            saved.append(path)
    remark = ""
    if recorded is None:
        remark = f"no replay of {SEARCHES} more showed the recorded picture again"
    return saved, remark


def with_tier(trace: Trace, tier: str, reason: str) -> Trace:
    header = dataclasses.replace(trace.header, tier=tier, tier_reason=reason)
    return Trace(header, trace.steps)


def describe(trace: Trace) -> str:
    pictures = sum(step.hash is not None for step in trace.steps)
    return f"{len(trace.steps)} steps, {pictures} pictures"
