# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pictures as PNG files, with nothing but zlib."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(path: str | os.PathLike, rgb: np.ndarray) -> None:
    """An array of shape (height, width, 3) and type uint8."""
    height, width, _ = rgb.shape
    rows = np.zeros((height, 1 + width * 3), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = rgb.reshape(height, -1)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.write(_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)))
        file.write(_chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)))
        file.write(_chunk(b"IEND", b""))
