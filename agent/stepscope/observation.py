# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an agent is given to see of a picture."""

from __future__ import annotations

import warnings
import weakref
from typing import Any

import numpy as np
from gymnasium import spaces

from stepscope.control import Picture, copy_channels
from stepscope.errors import StaleObservationWarning, StepscopeError

LUMA = (77, 150, 29)  # of 256, as BT.601 weighs red, green and blue


class Shrinker:
    """Makes `source` rows `target` ones, each the mean of those that it lies over, by area."""

    def __init__(self, source: int, target: int):
        edges = np.linspace(0, source, target + 1)
        first = np.floor(edges[:-1]).astype(int)
        taps = int((np.ceil(edges[1:]) - first).max())
        rows = first + np.arange(taps)[:, None]
        parts = np.minimum(edges[1:], rows + 1) - np.maximum(edges[:-1], rows)
        weights = np.maximum(parts, 0) * (target / source)
        self._rows = np.minimum(rows, source - 1)
        self._weights = weights.astype(np.float32)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        shrunk = np.zeros((self._rows.shape[1], *pixels.shape[1:]), np.float32)
        for rows, weights in zip(self._rows, self._weights):
            shrunk += pixels[rows] * weights[:, None]
        return shrunk


def gray_of(rgb: np.ndarray) -> np.ndarray:
    gray = rgb[..., 0].astype(np.uint16)
    gray *= LUMA[0]
    for channel in (1, 2):
        part = rgb[..., channel].astype(np.uint16)
        part *= LUMA[channel]
        gray += part
    gray >>= 8
    return gray.astype(np.uint8)


class Observer:
    """Makes observations of pictures. Those that are views of the game's memory are valid until the
    step after the next begins; who keeps one for longer is told so, once."""

    def __init__(
        self,
        size: tuple[int, int],
        *,
        gray: bool,
        downsample: int,
        resize: tuple[int, int] | None,
        torch: bool,
        copy: bool,
    ):
        width, height = size
        self._gray = gray
        self._downsample = downsample
        self._torch = torch
        self._copy = copy
        self._shrinkers: tuple[Shrinker, Shrinker] | None = None
        rows, columns = len(range(0, height, downsample)), len(range(0, width, downsample))
        if resize is not None:
            if not isinstance(resize, (tuple, list)) or len(resize) != 2:
                raise StepscopeError(f"resize is {resize!r}; expected a width and a height")
            if not (1 <= resize[0] <= columns and 1 <= resize[1] <= rows):
                raise StepscopeError(
                    f"resize is {tuple(resize)}; expected a width of 1 to {columns} and a height of "
                    f"1 to {rows}"
                )
            self._shrinkers = Shrinker(rows, resize[1]), Shrinker(columns, resize[0])
            columns, rows = resize
        shape = (rows, columns) if gray else (rows, columns, 3)
        self.space = spaces.Box(0, 255, shape, np.uint8)
        # Of the newest view that was handed out, and of the one before it.
        self._last: weakref.ref | None = None
        self._older: weakref.ref | None = None
        self._warned = False

    def observe(self, picture: Picture) -> Any:
        self._older, self._last = self._last, None
        pixels = picture.rgb()[:: self._downsample, :: self._downsample]
        if self._gray:
            pixels = gray_of(pixels)
        if self._shrinkers is not None:
            pixels = self._shrink(pixels)
        elif not self._gray and (self._copy or self._torch):
            pixels = copy_channels(pixels)
        elif not self._gray:
            # An object of its own, which every array that is made of it keeps alive.
            pixels = np.asarray(memoryview(pixels))
            self._last = weakref.ref(pixels)
        if self._torch:
            import torch

            return torch.from_numpy(pixels)
        return pixels

    def begin_step(self) -> None:
        """The memory of the observation before the newest is about to go back to the game."""
        if self._older is None or self._warned or self._older() is None:
            return
        self._warned = True
        warnings.warn(
            "an observation of an earlier step is still held, and the game draws into its memory; "
            "copy what is to be kept, or give copy_observations=True",
            StaleObservationWarning,
            stacklevel=5,  # the caller of step()
        )

    def begin_episode(self) -> None:
        """What was seen before is of no concern any more."""
        self._older = self._last = None

    def _shrink(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.ndim == 3:
            return np.stack([self._shrink(pixels[..., channel]) for channel in range(3)], axis=2)
        rows, columns = self._shrinkers
        # The gather takes whole rows, so the second way goes over rows as well.
        narrow = columns(np.ascontiguousarray(rows(pixels).T)).T
        return np.ascontiguousarray(np.rint(narrow).astype(np.uint8))
