# SPDX-License-Identifier: LGPL-2.1-or-later
"""The number that every frame of the test game shows; tests/game/frame_code.hpp describes it.

Images are numpy arrays of shape (height, width, channels >= 3) and type uint8. ORDERS says where
red, green and blue are; the game draws BGRx.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

CELL = 8
COLUMNS = 17
ROWS = 4
REFERENCES = 3
BITS = 64
WIDTH = COLUMNS * CELL
HEIGHT = ROWS * CELL
BLOCK_HEIGHT = 2 * HEIGHT

ORDERS = {"BGRx": (2, 1, 0), "BGRA": (2, 1, 0), "RGBx": (0, 1, 2), "RGBA": (0, 1, 2),
          "RGB": (0, 1, 2), "BGR": (2, 1, 0)}


def crc32(value: int) -> int:
    return zlib.crc32(value.to_bytes(4, "little"))


def frame_colour(number: int) -> tuple[int, int, int]:
    """(red, green, blue) around the code of frame `number` where the game paints all of it."""
    value = (number + 0x9E3779B9) & 0xFFFFFFFF
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    value ^= value >> 16
    return (value >> 16) & 0xFF, (value >> 8) & 0xFF, value & 0xFF


def write_code(image: np.ndarray, y: int, value: int) -> None:
    """Writes a code with its top-left pixel at (0, y). Writes nothing where it does not fit."""
    if image.shape[1] < WIDTH or image.shape[0] < y + HEIGHT:
        return
    bits = value | (crc32(value) << 32)
    cells = [1, 0, 1] + [(bits >> i) & 1 for i in range(BITS)] + [0]
    block = np.array(cells, dtype=np.uint8).reshape(ROWS, COLUMNS) * np.uint8(255)
    pixels = block.repeat(CELL, axis=0).repeat(CELL, axis=1)
    image[y:y + HEIGHT, :WIDTH, :3] = pixels[:, :, None]


def read_code(image: np.ndarray, y: int) -> int | None:
    """The code at (0, y); None if there is none or it is damaged."""
    if image.shape[1] < WIDTH or image.shape[0] < y + HEIGHT:
        return None
    cells = image[y:y + HEIGHT, :WIDTH, 1].reshape(ROWS, CELL, COLUMNS, CELL)
    middle = slice(CELL // 2 - 1, CELL // 2 + 1)
    brightness = cells[:, middle, :, middle].astype(int).sum(axis=(1, 3)).ravel()
    white, black = brightness[0], brightness[1]
    if white - black < 4 * 64:
        return None
    lit = brightness > (white + black) // 2
    if not lit[2]:
        return None
    bits = sum(1 << i for i in range(BITS) if lit[REFERENCES + i])
    value, check = bits & 0xFFFFFFFF, bits >> 32
    return value if crc32(value) == check else None


def read_frame_number(image: np.ndarray) -> int | None:
    return read_code(image, 0)


def read_input_sequence(image: np.ndarray) -> int | None:
    return read_code(image, HEIGHT)


@dataclass
class FrameCheck:
    """`number` is None where the code can't be read; `wrong_pixels` are those outside the code
    that have not the number's colour."""

    number: int | None
    input_sequence: int | None
    wrong_pixels: int = 0

    @property
    def intact(self) -> bool:
        return self.number is not None and self.wrong_pixels == 0


def check_frame(image: np.ndarray, order: str = "BGRx", tolerance: int = 0) -> FrameCheck:
    """Reads the numbers of a frame painted with `--paint full` and compares every pixel outside
    the code with the number's colour: a frame that is torn, or that changed while it was held,
    has wrong pixels."""
    result = FrameCheck(read_frame_number(image), read_input_sequence(image))
    if result.number is None:
        return result
    wrong = np.zeros(image.shape[:2], dtype=bool)
    for channel, expected in zip(ORDERS[order], frame_colour(result.number)):
        wrong |= np.abs(image[:, :, channel].astype(np.int16) - expected) > tolerance
    wrong[:BLOCK_HEIGHT, :WIDTH] = False
    result.wrong_pixels = int(wrong.sum())
    return result
