# SPDX-License-Identifier: LGPL-2.1-or-later
import numpy as np
import pytest

from support import frame_code

NUMBERS = [0, 1, 2, 0x12345678, 0x80000000, 0xFFFFFFFF]


def picture(number: int, input_sequence: int = 0, order: str = "BGRx") -> np.ndarray:
    image = np.full((200, 320, 4), 255, dtype=np.uint8)
    for channel, value in zip(frame_code.ORDERS[order], frame_code.frame_colour(number)):
        image[:, :, channel] = value
    frame_code.write_code(image, 0, number)
    frame_code.write_code(image, frame_code.HEIGHT, input_sequence)
    return image


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("order", ["BGRx", "RGBx"])
def test_numbers_are_read_back(number, order):
    check = frame_code.check_frame(picture(number, number ^ 0xFFFFFFFF, order), order)
    assert check.number == number
    assert check.input_sequence == number ^ 0xFFFFFFFF
    assert check.intact


def test_same_numbers_mean_the_same_as_in_cpp():
    assert frame_code.crc32(0) == 0x2144DF1C
    assert frame_code.crc32(0x12345678) == 0xAF6D87D2
    assert frame_code.frame_colour(0) == (0xCA, 0x2F, 0x0E)
    assert frame_code.frame_colour(0x12345678) == (0x76, 0x60, 0xEA)


@pytest.mark.parametrize("cell", range(frame_code.REFERENCES + frame_code.BITS))
def test_any_damaged_cell_is_noticed(cell):
    image = picture(0x12345678)
    row, column = divmod(cell, frame_code.COLUMNS)
    size = frame_code.CELL
    image[row * size:(row + 1) * size, column * size:(column + 1) * size] ^= 255
    assert frame_code.read_frame_number(image) is None


@pytest.mark.parametrize("value", [0, 128, 255])
def test_pictures_without_a_code_have_no_number(value):
    assert frame_code.read_frame_number(np.full((200, 320, 4), value, dtype=np.uint8)) is None


def test_too_small_a_picture_has_no_number():
    assert frame_code.read_frame_number(picture(7)[:, :frame_code.WIDTH - 1]) is None


@pytest.mark.parametrize("start", [frame_code.BLOCK_HEIGHT, 100, 199])
def test_a_torn_frame_is_noticed(start):
    image = picture(41)
    image[start:] = picture(42)[start:]
    check = frame_code.check_frame(image)
    assert check.number == 41
    assert check.wrong_pixels == (200 - start) * 320
    assert not check.intact
