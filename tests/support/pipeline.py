# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pipelines for tests: their frames, their messages, and input that goes upstream."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass

import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstAllocators", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import Gst, GstAllocators, GstVideo  # noqa: E402

from support import frame_code  # noqa: E402
from support.processes import WATCHDOG  # noqa: E402

Gst.init(None)

SOURCE = "wlscreencopysrc name=source"
SINK = "appsink name=sink sync=false enable-last-sample=false"
COUNTERS = ("frames", "passed-through", "composed", "copied", "dropped", "repeated", "imports")


class PipelineError(Exception):
    """An error message of the bus: its text for people."""


@dataclass
class Frame:
    """A frame that appsink got. It holds the buffer, and so the game's memory."""

    sample: Gst.Sample

    @property
    def buffer(self) -> Gst.Buffer:
        return self.sample.get_buffer()

    @property
    def pts(self) -> int:
        return self.buffer.pts

    @property
    def structure(self) -> Gst.Structure:
        return self.sample.get_caps().get_structure(0)

    @property
    def size(self) -> tuple[int, int]:
        return self.structure.get_value("width"), self.structure.get_value("height")

    @property
    def reference_time(self) -> int:
        """Time of the commit, in CLOCK_MONOTONIC."""
        meta = self.buffer.get_reference_timestamp_meta(None)
        return meta.timestamp

    @property
    def inode(self) -> int:
        fd = GstAllocators.fd_memory_get_fd(self.buffer.peek_memory(0))
        return os.fstat(fd).st_ino

    def image(self) -> np.ndarray:
        """A copy of the pixels: rows, columns, channels."""
        width, height = self.size
        meta = GstVideo.buffer_get_video_meta(self.buffer)
        stride, offset = (meta.stride[0], meta.offset[0]) if meta else (width * 4, 0)
        with self.buffer.map(Gst.MapFlags.READ) as info:
            rows = np.ndarray((height, width, 4), np.uint8, info.data, offset, (stride, 4, 1))
            return rows.copy()

    def check(self) -> frame_code.FrameCheck:
        return frame_code.check_frame(self.image(), self.structure.get_value("format"))

    @property
    def number(self) -> int | None:
        return frame_code.read_frame_number(self.image())


class Pipeline:
    """A pipeline in PLAYING, in NULL after the context."""

    def __init__(self, description: str = ""):
        self.pipeline = Gst.parse_launch(description or f"{SOURCE} ! {SINK}")
        self.bus = self.pipeline.get_bus()
        self.source = self.pipeline.get_by_name("source")
        self.sink = self.pipeline.get_by_name("sink")

    def __enter__(self) -> Pipeline:
        try:
            self.play()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def play(self) -> None:
        if self.pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
            self.raise_errors()
            raise PipelineError("no error was posted")

    def stop(self) -> None:
        self.pipeline.set_state(Gst.State.NULL)

    def raise_errors(self) -> None:
        message = self.bus.pop_filtered(Gst.MessageType.ERROR)
        if message:
            raise PipelineError(message.parse_error()[0].message)

    def pull(self, timeout: float = WATCHDOG, sink: Gst.Element | None = None) -> Frame:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            sample = (sink or self.sink).emit("try-pull-sample", Gst.SECOND // 10)
            if sample:
                return Frame(sample)
            self.raise_errors()
            assert not (sink or self.sink).get_property("eos"), "the stream ended"
        raise AssertionError(f"no frame within {timeout:g} s")

    def pull_until(self, condition, what: str, timeout: float = WATCHDOG) -> Frame:
        """The first frame with a true condition(frame)."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            frame = self.pull(deadline - time.monotonic())
            if condition(frame):
                return frame
            del frame  # with one buffer to hold there is no other before
        raise AssertionError(f"no frame within {timeout:g} s: {what}")

    def numbered(self) -> Frame:
        """The first frame that shows the test game."""
        return self.pull_until(lambda frame: frame.number, "a number of the test game")

    def settled(self, count: int = 5, numbered: bool = True) -> Frame:
        """A frame (of the test game, if `numbered`) after `count` that passed through one after
        another. While a game starts, nobody knows yet how many buffers it has, and its frames may
        be copied."""
        def passes(frame: Frame) -> bool:
            nonlocal streak, last
            stats = self.stats()
            other = stats["composed"] + stats["copied"]
            streak = streak + 1 if other == last and (frame.number or not numbered) else 0
            last = other
            return streak >= count

        streak, last = 0, 0
        return self.pull_until(passes, f"{count} frames that passed through")

    def message(self, kinds: Gst.MessageType, timeout: float = WATCHDOG) -> Gst.Message:
        """The next message of that kind; an error is raised unless it is asked for."""
        message = self.bus.timed_pop_filtered(int(timeout * Gst.SECOND),
                                              kinds | Gst.MessageType.ERROR)
        assert message, f"no message within {timeout:g} s"
        if message.type == Gst.MessageType.ERROR and not kinds & Gst.MessageType.ERROR:
            raise PipelineError(message.parse_error()[0].message)
        return message

    def error(self, timeout: float = WATCHDOG) -> str:
        return self.message(Gst.MessageType.ERROR, timeout).parse_error()[0].message

    def wait_eos(self, timeout: float = WATCHDOG) -> None:
        """Needs a sink that takes frames by itself."""
        self.message(Gst.MessageType.EOS, timeout)

    def drain(self, timeout: float = WATCHDOG) -> int:
        """Takes frames until the stream ends; returns their number."""
        deadline, count = time.monotonic() + timeout, 0
        while time.monotonic() < deadline:
            if self.sink.emit("try-pull-sample", Gst.SECOND // 10):
                count += 1
            else:
                ended = self.sink.get_property("eos")
                self.raise_errors()  # an error ends the stream too
                if ended:
                    return count
        raise AssertionError(f"the stream did not end within {timeout:g} s")

    def stats(self) -> dict[str, int]:
        structure = self.source.get_property("stats")
        return {name: structure.get_value(name) for name in COUNTERS}

    # Input, as a sink with a window sends it.

    def send(self, event: Gst.Event) -> bool:
        return (self.sink or self.pipeline).send_event(event)

    def key(self, name: str, hold: float = 0.05) -> None:
        assert self.send(GstVideo.navigation_event_new_key_press(name, 0))
        time.sleep(hold)
        assert self.send(GstVideo.navigation_event_new_key_release(name, 0))

    def move(self, x: float, y: float) -> None:
        assert self.send(GstVideo.navigation_event_new_mouse_move(x, y, 0))

    def button(self, number: int, x: float, y: float, hold: float = 0.05) -> None:
        assert self.send(GstVideo.navigation_event_new_mouse_button_press(number, x, y, 0))
        time.sleep(hold)
        assert self.send(GstVideo.navigation_event_new_mouse_button_release(number, x, y, 0))

    def scroll(self, x: float, y: float, right: float, up: float) -> None:
        assert self.send(GstVideo.navigation_event_new_mouse_scroll(x, y, right, up, 0))


def launch(description: str, timeout: float = WATCHDOG, **environment: str):
    """gst-launch-1.0 as a person runs it."""
    return subprocess.run(["gst-launch-1.0", *description.split()], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=timeout,
                          env=os.environ | environment, check=False)


def errors_of(output: str) -> list[str]:
    """The errors that gst-launch-1.0 printed, without the names of elements."""
    return re.findall(r"^ERROR: (?:from element|pipeline).*?: (.*)$", output, re.MULTILINE)
