#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Catch: balls fall, the paddle goes Left and Right; a strip below turns green for a ball that was
caught and red for one that was not. An ordinary SDL 2 program that knows nothing of agents."""

import ctypes
import ctypes.util
import random
import sys

CELL, COLUMNS, ROWS = 16, 10, 10
PADDLE = 3  # cells
TICK_MS = 33
SCANCODE_RIGHT, SCANCODE_LEFT = 79, 80
INIT_VIDEO, SHOWN, QUIT, POSITION_ANY = 0x20, 0x4, 0x100, 0x1FFF0000
BLACK, WHITE, BLUE, GREEN, RED = 0x000000, 0xFFFFFF, 0x4060FF, 0x00FF00, 0xFF0000

sdl = ctypes.CDLL(ctypes.util.find_library("SDL2-2.0") or "libSDL2-2.0.so.0")
sdl.SDL_CreateWindow.restype = ctypes.c_void_p
sdl.SDL_GetWindowSurface.restype = ctypes.c_void_p
sdl.SDL_GetKeyboardState.restype = ctypes.POINTER(ctypes.c_uint8)


class Rect(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in "xywh"]


def main() -> int:
    if sdl.SDL_Init(INIT_VIDEO) != 0:
        return 1
    size = CELL * COLUMNS, CELL * (ROWS + 1)
    window = ctypes.c_void_p(sdl.SDL_CreateWindow(b"Catch", POSITION_ANY, POSITION_ANY, *size, SHOWN))
    held = sdl.SDL_GetKeyboardState(None)
    event = (ctypes.c_uint8 * 128)()
    paddle, ball, row, strip = (COLUMNS - PADDLE) // 2, random.randrange(COLUMNS), 0, BLACK
    while True:
        while sdl.SDL_PollEvent(event):
            if int.from_bytes(bytes(event[:4]), sys.byteorder) == QUIT:
                return 0
        paddle += held[SCANCODE_RIGHT] - held[SCANCODE_LEFT]
        paddle = min(max(paddle, 0), COLUMNS - PADDLE)
        row += 1
        strip = BLACK
        if row == ROWS - 1:
            strip = GREEN if paddle <= ball < paddle + PADDLE else RED
            ball, row = random.randrange(COLUMNS), 0
        surface = ctypes.c_void_p(sdl.SDL_GetWindowSurface(window))
        for x, y, width, height, colour in (
            (0, 0, COLUMNS, ROWS, BLACK),
            (ball, row, 1, 1, WHITE),
            (paddle, ROWS - 1, PADDLE, 1, BLUE),
            (0, ROWS, COLUMNS, 1, strip),
        ):
            area = Rect(x * CELL, y * CELL, width * CELL, height * CELL)
            sdl.SDL_FillRect(surface, ctypes.byref(area), colour)
        sdl.SDL_UpdateWindowSurface(window)
        sdl.SDL_Delay(TICK_MS)


if __name__ == "__main__":
    sys.exit(main())
