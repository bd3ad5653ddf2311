# SPDX-License-Identifier: LGPL-2.1-or-later
"""What /proc tells about processes: who belongs to a session, what they have open and mapped."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

WATCHDOG = float(os.environ.get("STEPSCOPE_TEST_WATCHDOG", "60"))  # seconds; only a hang takes as long


def wait_until(condition: Callable[[], object], what: str, timeout: float = WATCHDOG):
    """The first true value of condition(); fails with `what` when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain: {what}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def of_environment(text: str) -> dict[int, str]:
    """Processes, with their names, whose environment contains the text; not this one."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        pid = int(path.parent.name)
        try:
            if pid != os.getpid() and text.encode() in path.read_bytes():
                found[pid] = name_of(pid)
        except OSError:
            pass
    return found


def named(processes: dict[int, str], name: str) -> int:
    """The one process of that name."""
    pids = [pid for pid, its_name in processes.items() if its_name == name]
    assert len(pids) == 1, f"{len(pids)} processes are called {name}: {processes}"
    return pids[0]


def descriptors(pid: int | str = "self") -> dict[int, str]:
    """What each descriptor of a process names."""
    found = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(link.name)] = os.readlink(link)
        except OSError:  # that of the listing itself
            pass
    return found


def descriptor_kinds(pid: int | str = "self") -> list[str]:
    """The same without numbers: what two sessions of the same kind have in common."""
    return sorted(re.sub(r":.*|-session-\w+", "", target) for target in descriptors(pid).values())


def memory_inodes(pid: int) -> set[int]:
    """Inodes of the memory files that a process has open or mapped."""
    inodes = set()
    for fd, target in descriptors(pid).items():
        if target.startswith(("/memfd:", "/dev/shm/")):
            try:
                inodes.add(os.stat(f"/proc/{pid}/fd/{fd}").st_ino)
            except FileNotFoundError:
                pass
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5].startswith(("/memfd:", "/dev/shm/")):
            inodes.add(int(fields[4]))
    return inodes


def files_below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
