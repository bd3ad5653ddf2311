"""Finds in a kernel log what must never be there."""

import re

# "WARNING:" and "BUG:" begin the kernel's own reports (KASAN's, KFENCE's and lockdep's too).
ALARMS = re.compile(
    r"\b(?:WARNING|BUG|UBSAN): |\bOops\b|\bKASAN\b|\bunreferenced object\b|general protection fault"
    r"|Kernel panic|refcount_t: |\bkernel BUG at\b|possible recursive locking"
)
FOLLOWING_LINES = 12
SHOWN_ALARMS = 5


def alarms(log: str) -> list[str]:
    """The lines that raise an alarm, each with some of what follows it; empty for a clean log."""
    lines = log.splitlines()
    found = [number for number, line in enumerate(lines) if ALARMS.search(line)]
    shown: list[str] = []
    last = -1
    for number in found[:SHOWN_ALARMS]:
        for index in range(max(number, last + 1), min(number + FOLLOWING_LINES, len(lines))):
            shown.append(lines[index])
            last = index
    return shown
