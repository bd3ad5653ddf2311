# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pipelines that people write, on a session with the test game in it."""

import json
import subprocess
import time

import numpy as np
import pytest

from support.pipeline import SINK, SOURCE, Gst, GstVideo, Pipeline, launch
from support.processes import WATCHDOG
from support.session import HEIGHT, WIDTH, Session

pytestmark = pytest.mark.usefixtures("runtime")


def test_gst_launch_shows_a_game(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command):
        done = launch("-v wlscreencopysrc num-buffers=30 ! videoconvert ! video/x-raw,format=I420 "
                      "! fakesink sync=true")
        assert done.returncode == 0, done.stderr
        assert f"width=(int){WIDTH}, height=(int){HEIGHT}" in done.stdout


def test_both_branches_of_a_tee_get_every_frame(game):
    command, _ = game("wayland", "--rate", 60)
    queue = "t. ! queue max-size-buffers=1 ! appsink sync=false enable-last-sample=false"
    with Session(*command), Pipeline(f"{SOURCE} max-buffers=8 num-buffers=40 ! tee name=t "
                                     f"{queue} name=sink {queue} name=other") as pipeline:
        other = pipeline.pipeline.get_by_name("other")
        for _ in range(40):
            one, two = pipeline.pull(), pipeline.pull(sink=other)
            assert one.pts == two.pts and one.inode == two.inode
            assert np.array_equal(one.image(), two.image())


def test_appsink_gives_a_view_of_the_games_memory(game):
    command, report = game("wayland", "--rate", 60)
    with Session(*command), Pipeline() as pipeline:
        frame = pipeline.numbered()
        with frame.buffer.map(Gst.MapFlags.READ) as info:
            view = np.frombuffer(info.data, np.uint8)
            assert not view.flags.owndata and view.size >= WIDTH * HEIGHT * 4
            del view
        assert frame.check().intact
        assert frame.number <= report.frames()


def test_starts_and_stops_ten_times_in_one_process(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command):
        pipeline = Pipeline()
        numbers = []
        for _ in range(10):
            with pipeline:
                numbers.append(pipeline.numbered().number)
                assert pipeline.pull().check().number > numbers[-1]
        assert numbers == sorted(set(numbers))


def test_a_pause_does_not_bring_old_frames(game):
    command, report = game("wayland", "--rate", 60)
    with Session(*command), Pipeline() as pipeline:
        pipeline.numbered()
        pipeline.pipeline.set_state(Gst.State.PAUSED)
        pipeline.pipeline.get_state(Gst.CLOCK_TIME_NONE)
        shown = report.frames()
        report.wait_for("frame", number=shown + 20)
        while pipeline.sink.emit("try-pull-sample", 0):
            pass
        pipeline.pipeline.set_state(Gst.State.PLAYING)
        # What was under way when it paused may still come.
        pipeline.pull()
        pipeline.pull_until(lambda frame: frame.number > shown + 15, "a new frame", 5)


@pytest.mark.parametrize("rate", ["30/1", "30000/1001", "100/1"])
def test_a_framerate_in_the_caps_is_kept_exactly(game, rate):
    command, _ = game("wayland", "--rate", 20)
    numerator, denominator = map(int, rate.split("/"))
    with Session(*command), Pipeline(f"{SOURCE} ! video/x-raw,framerate={rate} ! "
                                     f"{SINK}") as pipeline:
        frames = [pipeline.pull() for _ in range(2)]
        seconds = [frame.pts / Gst.SECOND for frame in frames]
        numbers = []
        for _ in range(40):
            frame = pipeline.pull()
            seconds.append(frame.pts / Gst.SECOND)
            numbers.append(frame.number)
            del frame
        steps = [(second - seconds[0]) * numerator / denominator for second in seconds]
        assert all(abs(step - round(step)) < 1e-4 for step in steps)
        # A machine too slow for the rate leaves ticks out; it never puts two on one.
        assert all(round(b) > round(a) for a, b in zip(steps, steps[1:]))
        seen = [number for number in numbers if number]
        assert seen == sorted(seen) and len(set(seen)) < len(seen)
        stats = pipeline.stats()
        assert stats["repeated"] > 0
        assert stats["frames"] >= 42


def test_a_game_that_stands_still_is_repeated_after_a_pause_and_at_another_rate(game):
    command, _ = game("wayland", "--rate", 0.01)  # two pictures in two minutes
    with Session(*command), Pipeline(
            f"{SOURCE} ! capsfilter name=caps caps=video/x-raw,framerate=30/1 ! {SINK} "
            "max-buffers=1") as pipeline:
        number = pipeline.numbered().number
        pipeline.pipeline.set_state(Gst.State.PAUSED)
        pipeline.pipeline.set_state(Gst.State.PLAYING)
        for _ in range(5):  # more than sink and source had at hand
            frame = pipeline.pull()
            assert frame.number == number and frame.buffer.has_flags(Gst.BufferFlags.GAP)
        for rate in (60, 25):
            pipeline.pipeline.get_by_name("caps").set_property(
                "caps", Gst.Caps.from_string(f"video/x-raw,framerate={rate}/1"))
            frame = pipeline.pull_until(
                lambda frame: frame.structure.get_fraction("framerate")[1] == rate,
                f"caps with {rate} frames per second")
            assert frame.number == number and frame.buffer.has_flags(Gst.BufferFlags.GAP)


