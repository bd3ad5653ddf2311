# SPDX-License-Identifier: LGPL-2.1-or-later
"""A fencesink in a process of its own, and consumers that do not behave."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

from stepscope import FrameSocket
from stepscope import frame_wire as wire
from support.processes import WATCHDOG, descriptors, wait_until

PATTERN = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=BGRx,width=320,height=200,framerate=200/1"
FAST = "videotestsrc pattern=ball ! video/x-raw,format=BGRx,width=320,height=200,framerate=60/1"

RATE = 60
STEPPED = f"wlscreencopysrc mode=lockstep ! video/x-raw,framerate={RATE}/1"


def frames_of(consumer: FrameSocket, count: int) -> list[int]:
    """Numbers of the next frames, which are released."""
    numbers = []
    for _ in range(count):
        with consumer.next() as frame:
            numbers.append(frame.number)
    return numbers


class Sink:
    """gst-launch-1.0 with `source` and a fencesink; its messages are in `log`."""

    def __init__(self, source: str = PATTERN, options: str = "", path: Path | None = None):
        self.path = path or Path(os.environ["XDG_RUNTIME_DIR"]) / "frames"
        self.log_path = self.path.with_name(f"{self.path.name}-{time.monotonic_ns()}.log")
        self.description = f"{source} ! fencesink name=sink socket-path={self.path} {options}"
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Sink:
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["gst-launch-1.0", "-m", *self.description.split()], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: self.listens() or self.process.poll() is not None, "the socket")
        return self

    def listens(self) -> bool:
        """There is a moment between the name and the first connection that it takes."""
        rows = [row.split() for row in Path("/proc/net/unix").read_text().splitlines()]
        return any(row[-1] == str(self.path) and row[3] == "00010000" for row in rows)

    def __exit__(self, kind, *_) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if kind is not None:
            print("\n".join(line for line in self.log().splitlines()
                            if "state-changed" not in line)[-4000:])
        self.log_path.unlink()
        self.path.unlink(missing_ok=True)

    def log(self) -> str:
        """Without the backslashes of structures that are printed."""
        return re.sub(r"\\(.)", r"\1", self.log_path.read_text(errors="replace"))

    def wait_log(self, pattern: str) -> re.Match:
        return wait_until(lambda: re.search(pattern, self.log()), f"'{pattern}' in the log")

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def resident_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def descriptors(self) -> tuple[int, int]:
        """How many it has: all but those of memory, and those."""
        targets = descriptors(self.process.pid).values()
        memory = sum(target.startswith("/memfd:") for target in targets)
        return len(targets) - memory, memory


class Raw:
    """A consumer that says what it is told to."""

    def __init__(self, path: Path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(str(path))
        self.socket.settimeout(WATCHDOG)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.send(data)

    def hello(self, credits: int = 0, capabilities: int = 15, wants: int = 0) -> None:
        self.send(wire.hello(wants, capabilities, credits, "raw"))

    def receive(self) -> list:
        """The messages of the next packet; none at the end."""
        for _ in range(2):
            try:
                packet, fds, _, _ = socket.recv_fds(self.socket, wire.MAX_PACKET, 16)
                break
            except ConnectionResetError:
                continue
        else:
            return []
        messages = wire.decode(packet, len(fds)) if packet else []
        for fd in fds:
            os.close(fd)
        return [message for message, _ in messages]

    def failure(self) -> wire.Failure:
        """What ends the connection."""
        while messages := self.receive():
            for message in messages:
                if isinstance(message, wire.Failure):
                    return message
        raise AssertionError("the connection ended without a reason")

    def readable(self, timeout: float) -> bool:
        return bool(select.select([self.socket], [], [], timeout)[0])
