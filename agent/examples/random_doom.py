#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A random agent plays Freedoom, and a video shows what it did.

    ./run shell -- python3 agent/examples/random_doom.py --steps 1000 --output random-doom.mp4

The same seed gives the same video. Needs chocolate-doom, freedoom and ffmpeg.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import stepscope

WIDTH, HEIGHT, FPS = 320, 200, 35  # Doom's own picture and rate
FRAMES_PER_STEP = 4
WADS = ("/usr/share/games/doom/freedoom1.wad", "/usr/share/doom/freedoom1.wad")

ACTIONS = [
    "Up", "Down", "Left", "Right", ("Up", "Left"), ("Up", "Right"), "ctrl", ("Up", "ctrl"),
    "space", ("alt", "Left"), ("alt", "Right"),
]  # fmt: skip


def make_env() -> stepscope.Env:
    wad = next((path for path in WADS if Path(path).exists()), None)
    if wad is None:
        raise stepscope.StepscopeError("freedoom1.wad is not installed; install freedoom")
    return stepscope.Env(
        ["chocolate-doom", "-iwad", wad, "-warp", "1", "1", "-skill", "2", "-nosound"],
        WIDTH,
        HEIGHT,
        FPS,
        frames_per_step=FRAMES_PER_STEP,
        actions=ACTIONS,
        reset_keys=[(60, ())],  # the level appears
        render_mode="rgb_array",
    )


class Video:
    """Pictures become an MP4 file."""

    def __init__(self, path: str, width: int, height: int, fps: float):
        command = ["ffmpeg", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-"]
        command += ["-vf", "scale=iw*2:ih*2:flags=neighbor", "-pix_fmt", "yuv420p"]
        command += ["-c:v", "libx264", "-preset", "veryfast", path]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)

    def add(self, picture) -> None:
        self.process.stdin.write(picture.tobytes())

    def close(self) -> None:
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise stepscope.StepscopeError("ffmpeg failed; it said why above")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="random-doom.mp4")
    arguments = parser.parse_args()
    env = make_env()
    try:
        _, info = env.reset(seed=arguments.seed)
        env.action_space.seed(arguments.seed)
        video = Video(arguments.output, WIDTH, HEIGHT, FPS / FRAMES_PER_STEP)
        started = time.monotonic()
        for _ in range(arguments.steps):
            _, _, terminated, truncated, info = env.step(env.action_space.sample())
            video.add(env.render())
            if terminated or truncated:
                print(f"the episode ended at step {info['step']}: {info.get('reason', '')}")
                break
        seconds = time.monotonic() - started
        video.close()
    finally:
        env.close()
    rate = arguments.steps / seconds
    speed = rate * FRAMES_PER_STEP / FPS
    print(
        f"{arguments.output}: {info['virtual_time']:.1f} s of game in {seconds:.1f} s; "
        f"{rate:.0f} steps/s, {speed:.1f} x real time"
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (stepscope.StepscopeError, OSError) as error:
        sys.exit(f"random_doom.py: {error}")
