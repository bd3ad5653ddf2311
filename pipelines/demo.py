#!/usr/bin/env python3
"""Records a game for some seconds: `./run demo`.

Starts the compositor with the game, waits until it accepts captures, records its frames as H.264
in MP4, and ends with a table of what the frames cost. With --lockstep the game's time stands still
but for the step of each frame: it waits for the encoder, and the file has every frame at exact
intervals. Needs the built tree in the environment
(`./run shell` has it); `./run demo` sees to that.
"""

import argparse
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstVideo", "1.0")
from gi.repository import GLib, Gst, GstVideo  # noqa: E402

try:
    gi.require_version("GLibUnix", "2.0")
    from gi.repository import GLibUnix

    add_signal_source = GLibUnix.signal_add
except (ValueError, ImportError):  # before GLib 2.86
    add_signal_source = GLib.unix_signal_add

WIDTH, HEIGHT = 1280, 720
READY_TIMEOUT = 30  # seconds until the compositor must accept captures
FIRST_FRAME_TIMEOUT = 30
FINISH_TIMEOUT = 30
LOADING_SECONDS = 20  # for the game's first pictures; it is recorded after that in any case
LOADED_FRAMES = 10
WALK_KEY = "Up"
COUNTERS = (
    "frames",
    "passed-through",
    "composed",
    "copied",
    "dropped",
    "repeated",
    "imports",
    "steps",
    "no-frame-steps",
)
DOOM_RATE, OTHER_RATE = 35, 60  # steps in a second of a game's time; Doom counts in 35ths


class DemoError(Exception):
    """A failure, in one line for the person who started the demo."""


def freedoom_command() -> list[str]:
    """A level of Freedoom at once, without its menu; the compositor decides the window's size."""
    if not shutil.which("chocolate-doom"):
        raise DemoError("chocolate-doom is not installed; name another game after --")
    folders = ("/usr/share/games/doom", "/usr/share/doom", "/usr/share/freedoom")
    for folder in folders:
        wad = Path(folder) / "freedoom1.wad"
        if wad.is_file():
            return ["chocolate-doom", "-iwad", str(wad), "-warp", "1", "1", "-skill", "2"]
    raise DemoError(f"freedoom1.wad is in none of {', '.join(folders)}; install freedoom")


def game_environment(scratch: Path, own_game: bool) -> dict[str, str]:
    environment = dict(os.environ)
    if own_game:
        # Its settings and saved games are the demo's, not the user's.
        environment |= {
            "HOME": str(scratch),
            "XDG_DATA_HOME": str(scratch / "data"),
            "XDG_CONFIG_HOME": str(scratch / "config"),
            "SDL_AUDIODRIVER": "dummy",
        }
    return environment


class Session:
    """The compositor with the game in it, as a process group that ends with this object."""

    def __init__(
        self, command: list[str], environment: dict[str, str], log: Path, lockstep: bool
    ):
        self.name = f"demo-{os.getpid()}"
        self.log = log
        ready_read, ready_write = os.pipe()
        arguments = ["stepscope", "--session", self.name, "-W", str(WIDTH), "-H", str(HEIGHT)]
        arguments += ["--ready-fd", str(ready_write), "--die-with-parent"]
        arguments += ["--lockstep"] if lockstep else []
        arguments += ["--", *command]
        try:
            with open(log, "wb") as output:
                self.process = subprocess.Popen(
                    arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=[ready_write],
                    # Ctrl-C is for the recording: the game ends after it.
                    start_new_session=True,
                )
        except OSError as error:
            os.close(ready_read)
            raise DemoError(f"cannot start the compositor 'stepscope': {error.strerror}") from error
        finally:
            os.close(ready_write)
        self.ready_fd = ready_read

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_) -> None:
        os.close(self.ready_fd)
        for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass

    def wait_until_ready(self) -> None:
        received = b""
        deadline = time.monotonic() + READY_TIMEOUT
        while not received.endswith(b"\n"):
            patience = deadline - time.monotonic()
            if patience <= 0 or not select.select([self.ready_fd], [], [], patience)[0]:
                raise DemoError(f"the compositor was not ready after {READY_TIMEOUT} s")
            data = os.read(self.ready_fd, 4096)
            if not data:
                raise DemoError(f"the compositor ended before it was ready{self.last_words()}")
            received += data
        for word in received.decode(errors="replace").split():
            key, _, value = word.partition("=")
            if key == "session":
                self.name = value

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return ":\n  " + "\n  ".join(lines[-5:]) if lines else ""


def wait_until_playing(session: Session) -> None:
    """Until the game shows pictures of its own: loading is no part of the recording."""
    warm_up = Gst.parse_launch(
        f"wlscreencopysrc name=source session={session.name} ! fakesink sync=false")
    deadline = time.monotonic() + LOADING_SECONDS
    try:
        warm_up.set_state(Gst.State.PLAYING)
        source = warm_up.get_by_name("source")
        while time.monotonic() < deadline and not session.has_ended():
            if read_statistics(source).get("passed-through", 0) >= LOADED_FRAMES:
                return
            time.sleep(0.1)
    finally:
        warm_up.set_state(Gst.State.NULL)


