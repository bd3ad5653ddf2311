# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Python codec of the frame socket against the vectors that all languages share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stepscope import frame_wire as wire

VECTORS = Path(__file__).parent.parent / "data/frame-socket-v1.txt"


@dataclass
class Vector:
    kind: str
    name: str
    sender: str = ""
    fds: int = 0
    texts: list[str] = field(default_factory=list)
    data: bytes = b""


def vectors() -> list[Vector]:
    found: list[Vector] = []
    for line in VECTORS.read_text().splitlines():
        key, _, rest = line.partition(" ")
        if key in ("good", "tolerated", "malformed"):
            found.append(Vector(key, rest))
        elif key == "from":
            found[-1].sender = rest
        elif key == "fds":
            found[-1].fds = int(rest)
        elif key == "text":
            found[-1].texts.append(rest)
        elif key == "bytes":
            found[-1].data += bytes.fromhex(rest)
    return found


def joined(values) -> str:
    return ",".join(map(str, values))


def described(message) -> str:
    match message:
        case wire.Failure():
            return f'error code={message.code} text="{message.text}"'
        case wire.End():
            return f'end reason={message.reason} value={message.value} text="{message.text}"'
        case wire.Refused():
            return f'refused number={message.number} what={message.what} text="{message.text}"'
        case wire.Welcome():
            return "welcome " + " ".join(f"{k}={v}" for k, v in vars(message).items())
        case wire.SlotGone():
            return f"slot_gone slot={message.slot}"
        case wire.Slot():
            text = (f"slot slot={message.slot} stream={message.stream} planes={len(message.planes)} "
                    f"files={len(message.sizes)}")
            text += "".join(f" plane{i}={joined(p)}" for i, p in enumerate(message.planes))
            return text + "".join(f" size{i}={s}" for i, s in enumerate(message.sizes))
        case wire.Frame():
            fields = [f"{k}={v}" for k, v in vars(message).items() if k != "damage"]
            return " ".join(["frame", *fields, f"damage={len(message.damage)}",
                             *map(joined, message.damage)])
        case wire.Stream():
            pairs = {"rate": "/", "aspect": "/", "colour": ",", "mastering": ",", "luminance": ",",
                     "light": ","}
            return "stream " + " ".join(
                f"{k}={pairs[k].join(map(str, v)) if k in pairs else v}"
                for k, v in vars(message).items())
    raise AssertionError(message)


WRITTEN = {
    "hello": lambda: wire.hello(1, 15, 2, "agent"),
    "hello-future": lambda: wire.hello(0, 2**63, 0, "", (2, 9)),
    "credits": lambda: wire.credits(3),
    "release": lambda: wire.release(0x0102030405060708),
    "release-fence": lambda: wire.release(7, 1),
    "input-key": lambda: wire.given_input(wire.KEY, True, key="Up"),
    "input-relative": lambda: wire.given_input(wire.RELATIVE, x=1.5, y=-2.25),
    "input-gamepad-button":
        lambda: wire.given_input(wire.GAMEPAD_BUTTON, True, 1, key="dpleft"),
    "input-gamepad-axis": lambda: wire.given_input(wire.GAMEPAD_AXIS, x=-0.75, key="leftx"),
    "step": lambda: wire.step(12),
    "answer-of-an-agent": lambda: (wire.given_input(wire.BUTTON, True, 1) + wire.release(6, 1)
                                   + wire.credits(1) + wire.step(7)),
}


@pytest.mark.parametrize("vector", [v for v in vectors() if v.sender != "consumer"],
                         ids=lambda v: v.name)
def test_what_a_producer_says_is_read(vector):
    if vector.kind == "malformed":
        with pytest.raises(wire.Malformed):
            wire.decode(vector.data, vector.fds)
        return
    messages = wire.decode(vector.data, vector.fds)
    assert [described(message) for message, _ in messages] == vector.texts


@pytest.mark.parametrize("vector", [v for v in vectors()
                                    if v.sender == "consumer" and v.kind == "good"],
                         ids=lambda v: v.name)
def test_what_a_consumer_says_is_written(vector):
    assert WRITTEN[vector.name]() == vector.data
