# SPDX-License-Identifier: LGPL-2.1-or-later
"""The frame socket's messages as a consumer says and hears them: bytes to values and back."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from stepscope.errors import StepscopeError

VERSION = 1
MAX_PACKET = 16384
MAX_FDS = 16
MAX_TEXT = 1024
MAX_CREDITS = 256
NO_TIME = 2**64 - 1

WANT_STEPS = 1
MEMFD, DMABUF, ACQUIRE_FENCE, RELEASE_FENCE = 1, 2, 4, 8  # capabilities
MODE_LIVE, MODE_CREDITS, MODE_STEPS = 0, 1, 2
REPEATED, DISCONTINUITY = 1, 2  # flags of a frame
KEY, MOTION, RELATIVE, BUTTON, AXIS = 1, 2, 3, 4, 5  # kinds of input
GAMEPAD_BUTTON, GAMEPAD_AXIS = 6, 7
END_STREAM, END_EXITED, END_CRASHED, END_STOPPED, END_FAILED = 1, 2, 3, 4, 5

ERROR = 0x0001
HELLO, CREDITS, RELEASE, INPUT, STEP = 0x0101, 0x0102, 0x0103, 0x0104, 0x0105
WELCOME, STREAM, SLOT, SLOT_GONE, FRAME, END, REFUSED = range(0x0201, 0x0208)

HEADER = struct.Struct("<HHI")
STREAM_BODY = struct.Struct("<IIIIIIQIIIIQIIHHHH8HIIHHIQ")
FRAME_BODY = struct.Struct("<QIIQQQQQQQQIIII")


class Malformed(StepscopeError):
    """The producer sent what is no message."""


@dataclass
class Failure:
    code: int
    text: str


@dataclass
class Welcome:
    version: int
    granted: int
    capabilities: int
    mode: int
    max_credits: int
    pid: int


@dataclass
class Stream:
    stream: int
    memory: int
    width: int
    height: int
    fourcc: int
    flags: int
    modifier: int
    rate: tuple[int, int]
    aspect: tuple[int, int]
    step_ns: int
    clock: int
    colour: tuple[int, int, int, int]
    mastering: tuple[int, ...]
    luminance: tuple[int, int]
    light: tuple[int, int]


@dataclass
class Slot:
    slot: int
    stream: int
    planes: list[tuple[int, int, int]]  # file, stride, offset
    sizes: list[int]


@dataclass
class SlotGone:
    slot: int


@dataclass
class Frame:
    frame: int
    slot: int
    flags: int
    answers: int
    step: int
    pts: int
    duration: int
    virtual_time: int
    wall_time: int
    commit: int
    input_sequence: int
    path: int
    reason: int
    dropped: int
    damage: list[tuple[int, int, int, int]] = field(default_factory=list)


@dataclass
class End:
    reason: int
    value: int
    text: str


@dataclass
class Refused:
    number: int
    what: int
    text: str


Message = Failure | Welcome | Stream | Slot | SlotGone | Frame | End | Refused


def _text(body: bytes, offset: int, size: int) -> str:
    if size > MAX_TEXT or offset + size > len(body):
        raise Malformed("a text is longer than its message, or than 1024 bytes")
    raw = body[offset : offset + size]
    if b"\0" in raw:
        raise Malformed("a text has a zero byte in it")
    return raw.decode(errors="replace")


def _failure(body: bytes) -> Failure:
    code, size = struct.unpack_from("<II", body)
    return Failure(code, _text(body, 8, size))


def _welcome(body: bytes) -> Welcome:
    version, _, granted, capabilities, mode, most, pid, _ = struct.unpack_from("<HHIQIIII", body)
    return Welcome(version, granted, capabilities, mode, most, pid)


def _stream(body: bytes) -> Stream:
    values = STREAM_BODY.unpack_from(body)
    stream = Stream(
        *values[:7], values[7:9], values[9:11], values[11], values[12], values[13:17],
        values[18:26], values[26:28], values[28:30],
    )  # fmt: skip
    if not (0 < stream.width <= 65535 and 0 < stream.height <= 65535):
        raise Malformed("a side of the picture is not within 1 to 65535")
    if 0 in (stream.rate[1], *stream.aspect):
        raise Malformed("a fraction of the stream has a zero")
    return stream


def _slot(body: bytes) -> Slot:
    number, stream, planes, files = struct.unpack_from("<IIII", body)
    all_planes = [struct.unpack_from("<IIQ", body, 16 + 16 * index) for index in range(4)]
    sizes = struct.unpack_from("<4Q", body, 80)
    if not (1 <= planes <= 4 and 1 <= files <= 4):
        raise Malformed("a slot has not 1 to 4 planes and files")
    if any(plane[0] >= files for plane in all_planes[:planes]):
        raise Malformed("a plane lies in no file of its slot")
    return Slot(number, stream, all_planes[:planes], list(sizes[:files]))


def _slot_gone(body: bytes) -> SlotGone:
    return SlotGone(struct.unpack_from("<I", body)[0])


def _frame(body: bytes) -> Frame:
    *values, count = FRAME_BODY.unpack_from(body)
    if count > 64 or FRAME_BODY.size + 16 * count > len(body):
        raise Malformed("a list is longer than its message, or than it may be")
    damage = [struct.unpack_from("<4I", body, FRAME_BODY.size + 16 * at) for at in range(count)]
    return Frame(*values, damage)


def _end(body: bytes) -> End:
    reason, size, value, _ = struct.unpack_from("<IIiI", body)
    return End(reason, value, _text(body, 16, size))


def _refused(body: bytes) -> Refused:
    number, what, size = struct.unpack_from("<QII", body)
    return Refused(number, what, _text(body, 16, size))


# Reader, fewest bytes of the body.
_READERS = {
    ERROR: (_failure, 8),
    WELCOME: (_welcome, 32),
    STREAM: (_stream, 112),
    SLOT: (_slot, 112),
    SLOT_GONE: (_slot_gone, 8),
    FRAME: (_frame, 96),
    END: (_end, 16),
    REFUSED: (_refused, 16),
}


def decode(packet: bytes, fds: int) -> list[tuple[Message, range]]:
    """The messages of a packet, and which of its descriptors are each one's. Unknown ones, and those
    that only consumers say, are left out."""
    if not packet or len(packet) > MAX_PACKET:
        raise Malformed(f"a packet of {len(packet)} bytes; expected 8 to {MAX_PACKET}")
    messages: list[tuple[Message, range]] = []
    offset = used = 0
    while offset < len(packet):
        if len(packet) - offset < HEADER.size:
            raise Malformed(f"{len(packet) - offset} bytes at byte {offset} are no whole message")
        kind, own, size = HEADER.unpack_from(packet, offset)
        if size < HEADER.size or size % 8 or offset + size > len(packet):
            raise Malformed(f"message 0x{kind:04x} has a size of {size} bytes")
        if used + own > fds:
            raise Malformed(f"message 0x{kind:04x} has fewer descriptors than it should")
        if kind in _READERS:
            read, least = _READERS[kind]
            body = packet[offset + HEADER.size : offset + size]
            if len(body) < least:
                raise Malformed(f"message 0x{kind:04x} is shorter than its type says")
            message = read(body)
            wanted = len(message.sizes) if isinstance(message, Slot) else None
            most = 1 if isinstance(message, Frame) else 0
            if own != wanted if wanted is not None else own > most:
                raise Malformed(f"message 0x{kind:04x} has {own} descriptors")
            messages.append((message, range(used, used + own)))
        used += own
        offset += size
    if used != fds:
        raise Malformed(f"{fds} descriptors came with a packet whose messages have {used}")
    return messages


def _message(kind: int, body: bytes, fds: int = 0) -> bytes:
    size = (HEADER.size + len(body) + 7) // 8 * 8
    return (HEADER.pack(kind, fds, size) + body).ljust(size, b"\0")


def hello(wants: int, capabilities: int, credits: int, name: str,
          versions: tuple[int, int] = (VERSION, VERSION)) -> bytes:  # fmt: skip
    raw = name.encode()[:MAX_TEXT]
    fields = struct.pack("<HHIQII", *versions, wants, capabilities, credits, len(raw))
    return _message(HELLO, b"STEPSOCK" + fields + raw)


def credits(count: int) -> bytes:
    return _message(CREDITS, struct.pack("<II", count, 0))


def release(frame: int, fds: int = 0) -> bytes:
    return _message(RELEASE, struct.pack("<Q", frame), fds)


def given_input(kind: int, pressed: bool = False, button: int = 0, x: float = 0, y: float = 0,
                key: str = "") -> bytes:  # fmt: skip
    raw = key.encode()
    if len(raw) > MAX_TEXT:
        raise StepscopeError(f"the name of a key has {len(raw)} bytes; at most {MAX_TEXT} can be")
    return _message(
        INPUT, struct.pack("<IIIIdd", kind, int(pressed), button, len(raw), x, y) + raw
    )


def step(sequence: int) -> bytes:
    return _message(STEP, struct.pack("<Q", sequence))
