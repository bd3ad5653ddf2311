# SPDX-License-Identifier: LGPL-2.1-or-later
"""Recordings of the test game's --beep: when it flashes, when it beeps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.pipeline import Frame, Gst

WHITE = 245  # of 255: brighter on average is a flash
LOUD = 1000  # of 32767
QUIET = 48000 // 4  # samples between two beeps, at least


def flashes(path: Path) -> list[int]:
    """Times in nanoseconds at which a flash begins."""
    times, was_bright = [], True
    for frame in decoded(path, "video/x-raw,format=BGRx"):
        bright = frame.image()[::16, ::16, :3].mean() > WHITE
        if bright and not was_bright:
            times.append(frame.pts)
        was_bright = bright
    return times


def beeps(path: Path) -> list[int]:
    """Times in nanoseconds at which a beep begins."""
    times, quiet_for = [], 0
    for frame in decoded(path, "audio/x-raw,format=S16LE,channels=1,rate=48000,layout=interleaved"):
        ok, info = frame.buffer.map(Gst.MapFlags.READ)
        assert ok
        samples = np.abs(np.frombuffer(info.data, np.int16).astype(np.int32))
        frame.buffer.unmap(info)
        for index, sample in enumerate(samples):
            if sample < LOUD:
                quiet_for += 1
                continue
            if quiet_for > QUIET:
                times.append(frame.pts + index * 1_000_000_000 // 48000)
            quiet_for = 0
    return times


def decoded(path: Path, caps: str):
    kind = "video" if caps.startswith("video") else "audio"
    pipeline = Gst.parse_launch(
        f"filesrc location={path} ! decodebin name=all  all. ! {kind}convert ! {caps} "
        "! appsink name=sink sync=false max-buffers=16")
    sink = pipeline.get_by_name("sink")
    pipeline.set_state(Gst.State.PLAYING)
    try:
        while sample := sink.emit("try-pull-sample", 20 * Gst.SECOND):
            yield Frame(sample)
    finally:
        pipeline.set_state(Gst.State.NULL)


def offsets(path: Path) -> list[float]:
    """For each flash that was heard, how much later, in seconds, its beep came."""
    heard = beeps(path)
    pairs = [(time - seen) / 1e9 for seen in flashes(path) for time in heard]
    return [offset for offset in pairs if abs(offset) < 0.5]
