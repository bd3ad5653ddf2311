#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small learner: a policy gradient on the pictures of four games of Catch, on the CPU.

    python3 agent/examples/learn_catch.py --updates 150 --output catch.png

The reward is read from the screen: the strip below is green after a catch and red after a miss.
Writes the learning curve as a picture, and ends with 1 where nothing was learnt. Needs torch.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

import stepscope

CELL, COLUMNS, ROWS = 16, 10, 11
GAME = Path(__file__).with_name("catch_game.py")
ENVS, STEPS = 4, 60
DISCOUNT, RATE, ENTROPY = 0.9, 5e-3, 0.01


def read_reward(picture: np.ndarray, _info: dict) -> float:
    red, green, _ = picture[-1, 0]
    return (1.0 if green > 128 else 0.0) - (1.0 if red > 128 else 0.0)


def features(pictures: np.ndarray) -> torch.Tensor:
    """Without the strip: the agent is not to see its reward."""
    return torch.from_numpy(pictures[:, :-1].reshape(len(pictures), -1).astype(np.float32) / 255)


def returns_of(rewards: np.ndarray) -> np.ndarray:
    """Each ball's reward, discounted, for the steps since the ball before it."""
    result = np.zeros_like(rewards)
    following = np.zeros(rewards.shape[1])
    for index in range(len(rewards) - 1, -1, -1):
        following = np.where(rewards[index] != 0, rewards[index], following * DISCOUNT)
        result[index] = following
    return result


def smooth(curve: list[float], over: int = 10) -> list[float]:
    return [float(np.mean(curve[max(0, end - over) : end])) for end in range(1, len(curve) + 1)]


def plot(curve: list[float], path: str) -> None:
    width, height, margin = 640, 360, 40
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    place = lambda index, value: (
        margin + index * (width - 2 * margin) / max(len(curve) - 1, 1),
        height - margin - value * (height - 2 * margin),
    )
    for share in (0, 0.25, 0.5, 0.75, 1):
        draw.line([place(0, share), place(len(curve) - 1, share)], fill="lightgray")
        draw.text((5, place(0, share)[1] - 6), f"{share:.0%}", fill="black")
    draw.line([place(*point) for point in enumerate(curve)], fill="lightblue")
    draw.line([place(*point) for point in enumerate(smooth(curve))], fill="blue", width=2)
    draw.text((margin, 10), f"balls caught, over {len(curve)} updates", fill="black")
    image.save(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="catch.png")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    envs = stepscope.VectorEnv(
        ENVS, [sys.executable, str(GAME)], COLUMNS * CELL, ROWS * CELL, 30, xwayland=False,
        actions=[(), "Left", "Right"], downsample=CELL, reward=read_reward,
    )  # fmt: skip
    inputs = (ROWS - 1) * COLUMNS * 3
    policy = torch.nn.Sequential(
        torch.nn.Linear(inputs, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3)
    )
    optimizer = torch.optim.Adam(policy.parameters(), RATE)
    curve: list[float] = []
    started = time.monotonic()
    try:
        pictures, _ = envs.reset(seed=arguments.seed)
        for update in range(arguments.updates):
            chances, rewards = [], np.zeros((STEPS, ENVS))
            entropy = torch.zeros(())
            for step in range(STEPS):
                choice = torch.distributions.Categorical(logits=policy(features(pictures)))
                actions = choice.sample()
                chances.append(choice.log_prob(actions))
                entropy = entropy + choice.entropy().mean()
                pictures, rewards[step], _, truncated, infos = envs.step(actions.numpy())
                if truncated.any():
                    raise stepscope.StepscopeError(f"a game ended: {infos['reason']}")
            gains = torch.from_numpy(returns_of(rewards)).float()
            loss = -(torch.stack(chances) * (gains - gains.mean())).mean()
            optimizer.zero_grad()
            (loss - ENTROPY * entropy / STEPS).backward()
            optimizer.step()
            curve.append(float((rewards > 0).sum() / max((rewards != 0).sum(), 1)))
            if update % 10 == 9:
                print(f"update {update + 1}: caught {smooth(curve)[-1]:.0%}", flush=True)
    finally:
        envs.close()
    seconds = time.monotonic() - started
    plot(curve, arguments.output)
    first, last = np.mean(curve[:10]), np.mean(curve[-10:])
    print(f"caught {first:.0%} at first, {last:.0%} at last; {seconds:.0f} s; {arguments.output}")
    return 0 if last > first + 0.2 else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (stepscope.StepscopeError, OSError) as error:
        sys.exit(f"learn_catch.py: {error}")
