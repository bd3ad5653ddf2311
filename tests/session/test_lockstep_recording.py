# SPDX-License-Identifier: LGPL-2.1-or-later
"""A recording in lock-step has every frame at its exact time, however slow the encoder is."""

import os
import time

import pytest

from support.pipeline import SOURCE, Gst, Pipeline
from support.session import Session

pytestmark = pytest.mark.usefixtures("runtime")

# Seconds of the game's time; 20 were recorded for the record.
SECONDS = float(os.environ.get("STEPSCOPE_TEST_RECORDING_SECONDS", "1"))
RATE = 30
ENCODER_SECONDS = 0.05  # for a frame, beside what it encodes: slower than the game by half


def test_a_recording_at_4k_with_a_slow_encoder_has_every_frame(game):
    count = round(SECONDS * RATE)
    command, report = game("wayland", "--rate", RATE, "--fullscreen", "--paint", "stripe")
    # The encoder is the machine's smallest: what counts is that it is late each time.
    description = (f"{SOURCE} mode=lockstep num-buffers={count} on-no-frame=error ! "
                   f"video/x-raw,framerate={RATE}/1 ! "
                   "tee name=split  split. ! queue max-size-buffers=1 max-size-bytes=0 "
                   "max-size-time=0 ! appsink name=sink sync=false enable-last-sample=false "
                   "max-buffers=1  split. ! queue max-size-buffers=1 max-size-bytes=0 "
                   "max-size-time=0 ! videoscale method=nearest-neighbour ! "
                   "video/x-raw,width=128,height=72 ! identity name=encoder "
                   f"sleep-time={int(ENCODER_SECONDS * 1e6)} ! fakesink sync=false")
    with Session(*command, options=("--lockstep", "--no-xwayland"), size="3840x2160"):
        pipeline = Pipeline(description.replace("on-no-frame=error ", ""))
        with pipeline:
            begun = time.monotonic()
            numbers, times = [], []
            for _ in range(count):
                frame = pipeline.pull()
                assert frame.size == (3840, 2160)
                numbers.append(frame.number)
                times.append((frame.buffer.pts, frame.buffer.duration, frame.buffer.offset))
                del frame
            took = time.monotonic() - begun
            stats = pipeline.source.get_property("stats")
            dropped, repeated = stats.get_value("dropped"), stats.get_value("repeated")
    first = times[0][2]
    assert [offset for *_, offset in times] == list(range(first, first + count))
    assert all(pts == (step - 1) * Gst.SECOND // RATE for pts, _, step in times)
    assert all(pts + duration == step * Gst.SECOND // RATE for pts, duration, step in times)
    assert dropped == 0
    # All that the game drew, once each; a step before its first frame repeats nothing.
    shown = [number for number in numbers if number]
    distinct = sorted(set(shown))
    assert distinct == list(range(distinct[0], distinct[-1] + 1))
    assert len(shown) - len(distinct) <= repeated
    assert len(distinct) >= count - repeated - 2
    assert report.frames() >= distinct[-1]
    assert took > count * ENCODER_SECONDS / 2, "the encoder was not slow"
