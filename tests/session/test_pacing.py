# SPDX-License-Identifier: LGPL-2.1-or-later
"""When frames are shown: on an exact beat, or when the game has them."""

from fractions import Fraction

import pytest

from support.pipeline import SINK, SOURCE, Pipeline
from support.session import Session

pytestmark = pytest.mark.usefixtures("runtime")

SECOND = 1_000_000_000


def commit_times(pipeline, seconds):
    """Times of the frames that show the game, of so many seconds."""
    pipeline.numbered()
    times = []
    while not times or times[-1] - times[0] < seconds * SECOND:
        frame = pipeline.pull()
        times.append(frame.reference_time)
        del frame
    return times


def beats_from(times, start, hertz):
    """Numbers of the beats, counted from that frame, that frames were shown on."""
    ticks = [(time - times[start]) * hertz / SECOND for time in times[start:]]
    # Times are whole nanoseconds.
    return [round(tick) for tick in ticks if abs(tick - round(tick)) < 2 * hertz / SECOND]


@pytest.mark.parametrize("rate, hertz, seconds", [
    ("59.94", Fraction(60000, 1001), 10),
    ("60", Fraction(60), 5),
    ("144", Fraction(144), 5),
])
def test_frames_lie_on_the_exact_beat(game, rate, hertz, seconds):
    command, _ = game("wayland", "--vsync", "--paint", "stripe")
    with (Session(*command, options=("-r", rate), size="320x180"),
          Pipeline(f"{SOURCE} ! {SINK}") as pipeline):
        times = commit_times(pipeline, seconds)
    beats = max((beats_from(times, start, hertz) for start in range(5)), key=len)
    # What a busy machine shows after the beat has its own time. Nothing but an exact beat meets it
    # to the nanosecond, and after seconds still.
    assert len(beats) > len(times) / 2
    assert all(b > a for a, b in zip(beats, beats[1:])), "two frames on one beat"
    assert beats[-1] >= 0.9 * seconds * hertz


def test_the_game_sees_the_same_beat(game):
    command, report = game("wayland", "--vsync")
    with Session(*command, options=("-r", "60"), size="320x180"), Pipeline() as pipeline:
        commit_times(pipeline, 1)
    presented = report.events("presented")
    assert {event["refresh_ns"] for event in presented} == {16_666_666}
    times = [event["presented_ns"] for event in presented]
    assert times == sorted(times) and len(set(times)) == len(times)


def test_a_game_slower_than_the_beat_is_shown_once_a_frame(game):
    command, _ = game("wayland", "--rate", 25)
    with Session(*command), Pipeline() as pipeline:
        numbers = [pipeline.numbered().number]
        for _ in range(40):
            numbers.append(pipeline.pull().number)
    assert numbers == sorted(set(numbers))


def test_adaptive_sync_shows_frames_when_they_come(game):
    command, report = game("wayland", "--rate", 47)
    with Session(*command, options=("-r", "144", "--adaptive-sync")), Pipeline() as pipeline:
        pipeline.numbered()
        delays = []
        last = None
        for _ in range(60):
            frame = pipeline.pull()
            painted = report.wait_for("frame", number=frame.number)["time_ns"]
            delays.append(frame.reference_time - painted)
            assert last is None or frame.reference_time - last >= 0.9 * SECOND / 144
            last = frame.reference_time
            del frame
    # Half of them at least within less than half a beat of 144 Hz; on a fixed beat a quarter.
    assert sorted(delays)[len(delays) // 2] < SECOND / 144 / 2


def test_without_a_limit_every_commit_is_a_frame(game):
    command, report = game("wayland", "--rate", 300)
    with (Session(*command, options=("-r", "0"), size="320x180"),
          Pipeline(f"{SOURCE} max-buffers=64 ! {SINK}") as pipeline):
        first = pipeline.numbered().number
        numbers = [first]
        while len(numbers) < 300:
            frame = pipeline.pull()
            numbers.append(frame.number)
            del frame
    assert numbers == sorted(set(numbers))
    # Twice as many as the usual 60 Hz would have let through in the time that the game took.
    shown = {event["number"]: event["time_ns"] for event in report.events("frame")}
    seconds = (shown[numbers[-1]] - shown[numbers[0]]) / SECOND
    assert len(numbers) > 1.5 * 60 * seconds
