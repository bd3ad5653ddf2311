#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A policy in torch that plays through the frame socket, one exact step at a time.

    stepscope --lockstep --session game -W 320 -H 200 -- chocolate-doom -iwad freedoom1.wad &
    gst-launch-1.0 wlscreencopysrc session=game mode=lockstep ! video/x-raw,framerate=35/1 ! \
        fencesink socket-path=/tmp/game.frames wait=steps &
    torch_policy.py /tmp/game.frames --steps 1000

The policy is a small convolution with random weights: what it shows is the way of the data. The
tensor is made of the game's own memory; the first thing that is copied is the reduced picture.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings

from stepscope.errors import StepscopeError
from stepscope.frame_socket import FrameSocket

KEYS = ["Up", "Left", "Right", "space"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("socket")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("torch_policy.py: skipped: torch is not installed", file=sys.stderr)
        return 77
    # The game's memory is read-only, which torch has no word for; nothing here writes to it.
    warnings.filterwarnings("ignore", message=".*not writable.*")
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    policy = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 5, stride=4), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.LazyLinear(len(KEYS)),
    )  # fmt: skip

    def decide(frame) -> set[str]:
        picture = torch.from_numpy(frame.pixels)
        reduced = picture[::4, ::4].permute(2, 0, 1).unsqueeze(0).float() / 255
        with torch.no_grad():
            scores = policy(reduced)[0]
        return {key for key, score in zip(KEYS, scores, strict=True) if score > 0}

    try:
        with FrameSocket(arguments.socket, steps=True, name="torch policy", wait=10) as game:
            frame = game.next()
            held: set[str] = set()
            began, taken = time.monotonic(), 0
            while frame is not None and taken < arguments.steps:
                wanted = decide(frame)
                frame.release()
                for key in held - wanted:
                    game.key(key, False)
                for key in wanted - held:
                    game.key(key, True)
                held = wanted
                frame = game.step()
                taken += 1
            seconds = time.monotonic() - began
            print(f"{taken} steps, {taken / seconds:.0f} per second")
            if game.ended:
                print(f"the game ended: {game.ended.text}")
    except (StepscopeError, TimeoutError) as error:
        print(f"torch_policy.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