def test_a_size_in_the_caps_resizes_the_game(game, backend):
    command, report = game(backend, "--rate", 60)
    capsfilter = "capsfilter name=filter caps=video/x-raw"
    with Session(*command), Pipeline(f"{SOURCE} ! {capsfilter} ! {SINK}") as pipeline:
        before = pipeline.numbered()
        assert before.size == (WIDTH, HEIGHT)
        pipeline.pipeline.get_by_name("filter").set_property(
            "caps", Gst.Caps.from_string("video/x-raw,width=800,height=450"))
        after = pipeline.pull_until(lambda frame: frame.size == (800, 450) and frame.number,
                                    "a frame of the new size")
        whole = pipeline.pull_until(lambda frame: frame.check().intact, "one that fills it")
        assert whole.size == (800, 450) and whole.number >= after.number > before.number
        report.wait_for("configure", width=800, height=450)
        assert not report.events("exit")


def test_input_from_downstream_reaches_the_game(game, backend):
    command, report = game(backend, "--rate", 60)
    with Session(*command) as session, Pipeline() as pipeline, session.client() as client:
        pipeline.numbered()
        client.wait_for_window(backend=backend)
        pipeline.key("a")
        assert report.wait_for("key", pressed=True)["keysym"] == "a"
        report.wait_for("key", pressed=False, keysym="a")
        pipeline.key("Return")
        report.wait_for("key", pressed=True, keysym="Return")
        pipeline.key("A")
        report.wait_for("key", pressed=True, keysym="A", text="A")
        pipeline.move(100, 50)
        pipeline.move(320, 180)
        moved = report.wait_for("motion", x=320, y=180)
        assert moved["input"] > 0
        pipeline.button(1, 20, 30)
        report.wait_for("button", button=0x110, pressed=True)
        report.wait_for("button", button=0x110, pressed=False)
        pipeline.button(3, 20, 30)
        report.wait_for("button", button=0x111, pressed=True)
        pipeline.scroll(20, 30, 0, 1)
        assert report.wait_for("axis", axis="vertical")["value"] < 0
        pipeline.scroll(20, 30, 1, 0)
        assert report.wait_for("axis", axis="horizontal")["value"] > 0


def test_input_shows_in_the_picture(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command), Pipeline() as pipeline:
        before = pipeline.numbered().check().input_sequence
        pipeline.key("space")
        pipeline.pull_until(lambda frame: frame.check().input_sequence >= before + 2, "the input")


def test_keys_are_released_when_the_pipeline_stops(game):
    command, report = game("wayland", "--rate", 60)
    with Session(*command):
        with Pipeline() as pipeline:
            pipeline.numbered()
            pipeline.send(GstVideo.navigation_event_new_key_press("w", 0))
            report.wait_for("key", keysym="w", pressed=True)
        report.wait_for("key", keysym="w", pressed=False)


def test_latency_is_one_refresh_period(game):
    command, _ = game("wayland", "--rate", 60)
    with Session(*command, options=("-r", "50")), Pipeline() as pipeline:
        pipeline.numbered()
        query = Gst.Query.new_latency()
        assert pipeline.source.query(query)
        live, minimum, maximum = query.parse_latency()
        assert live and minimum == Gst.SECOND // 50 and maximum >= minimum


def test_time_stamps_are_the_times_of_the_commits(game):
    command, report = game("wayland", "--rate", 30)
    with Session(*command), Pipeline() as pipeline:
        pipeline.numbered()
        frames = [pipeline.pull() for _ in range(3)]
        frames.clear()
        base = pipeline.pipeline.get_base_time()
        last = -1
        for _ in range(30):
            frame = pipeline.pull()
            assert frame.pts > last
            last = frame.pts
            # The pipeline's clock is CLOCK_MONOTONIC, as the compositor's is.
            assert frame.pts + base == frame.reference_time
            painted = report.wait_for("frame", number=frame.number)["time_ns"]
            shown = report.wait_for("presented", number=frame.number)["presented_ns"]
            assert frame.reference_time == shown
            assert shown > painted - 1_000_000_000 // 30
            del frame


def test_a_recording_of_a_second_is_a_video_of_a_second(game, tmp_path):
    command, _ = game("wayland", "--vsync", "--paint", "full")
    video = tmp_path / "game.mp4"
    with Session(*command):
        # num-buffers counts from the first frame, whenever it comes.
        done = launch("-e wlscreencopysrc num-buffers=60 ! video/x-raw,framerate=60/1 ! queue ! "
                      "videoconvert ! x264enc speed-preset=ultrafast tune=zerolatency ! "
                      f"h264parse ! mp4mux ! filesink location={video}")
        assert done.returncode == 0, done.stderr
    probe = subprocess.run(["ffprobe", "-v", "error", "-count_frames", "-show_streams",
                            "-of", "json", str(video)], capture_output=True, text=True,
                           timeout=WATCHDOG, check=True)
    stream = json.loads(probe.stdout)["streams"][0]
    assert stream["codec_name"] == "h264"
    assert (stream["width"], stream["height"]) == (WIDTH, HEIGHT)
    assert int(stream["nb_read_frames"]) == 60
    assert abs(float(stream["duration"]) - 1) < 0.5


def test_a_pipeline_may_start_before_the_game_shows_something(game):
    command, _ = game("wayland", "--rate", 60)
    with Session("sh", "-c", 'sleep 1; exec "$@"', "sh", *command), Pipeline() as pipeline:
        started = time.monotonic()
        assert pipeline.numbered().check().number
        assert time.monotonic() - started < WATCHDOG
