# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sessions for tests: the real compositor with a game in it, and the proof that nothing is left."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

from support import processes
from support.processes import WATCHDOG, wait_until
from support.wire import SessionClient

WIDTH, HEIGHT = 640, 360


class Session:
    """A compositor that runs `command`; ends it with the context. XDG_RUNTIME_DIR of this process
    says where it lives; `environment` is added to the game's."""

    def __init__(self, *command: str, options: tuple[str, ...] = (), size: str = "",
                 environment: dict[str, str] | None = None, name: str = "",
                 wait_ready: bool = True, program: str | Path = "stepscope"):
        self.runtime = Path(os.environ["XDG_RUNTIME_DIR"])
        width, _, height = (size or f"{WIDTH}x{HEIGHT}").partition("x")
        self.command = [str(program), "-W", width, "-H", height, *options]
        if name:
            self.command += ["--session", name]
        # What all processes of the session have in their environment, and no other.
        self.mark = f"STEPSCOPE_TEST_SESSION={os.getpid()}-{time.monotonic_ns()}"
        marker = dict([self.mark.split("=")])
        self.environment = os.environ | (environment or {}) | marker
        self.game_command = [str(word) for word in command]
        self.log = self.runtime.with_name(f"{self.runtime.name}-{time.monotonic_ns()}.log")
        self.ready: dict[str, str] = {}
        self.wait_ready = wait_ready
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Session:
        self.start()
        return self

    def __exit__(self, kind, *_) -> None:
        self.end()
        output = self.output()
        self.log.unlink()
        if kind is not None:
            print(f"--- stepscope {' '.join(self.game_command)}\n{output}")
        else:
            self.check_end()
            self.check_gone()

    def start(self) -> None:
        reader, writer = os.pipe()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*self.command, "--ready-fd", str(writer), "--", *self.game_command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
                pass_fds=[writer], start_new_session=True)
        os.close(writer)
        try:
            if self.wait_ready:
                self.ready = self.read_ready(reader)
        except BaseException:
            self.end()
            print(self.output())
            raise
        finally:
            os.close(reader)

    @staticmethod
    def read_ready(reader: int) -> dict[str, str]:
        data = b""
        while not data.endswith(b"\n"):
            assert select.select([reader], [], [], WATCHDOG)[0], "the session was not ready in time"
            more = os.read(reader, 4096)
            assert more, "the compositor ended before it was ready"
            data += more
        return dict(word.partition("=")[::2] for word in data.decode().split())

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def name(self) -> str:
        return self.ready["session"]

    @property
    def control(self) -> str:
        return self.ready["control"]

    @property
    def display(self) -> str:
        return self.ready["x11"]

    def client(self) -> SessionClient:
        return SessionClient(self.control)

    def processes(self) -> dict[int, str]:
        return processes.of_environment(self.mark)

    def xwayland(self) -> int:
        return processes.named(self.processes(), "Xwayland")

    def reaper(self) -> int:
        found = []

        def alone() -> bool:
            found[:] = [pid for pid, name in self.processes().items() if name == "stepscope-reap"]
            return len(found) == 1

        # It may not have had a processor yet, to give itself its name; and what it forks has that
        # name, too, until it is another program.
        wait_until(alone, "the reaper, alone")
        return found[0]

    def wait(self, timeout: float = WATCHDOG) -> int:
        """Exit status of the compositor, negative for a signal."""
        return self.process.wait(timeout)

    def end(self) -> None:
        """Asks it to end, then insists."""
        for number, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 20)):
            if self.process.poll() is not None:
                return
            self.process.send_signal(number)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                print(f"stepscope (pid {self.pid}) did not end on signal {number}")

    def check_end(self) -> None:
        number = -self.process.returncode
        assert number in (signal.SIGTERM, signal.SIGKILL) or number <= 0, \
            f"the compositor died of {signal.Signals(number).name}"

    def leftovers(self) -> list[str]:
        left = [f"process {pid} ({name})" for pid, name in self.processes().items()]
        if self.ready:
            folder = Path(self.ready["control"]).parent
            left += [str(folder)] if folder.exists() else []
            number = self.display.removeprefix(":")
            x_files = [Path(f"/tmp/.X11-unix/X{number}"), Path(f"/tmp/.X{number}-lock")]
            left += [str(path) for path in x_files if number and self.owns(path)]
        return left

    @staticmethod
    def owns(path: Path) -> bool:
        """Whether an X file is left over; another server may have taken the number by now."""
        try:
            owner = int(Path(f"/tmp/.X{path.name.strip('.X-lock')}-lock").read_text())
        except (OSError, ValueError):
            owner = 0
        return path.exists() and not processes.is_alive(owner)

    def check_gone(self, timeout: float = 10) -> None:
        left: list[str] = []

        def nothing_left() -> bool:
            left[:] = self.leftovers()
            return not left

        try:
            wait_until(nothing_left, "an end without leftovers", timeout)
        except AssertionError:
            raise AssertionError(f"left after the session: {', '.join(left)}") from None


class Report:
    """The events that the test game writes, one JSON object a line."""

    def __init__(self, path: Path):
        self.path = path

    def all(self) -> list[dict]:
        if not self.path.exists():
            return []
        lines = self.path.read_text().split("\n")
        return [json.loads(line) for line in lines[:-1]]  # the last one may be half written

    def events(self, kind: str, **fields: object) -> list[dict]:
        return [event for event in self.all() if event["event"] == kind
                and all(event.get(key) == value for key, value in fields.items())]

    def wait_for(self, kind: str, timeout: float = WATCHDOG, **fields: object) -> dict:
        """The first such event."""
        return wait_until(lambda: self.events(kind, **fields), f"event {kind} {fields}",
                          timeout)[0]

    def last(self, kind: str) -> dict:
        return self.events(kind)[-1]

    @property
    def pid(self) -> int:
        return self.wait_for("start")["pid"]

    def frames(self) -> int:
        shown = self.events("frame")
        return shown[-1]["number"] if shown else 0
