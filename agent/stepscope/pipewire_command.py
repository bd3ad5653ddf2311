# SPDX-License-Identifier: LGPL-2.1-or-later
"""The program stepscope-pipewire."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from fractions import Fraction
from pathlib import Path

from stepscope.errors import StepscopeError
from stepscope.session import parse_rate
from stepscope.wire import Connection, Reader, uints

CONTROL_GET_SESSION = 1
SESSION_CREATE_PIPEWIRE_NODE = 4
VERSION = 5
WAIT_SECONDS = 10

EPILOG = """The node has pictures of that size, and at most so many a second. It stays while somebody is linked to
it, and 10 seconds more:

  gst-launch-1.0 pipewiresrc target-object=$(stepscope-pipewire doom 320x180@10) ! ...
"""


class NodeRequest(Connection):
    """Asks a session for a node of its own."""

    def __init__(self, path: Path, size: tuple[int, int], rate: Fraction):
        self.node = ""
        self.serial = 0
        super().__init__(path, WAIT_SECONDS)
        _, version = self.globals.get("stepscope_control_v1", (0, 0))
        if version < VERSION:
            raise StepscopeError(f"the session speaks version {version} of its protocol; "
                                 f"expected {VERSION}: start it with a stepscope of this build")
        control = self.bind("stepscope_control_v1", VERSION)
        session = self.new_id()
        self.send(control, CONTROL_GET_SESSION, uints(session))
        self.send(session, SESSION_CREATE_PIPEWIRE_NODE,
                  uints(self.new_id(self._handle_node), *size, rate.numerator, rate.denominator))
        self.roundtrip()

    def _handle_node(self, _: int, body: Reader) -> None:
        self.node, self.serial = body.string(), body.uint() << 32 | body.uint()


def parse_demand(text: str) -> tuple[tuple[int, int], Fraction]:
    """Size and rate; a rate of 0 for every picture."""
    parts = re.fullmatch(r"(\d{1,5})x(\d{1,5})(?:@(.+))?", text)
    if not parts:
        raise StepscopeError(f"{text} is no size; expected WIDTHxHEIGHT or WIDTHxHEIGHT@RATE, "
                             "for example 320x180@10")
    rate = parse_rate(parts[3]) if parts[3] else Fraction(0)
    return (int(parts[1]), int(parts[2])), rate


def find_control(session: str) -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    path = Path(runtime, "stepscope", session, "control")
    if not runtime or "/" in session or not path.exists():
        raise StepscopeError(f"no session '{session}' runs; stepscope --list names those that do")
    return path


def request_node(session: str, demand: str) -> str:
    """The node's name, once PipeWire has it."""
    size, rate = parse_demand(demand)
    with NodeRequest(find_control(session), size, rate) as request:
        deadline = time.monotonic() + WAIT_SECONDS
        while not request.serial:
            if time.monotonic() > deadline:
                raise StepscopeError("PipeWire did not make the node; see that its daemon runs")
            time.sleep(0.05)
            request.roundtrip()
        return request.node


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="stepscope-pipewire",
        description="Asks a session for a PipeWire video node of a size and rate, prints its name.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("session", metavar="SESSION", help="name, as stepscope --list prints it")
    parser.add_argument("demand", metavar="SIZE[@RATE]", help="320x180, 320x180@10")
    arguments = parser.parse_args()
    try:
        print(request_node(arguments.session, arguments.demand))
        return 0
    except (StepscopeError, OSError) as error:
        print(f"stepscope-pipewire: {error}", file=sys.stderr)
        return 2
