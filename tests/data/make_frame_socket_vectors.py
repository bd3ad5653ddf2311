#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes frame-socket-v1.txt: packets of the frame socket as docs/frame-socket.md lays them out.

Uses none of the project's codecs, which are tested with the result. Version 1 never changes: new
vectors may be added, the old ones stay as they are.
"""

import struct
import sys
from pathlib import Path

NO_TIME = 2**64 - 1


def message(kind: int, body: bytes, fds: int = 0, grow: int = 0) -> bytes:
    size = (8 + len(body) + grow + 7) // 8 * 8
    return (struct.pack("<HHI", kind, fds, size) + body).ljust(size, b"\0")


def error(code: int, text: str) -> bytes:
    return message(0x0001, struct.pack("<II", code, len(text.encode())) + text.encode())


def hello(low: int, high: int, wants: int, capabilities: int, credits: int, name: str) -> bytes:
    raw = name.encode()
    return message(0x0101, b"STEPSOCK" + struct.pack("<HHIQII", low, high, wants, capabilities,
                                                     credits, len(raw)) + raw)


def grant(count: int) -> bytes:
    return message(0x0102, struct.pack("<II", count, 0))


def release(frame: int, fds: int = 0) -> bytes:
    return message(0x0103, struct.pack("<Q", frame), fds)


def given_input(kind: int, pressed: int, button: int, x: float, y: float, key: str) -> bytes:
    raw = key.encode()
    return message(0x0104, struct.pack("<IIIIdd", kind, pressed, button, len(raw), x, y) + raw)


def step(sequence: int) -> bytes:
    return message(0x0105, struct.pack("<Q", sequence))


def welcome(version: int, granted: int, capabilities: int, mode: int, most: int, pid: int) -> bytes:
    return message(0x0201, struct.pack("<HHIQIIII", version, 0, granted, capabilities, mode, most,
                                       pid, 0))


def stream(*, number=1, memory=1, width=640, height=360, fourcc=0x34325258, flags=0, modifier=0,
           rate=(60, 1), aspect=(1, 1), step_ns=0, clock=0, colour=(0, 2, 2, 2),
           mastering=(0,) * 8, luminance=(0, 0), light=(0, 0)) -> bytes:
    return message(0x0202, struct.pack(
        "<IIIIIIQIIIIQIIHHHH8HIIHHIQ", number, memory, width, height, fourcc, flags, modifier, *rate,
        *aspect, step_ns, clock, *colour, 0, *mastering, *luminance, *light, 0, 0))


def slot(number: int, of: int, planes: list, sizes: list, fds: int | None = None) -> bytes:
    body = struct.pack("<IIII", number, of, len(planes), len(sizes))
    for plane in planes + [(0, 0, 0)] * (4 - len(planes)):
        body += struct.pack("<IIQ", *plane)
    body += struct.pack("<4Q", *(sizes + [0] * (4 - len(sizes))))
    return message(0x0203, body, len(sizes) if fds is None else fds)


def slot_gone(number: int) -> bytes:
    return message(0x0204, struct.pack("<II", number, 0))


def frame(number: int, of: int, flags=0, answers=0, step_number=0, pts=NO_TIME, duration=NO_TIME,
          virtual=NO_TIME, wall=NO_TIME, commit=0, inputs=0, path=0, reason=0, dropped=0, damage=(),
          fds=0, count=None) -> bytes:
    body = struct.pack("<QIIQQQQQQQQIIII", number, of, flags, answers, step_number, pts, duration,
                       virtual, wall, commit, inputs, path, reason, dropped,
                       len(damage) if count is None else count)
    return message(0x0205, body + b"".join(struct.pack("<4I", *one) for one in damage), fds)


def end(reason: int, value: int, text: str) -> bytes:
    raw = text.encode()
    return message(0x0206, struct.pack("<IIiI", reason, len(raw), value, 0) + raw)


def refused(number: int, what: int, text: str) -> bytes:
    raw = text.encode()
    return message(0x0207, struct.pack("<QII", number, what, len(raw)) + raw)


NONE = str(NO_TIME)
PLAIN_FRAME = (f"flags=0 answers=0 step=0 pts={NONE} duration={NONE} virtual_time={NONE} "
               f"wall_time={NONE} commit=0 input_sequence=0 path=0 reason=0 dropped=0 damage=0")

# Name, who sends it, descriptors, bytes, and each message as text.
GOOD = [
    ("error", "either", 0, error(4, "another user"), ['error code=4 text="another user"']),
    ("hello", "consumer", 0, hello(1, 1, 1, 15, 2, "agent"),
     ['hello version_min=1 version_max=1 wants=1 capabilities=15 credits=2 name="agent"']),
    ("hello-future", "consumer", 0, hello(2, 9, 0, 2**63, 0, ""),
     ['hello version_min=2 version_max=9 wants=0 capabilities=9223372036854775808 credits=0 '
      'name=""']),
    ("credits", "consumer", 0, grant(3), ["credits count=3"]),
    ("release", "consumer", 0, release(0x0102030405060708), ["release frame=72623859790382856"]),
    ("release-fence", "consumer", 1, release(7, 1), ["release frame=7"]),
    ("input-key", "consumer", 0, given_input(1, 1, 0, 0, 0, "Up"),
     ['input kind=1 pressed=1 button=0 x=0 y=0 key="Up"']),
    ("input-relative", "consumer", 0, given_input(3, 0, 0, 1.5, -2.25, ""),
     ['input kind=3 pressed=0 button=0 x=1.5 y=-2.25 key=""']),
    ("input-gamepad-button", "consumer", 0, given_input(6, 1, 1, 0, 0, "dpleft"),
     ['input kind=6 pressed=1 button=1 x=0 y=0 key="dpleft"']),
    ("input-gamepad-axis", "consumer", 0, given_input(7, 0, 0, -0.75, 0, "leftx"),
     ['input kind=7 pressed=0 button=0 x=-0.75 y=0 key="leftx"']),
    ("step", "consumer", 0, step(12), ["step sequence=12"]),
    ("welcome", "producer", 0, welcome(1, 1, 5, 2, 256, 4711),
     ["welcome version=1 granted=1 capabilities=5 mode=2 max_credits=256 pid=4711"]),
    ("stream", "producer", 0, stream(step_ns=16666667, clock=1),
     ["stream stream=1 memory=1 width=640 height=360 fourcc=875713112 flags=0 modifier=0 rate=60/1 "
      "aspect=1/1 step_ns=16666667 clock=1 colour=0,2,2,2 mastering=0,0,0,0,0,0,0,0 "
      "luminance=0,0 light=0,0"]),
    ("stream-hdr", "producer", 0,
     stream(number=3, memory=2, width=3840, height=2160, fourcc=0x30335258, flags=3,
            modifier=0x0100000000000002, rate=(0, 1), aspect=(4, 3), colour=(1, 9, 16, 0),
            mastering=(35400, 14600, 8500, 39850, 6550, 2300, 15635, 16450),
            luminance=(10000000, 50), light=(1000, 400)),
     ["stream stream=3 memory=2 width=3840 height=2160 fourcc=808669784 flags=3 "
      "modifier=72057594037927938 rate=0/1 aspect=4/3 step_ns=0 clock=0 colour=1,9,16,0 "
      "mastering=35400,14600,8500,39850,6550,2300,15635,16450 luminance=10000000,50 "
      "light=1000,400"]),
    ("slot", "producer", 1, slot(1, 1, [(0, 2560, 4096)], [925696]),
     ["slot slot=1 stream=1 planes=1 files=1 plane0=0,2560,4096 size0=925696"]),
    ("slot-two-files", "producer", 2, slot(9, 3, [(0, 64, 0), (1, 32, 128)], [4096, 8192]),
     ["slot slot=9 stream=3 planes=2 files=2 plane0=0,64,0 plane1=1,32,128 size0=4096 "
      "size1=8192"]),
    ("slot-gone", "producer", 0, slot_gone(9), ["slot_gone slot=9"]),
    ("frame", "producer", 0, frame(1, 1), [f"frame frame=1 slot=1 {PLAIN_FRAME}"]),
    ("frame-full", "producer", 1,
     frame(0x1122334455, 9, 3, 8, 13, 200000000, 16666667, 216666667, 123456789012345, 17, 4, 1, 5, 2,
           [(0, 0, 640, 180), (8, 200, 16, 32)], 1),
     ["frame frame=73588229205 slot=9 flags=3 answers=8 step=13 pts=200000000 duration=16666667 "
      "virtual_time=216666667 wall_time=123456789012345 commit=17 input_sequence=4 path=1 reason=5 "
      "dropped=2 damage=2 0,0,640,180 8,200,16,32"]),
    ("end", "producer", 0, end(3, 11, "the game was ended by signal 11"),
     ['end reason=3 value=11 text="the game was ended by signal 11"']),
    ("end-negative", "producer", 0, end(2, -1, ""), ['end reason=2 value=-1 text=""']),
    ("refused", "producer", 0, refused(5, 0x0104, "no key Upp"),
     ['refused number=5 what=260 text="no key Upp"']),
    ("answer-of-an-agent", "consumer", 1,
     given_input(4, 1, 1, 0, 0, "") + release(6, 1) + grant(1) + step(7),
     ['input kind=4 pressed=1 button=1 x=0 y=0 key=""', "release frame=6", "credits count=1",
      "step sequence=7"]),
    ("slot-and-frame", "producer", 2, slot(2, 1, [(0, 2560, 0)], [921600]) + frame(2, 2, fds=1),
     ["slot slot=2 stream=1 planes=1 files=1 plane0=0,2560,0 size0=921600",
      f"frame frame=2 slot=2 {PLAIN_FRAME}"]),
    ("text-of-8", "producer", 0, end(1, 0, "12345678"), ['end reason=1 value=0 text="12345678"']),
    ("text-of-two-bytes-a-letter", "producer", 0, end(1, 0, "Gr\u00f6\u00dfe"),
     ['end reason=1 value=0 text="Gr\u00f6\u00dfe"']),
]

# As good, but not what this version would write.
TOLERATED = [
    ("unknown-type", "either", 0, message(0x7fff, b"what is this") + error(8, ""),
     ['error code=8 text=""']),
    ("unknown-with-descriptor", "producer", 2, message(0x7ffe, b"", 1) + frame(1, 1, fds=1),
     [f"frame frame=1 slot=1 {PLAIN_FRAME}"]),
    ("longer-than-known", "producer", 0, message(0x0204, struct.pack("<II", 9, 0), grow=24),
     ["slot_gone slot=9"]),
    ("longer-behind-text", "producer", 0,
     message(0x0206, struct.pack("<IIiI", 1, 3, 0, 0) + b"bye", grow=32),
     ['end reason=1 value=0 text="bye"']),
    ("unknown-flags", "producer", 0, frame(1, 1, flags=0xffff0000),
     [f"frame frame=1 slot=1 {PLAIN_FRAME.replace('flags=0', 'flags=4294901760')}"]),
]

MALFORMED = [
    ("empty", "either", 0, b""),
    ("half-a-header", "either", 0, slot_gone(1)[:4]),
    ("half-a-message", "producer", 0, frame(1, 1)[:48]),
    ("garbage", "either", 0, bytes(range(1, 65))),
    ("size-zero", "either", 0, struct.pack("<HHI", 0x0204, 0, 0) + bytes(8)),
    ("size-odd", "either", 0, struct.pack("<HHI", 0x7fff, 0, 12) + bytes(8)),
    ("size-beyond-the-packet", "either", 0, struct.pack("<HHI", 0x7fff, 0, 0xfffffff8) + bytes(8)),
    ("shorter-than-its-type", "producer", 0, message(0x0205, bytes(80))),
    ("text-beyond-its-message", "either", 0, message(0x0001, struct.pack("<II", 1, 9) + b"12345678")),
    ("text-too-long", "either", 0, message(0x0001, struct.pack("<II", 1, 1025) + bytes(1032))),
    ("text-with-a-zero", "either", 0, message(0x0001, struct.pack("<II", 1, 8) + b"1234\x00678")),
    ("descriptor-missing", "producer", 0, slot(1, 1, [(0, 4, 0)], [4096])),
    ("descriptor-nobody-wants", "producer", 1, slot_gone(1)),
    ("descriptor-at-the-wrong-message", "producer", 1, message(0x0204, bytes(8), 1)),
    ("two-fences", "producer", 2, frame(1, 1, fds=2)),
    ("fewer-descriptors-than-files", "producer", 1, slot(1, 1, [(0, 4, 0)], [64, 64], fds=1)),
    ("no-planes", "producer", 1, slot(1, 1, [], [4096])),
    ("plane-in-no-file", "producer", 1, slot(1, 1, [(1, 4, 0)], [4096])),
    ("stream-without-size", "producer", 0, stream(width=0)),
    ("stream-too-large", "producer", 0, stream(height=65536)),
    ("stream-rate-zero", "producer", 0, stream(rate=(60, 0))),
    ("damage-beyond-the-message", "producer", 0, frame(1, 1, count=1)),
    ("damage-without-end", "producer", 0, frame(1, 1, damage=[(0, 0, 1, 1)] * 65)),
    ("hello-of-somebody-else", "consumer", 0, hello(1, 1, 0, 0, 0, "").replace(b"STEPSOCK", b"stepsock")),
    ("hello-version-zero", "consumer", 0, hello(0, 1, 0, 0, 0, "")),
    ("hello-versions-turned-round", "consumer", 0, hello(3, 2, 0, 0, 0, "")),
    ("hello-too-many-credits", "consumer", 0, hello(1, 1, 0, 0, 257, "")),
    ("input-not-a-number", "consumer", 0, given_input(2, 0, 0, float("nan"), 0, "")),
    ("input-half-pressed", "consumer", 0, given_input(1, 2, 0, 0, 0, "a")),
    ("step-without-sequence", "consumer", 0, step(0)),
]


def lines_of(kind: str, name: str, sender: str, fds: int, data: bytes, texts=()) -> list[str]:
    hexed = data.hex()
    rows = [hexed[at:at + 64] for at in range(0, len(hexed), 64)]
    return ["", f"{kind} {name}", f"from {sender}", f"fds {fds}", *(f"text {t}" for t in texts),
            *(f"bytes {row}" for row in rows), "end"]


def main() -> None:
    lines = ["# Packets of the frame socket, version 1 (docs/frame-socket.md).",
             "# Made by make_frame_socket_vectors.py. good: both directions; tolerated: can be read;",
             "# malformed: must be refused. One text line for each message that is known."]
    for kind, group in (("good", GOOD), ("tolerated", TOLERATED), ("malformed", MALFORMED)):
        for entry in group:
            lines += lines_of(kind, *entry)
    target = Path(__file__).with_name("frame-socket-v1.txt")
    target.write_text("\n".join(lines) + "\n")
    print(f"{target}: {len(GOOD)} good, {len(TOLERATED)} tolerated, {len(MALFORMED)} malformed",
          file=sys.stderr)


if __name__ == "__main__":
    main()