class Recording:
    """The pipeline. Runs until the time is over, the game ends, or the user interrupts."""

    def __init__(self, session: Session, output: Path, seconds: int, step_rate: int):
        """`step_rate`: steps in a second of the game's time; 0: the game runs by itself."""
        self.session = session
        self.output = output
        self.seconds = seconds
        self.loop = GLib.MainLoop()
        self.error: str | None = None
        self.interrupted = False
        self.finishing = False
        self.started = time.monotonic()
        self.step_rate = step_rate
        self.first_frame_at: float | None = None
        self.recorded_frames = 0  # in lock-step
        self.shown_second = -1
        self.pipeline = Gst.Pipeline.new("demo")
        self.source = self.make("wlscreencopysrc", session=session.name)
        chain = [self.source]
        if step_rate:
            Gst.util_set_object_arg(self.source, "mode", "lockstep")
            # The first steps make the game start, which must not count as a slow step.
            self.source.set_property("timeout", 1000 * READY_TIMEOUT)
            rate = Gst.Caps.from_string(f"video/x-raw(ANY),framerate={step_rate}/1")
            chain.append(self.make("capsfilter", caps=rate))
            self.source.set_property("num-buffers", seconds * step_rate)
        queue = self.make("queue")
        convert = self.make("videoconvert")
        encoder = self.make("x264enc")
        Gst.util_set_object_arg(encoder, "tune", "zerolatency")
        Gst.util_set_object_arg(encoder, "speed-preset", "veryfast")
        # What every player can show; the encoder would otherwise keep the game's RGB as 4:4:4.
        plain = self.make("capsfilter", caps=Gst.Caps.from_string("video/x-raw,format=I420"))
        parser = self.make("h264parse")
        muxer = self.make("mp4mux", faststart=True)
        sink = self.make("filesink", location=str(output))
        chain += [queue, convert, plain, encoder, parser, muxer, sink]
        for one, next_one in zip(chain, chain[1:]):
            if not one.link(next_one):
                raise DemoError(f"cannot link {one.get_name()} to {next_one.get_name()}")

    def make(self, factory: str, **properties) -> Gst.Element:
        element = Gst.ElementFactory.make(factory, None)
        if element is None:
            raise DemoError(f"the GStreamer element {factory} is not installed")
        for name, value in properties.items():
            element.set_property(name, value)
        self.pipeline.add(element)
        return element

    def run(self) -> None:
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.handle_message)
        source_pad = self.source.get_static_pad("src")
        source_pad.add_probe(Gst.PadProbeType.BUFFER, self.handle_frame)
        add_signal_source(GLib.PRIORITY_HIGH, signal.SIGINT, self.handle_interrupt)
        add_signal_source(GLib.PRIORITY_HIGH, signal.SIGTERM, self.handle_interrupt)
        GLib.timeout_add(100, self.handle_tick)
        try:
            if self.pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
                # The reason is on the bus.
                message = bus.timed_pop_filtered(Gst.SECOND, Gst.MessageType.ERROR)
                raise DemoError(describe_error(message) if message else "the pipeline cannot start")
            self.loop.run()
            self.statistics = read_statistics(self.source)
        finally:
            self.pipeline.set_state(Gst.State.NULL)
            bus.remove_signal_watch()
            end_progress()
        if self.error:
            raise DemoError(self.error)

    def handle_frame(self, _pad, _info) -> Gst.PadProbeReturn:
        """Called on the streaming thread with each frame in lock-step, else with the first."""
        if self.first_frame_at is None:
            self.first_frame_at = time.monotonic()
        if not self.step_rate:
            return Gst.PadProbeReturn.REMOVE
        # Here, so that the keys of each recording go down in the same steps.
        second, step_of_second = divmod(self.recorded_frames, self.step_rate)
        if step_of_second == 0:
            self.walk(second)
        self.recorded_frames += 1
        return Gst.PadProbeReturn.OK

    def real_seconds(self) -> float:
        return time.monotonic() - self.first_frame_at if self.first_frame_at else 0.0

    def recorded_seconds(self) -> float:
        if self.step_rate:
            return self.recorded_frames / self.step_rate
        return self.real_seconds()

    def handle_tick(self) -> bool:
        """Called ten times a second while recording."""
        if self.finishing:
            return GLib.SOURCE_REMOVE
        if self.session.has_ended():
            self.error = (
                f"the game ended after {self.recorded_seconds():.1f} of {self.seconds} s"
                f"{self.session.last_words()}"
            )
            self.finish()
        elif self.first_frame_at is None:
            if time.monotonic() - self.started > FIRST_FRAME_TIMEOUT:
                self.error = f"no frame came within {FIRST_FRAME_TIMEOUT} s"
                self.loop.quit()
        else:
            self.show_second(int(self.recorded_seconds()))
            if not self.step_rate and self.real_seconds() >= self.seconds:
                self.finish()
        return GLib.SOURCE_CONTINUE

    def show_second(self, second: int) -> None:
        if second == self.shown_second or second > self.seconds:
            return
        self.shown_second = second
        frames = read_statistics(self.source).get("frames", 0)
        show_progress(f"recording {second} of {self.seconds} s, {frames} frames")
        if not self.step_rate:
            self.walk(second)

    def walk(self, second: int) -> None:
        """Some movement in the picture: the player walks, and stands still every third second."""
        if second % 3 == 0:
            self.send_key(pressed=True)
        elif second % 3 == 2:
            self.send_key(pressed=False)

    def send_key(self, pressed: bool) -> None:
        make = (
            GstVideo.navigation_event_new_key_press
            if pressed
            else GstVideo.navigation_event_new_key_release
        )
        event = make(WALK_KEY, GstVideo.NavigationModifierType.NONE)
        self.source.get_static_pad("src").send_event(event)

    def handle_interrupt(self) -> bool:
        """Called on Ctrl-C: the recording ends and the file is kept; a second one gives up."""
        if self.interrupted:
            self.loop.quit()
        self.interrupted = True
        self.finish()
        return GLib.SOURCE_CONTINUE

    def finish(self) -> None:
        """Ends the stream; the file is complete when the end has passed through."""
        if self.finishing:
            return
        self.finishing = True
        self.stop_clocks()
        if self.first_frame_at is None:
            self.error = self.error or "interrupted before the first frame"
            self.loop.quit()
            return
        self.pipeline.send_event(Gst.Event.new_eos())
        GLib.timeout_add_seconds(FINISH_TIMEOUT, self.handle_finish_timeout)

    def stop_clocks(self) -> None:
        self.duration = self.recorded_seconds()
        self.real_duration = self.real_seconds()

    def handle_finish_timeout(self) -> bool:
        """Called when the file was not complete in time."""
        self.error = self.error or f"the file could not be completed within {FINISH_TIMEOUT} s"
        self.loop.quit()
        return GLib.SOURCE_REMOVE

    def handle_message(self, _bus, message: Gst.Message) -> None:
        """Called for each message of the pipeline."""
        if message.type == Gst.MessageType.EOS:
            if self.step_rate and self.recorded_frames == self.seconds * self.step_rate:
                self.stop_clocks()
            elif not self.finishing:
                self.error = f"the capture ended by itself{self.session.last_words()}"
            self.loop.quit()
        elif message.type == Gst.MessageType.ERROR:
            self.error = self.error or describe_error(message)
            self.loop.quit()


