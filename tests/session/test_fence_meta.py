# SPDX-License-Identifier: LGPL-2.1-or-later
"""The fence meta from Python: what a consumer without C does with it."""

import os
import select

import gi
import pytest

gi.require_version("Gst", "1.0")
gi.require_version("GstStepscope", "1.0")
from gi.repository import Gio, GLib, Gst, GstStepscope  # noqa: E402

Gst.init(None)


@pytest.fixture
def pending():
    """A fence that is pending, and what signals it."""
    read, write = os.pipe()
    fence = GstStepscope.StepscopeFence.new(read)
    yield fence, lambda: os.write(write, b"x")
    os.close(write)


def test_wait_and_poll(pending):
    fence, signal = pending
    buffer = Gst.Buffer.new_allocate(None, 16, None)
    GstStepscope.buffer_add_stepscope_fence_meta(buffer, fence)
    fence = GstStepscope.buffer_get_stepscope_fence_meta(buffer).fence
    assert not fence.is_ready()
    with pytest.raises(GLib.Error) as error:
        fence.wait(Gst.MSECOND, None)
    assert error.value.matches(Gio.io_error_quark(), Gio.IOErrorEnum.TIMED_OUT)
    assert select.select([fence.get_acquire_fd()], [], [], 0)[0] == []
    signal()
    assert fence.wait(Gst.CLOCK_TIME_NONE, None)
    assert fence.is_ready()
    duplicate = fence.dup_acquire_fd()
    assert select.select([duplicate], [], [], 0)[0] == [duplicate]
    os.close(duplicate)


def test_release_fences(pending):
    fence, _signal = pending
    read, write = os.pipe()
    assert fence.add_release_fd(read)
    assert fence.take_release_fds() == [read]
    late, other = os.pipe()
    with pytest.raises(GLib.Error) as error:
        fence.add_release_fd(late)
    assert error.value.matches(Gio.io_error_quark(), Gio.IOErrorEnum.CLOSED)
    for fd in (read, write, other):
        os.close(fd)
