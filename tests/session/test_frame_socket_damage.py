# SPDX-License-Identifier: LGPL-2.1-or-later
"""Damage of frames in other processes."""

import contextlib
import time

import numpy as np
import pytest

from stepscope import FrameSocket
from support.frame_sink import RATE, STEPPED, Sink
from support.session import Session

pytestmark = pytest.mark.usefixtures("runtime")


def differing(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


def in_damage(frame) -> np.ndarray:
    inside = np.zeros(frame.pixels.shape[:2], dtype=bool)
    for x, y, width, height in frame.damage:
        inside[y:y + height, x:x + width] = True
    return inside


@pytest.mark.parametrize("chained", [False, True], ids=["fencesink", "fencesrc-fencesink"])
def test_damage_is_what_changed(game, chained):
    command, _ = game("wayland", "--rate", RATE, "--size", "320x200", "--fullscreen",
                      "--paint", "stripe")
    with (contextlib.ExitStack() as stack,
          Session(*command, options=("--lockstep",), size="320x200"),
          Sink(STEPPED, "wait=steps") as sink):
        if chained:
            sink = stack.enter_context(Sink(f"fencesrc steps=true socket-path={sink.path}",
                                            "wait=steps", sink.path.with_name("second")))
        agent = stack.enter_context(FrameSocket(sink.path, steps=True))
        frame = agent.next()
        assert not frame.damage and not frame.repeated, "there is no frame before the first"
        known = 0
        while known < 50:
            before = np.array(frame.pixels)
            frame.release()
            frame = agent.step()
            assert frame.step < 500, "no frame tells its damage"
            if frame.repeated or not frame.damage:
                continue
            known += 1
            outside = ~in_damage(frame)
            assert outside.mean() > 0.5, f"it says that nearly all has changed: {frame.damage}"
            assert not (differing(before, frame.pixels) & outside).any()
            assert differing(before, frame.pixels).any()


def test_damage_of_frames_that_were_left_out_is_not_lost(game):
    command, _ = game("wayland", "--rate", 200, "--size", "320x200", "--fullscreen",
                      "--paint", "stripe")
    with (Session(*command, size="320x200"),
          Sink("wlscreencopysrc max-buffers=4 ! video/x-raw,framerate=0/1") as sink,
          FrameSocket(sink.path, credits=1) as agent):
        before, known, skipped = None, 0, 0
        while known < 20 or skipped < 10:
            with agent.next() as frame:
                pixels = np.array(frame.pixels)
                assert frame.number < 5000, "no frame tells its damage"
                if frame.damage:
                    known += 1
                    skipped += frame.dropped > 0
                    assert not (differing(before, pixels) & ~in_damage(frame)).any()
                before = pixels
                time.sleep(0.02)


def test_what_draws_into_the_picture_hides_its_damage(game):
    command, _ = game("wayland", "--rate", RATE, "--size", "320x200", "--fullscreen",
                      "--paint", "stripe")
    with (Session(*command, options=("--lockstep",), size="320x200"),
          Sink(f"{STEPPED} ! timeoverlay", "wait=steps") as sink,
          FrameSocket(sink.path, steps=True) as agent):
        agent.next().release()
        for _ in range(20):
            with agent.step() as frame:
                assert not frame.damage