def describe_error(message: Gst.Message) -> str:
    error, _details = message.parse_error()
    return f"{message.src.get_name()}: {error.message}"


def read_statistics(source: Gst.Element) -> dict[str, int]:
    if source.find_property("stats") is None:
        return {}
    stats = source.get_property("stats")
    found = {}
    for name in COUNTERS:
        known, value = stats.get_uint64(name) if stats else (False, 0)
        if known:
            found[name] = value
    return found


def show_progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def end_progress() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def print_table(recording: Recording) -> None:
    stats = recording.statistics
    shown = os.environ.get("STEPSCOPE_OUTPUT_SHOWN", str(recording.output))
    new_frames = stats.get("frames", 0) - stats.get("repeated", 0)
    rows = [
        ("file", shown),
        ("size", f"{recording.output.stat().st_size / 1e6:.1f} MB"),
        ("duration", f"{recording.duration:.1f} s"),
        *([("steps", stats.get("steps", 0))] if recording.step_rate else []),
        ("frames", stats.get("frames", 0)),
        (
            "passed through / composed / copied",
            " / ".join(str(stats.get(name, 0)) for name in ("passed-through", "composed", "copied")),
        ),
        *([("repeated", stats.get("repeated", 0))] if recording.step_rate else []),
        ("dropped", stats.get("dropped", 0)),
        ("game", f"{new_frames / max(recording.duration, 0.001):.1f} frames/s"),
    ]
    if recording.step_rate:
        speed = recording.duration / max(recording.real_duration, 0.001)
        rows.append(("speed", f"{speed:.1f} × real time"))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--output", type=Path, default=Path("stepscope-demo.mp4"))
    parser.add_argument("--lockstep", action="store_true", help="the game waits for the encoder")
    parser.add_argument("command", nargs="*", help="the game, after --")
    arguments = parser.parse_args()
    Gst.init(None)
    try:
        with tempfile.TemporaryDirectory(prefix="stepscope-demo-") as scratch:
            command = arguments.command or freedoom_command()
            environment = game_environment(Path(scratch), not arguments.command)
            log = Path(scratch) / "compositor.log"
            step_rate = 0
            if arguments.lockstep:
                step_rate = OTHER_RATE if arguments.command else DOOM_RATE
            with Session(command, environment, log, arguments.lockstep) as session:
                session.wait_until_ready()
                if not arguments.lockstep:
                    wait_until_playing(session)
                recording = Recording(session, arguments.output, arguments.seconds, step_rate)
                recording.run()
                print_table(recording)
    except DemoError as error:
        print(f"stepscope: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
