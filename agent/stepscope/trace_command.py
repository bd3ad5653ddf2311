# SPDX-License-Identifier: LGPL-2.1-or-later
"""The program stepscope-trace."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

from stepscope.errors import StepscopeError
from stepscope.session import parse_rate
from stepscope.trace import PLATFORMS, TIERS, Header, Trace, read_script, record
from stepscope.verify import busy_loops, describe, replay, save_pictures, with_tier

EQUAL, DIFFERENT, UNUSABLE = 0, 1, 2
GOES_ON = ("presented", "no_commit")  # after a step of this status there may be another

EPILOG = """Exit status: 0 equal, 1 different, 2 wrong usage or nothing could be run.

Inputs are JSON lines, each applied before the step that it names:
  {"step":12,"key":"Up","pressed":true}        {"step":20,"button":"left","pressed":true}
  {"step":30,"move_to":[0.5,0.5]}              {"step":31,"move_by":[10,-4]}
  {"step":32,"scroll":[0,1]}                   with --gamepads 1:
  {"step":40,"pad_button":"pad_a","pressed":true}
  {"step":41,"pad_axis":"pad_leftx","value":-0.5}

Tiers: """ + "; ".join(f"{tier} {text}" for tier, text in TIERS.items())


def say(text: str) -> None:
    print(f"stepscope-trace: {text}", file=sys.stderr)


def parse_environment(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise StepscopeError(f"--env {pair}: expected NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def check_place(path: str) -> None:
    """Before the game is played, and not after."""
    folder = Path(path).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(path).is_dir():
        raise StepscopeError(f"can't write {path}; expected a file in a folder that is there")


def run_record(arguments: argparse.Namespace) -> int:
    if not arguments.command:
        raise StepscopeError("no command given; expected: stepscope-trace record -o FILE -- COMMAND")
    if arguments.steps < 1:
        raise StepscopeError(f"--steps {arguments.steps}: expected 1 or more")
    check_place(arguments.output)
    script: dict = {}
    if arguments.inputs == "-":
        script = read_script(sys.stdin)
    elif arguments.inputs:
        try:
            lines = Path(arguments.inputs).read_text().splitlines()
        except (OSError, UnicodeError) as error:
            raise StepscopeError(f"can't read --inputs {arguments.inputs}: {error}") from error
        script = read_script(lines)
    header = Header(
        command=arguments.command,
        width=arguments.width,
        height=arguments.height,
        fps=str(parse_rate(arguments.fps)),
        seed=arguments.seed,
        platform=arguments.platform,
        xwayland=not arguments.no_xwayland,
        gamepads=arguments.gamepads,
        environment=parse_environment(arguments.env),
    )
    trace = record(header, script, arguments.steps, arguments.timeout)
    trace.save(arguments.output)
    last = trace.steps[-1]
    say(
        f"{arguments.output}: {describe(trace)}, last step {last.status}, "
        f"gate {trace.header.gate}, tier {trace.header.tier} ({trace.header.tier_reason})"
    )
    if len(trace.steps) < arguments.steps and last.status in GOES_ON:
        say(f"interrupted after {len(trace.steps)} of {arguments.steps} steps")
        return 128 + signal.SIGINT
    return EQUAL


def run_replay(arguments: argparse.Namespace) -> int:
    trace = Trace.load(arguments.trace)
    difference = replay(trace, arguments.timeout)
    if difference is None:
        say(f"{arguments.trace}: {describe(trace)}, all equal")
        return EQUAL
    say(f"{arguments.trace}: step {difference.step} differs: {difference.what}")
    return DIFFERENT


def run_verify(arguments: argparse.Namespace) -> int:
    if arguments.runs < 1:
        raise StepscopeError(f"--runs {arguments.runs}: expected 1 or more")
    trace = Trace.load(arguments.trace)
    source = Path(arguments.trace)
    output = arguments.output or source.with_name(f"{source.stem}.verified{source.suffix}")
    with contextlib.ExitStack() as stack:
        beside = ""
        if arguments.load:
            beside = f" beside {stack.enter_context(busy_loops())} busy loops"
        for number in range(1, arguments.runs + 1):
            difference = replay(trace, arguments.timeout)
            if difference is not None:
                break
            say(f"replay {number} of {arguments.runs}{beside}: equal")
    if difference is None and not any(step.hash for step in trace.steps):
        # Nothing was compared that a game drew.
        verified = with_tier(trace, trace.header.tier, "no step shows a picture")
    elif difference is None:
        verified = with_tier(
            trace, "T3", f"{arguments.runs} replays{beside}: {describe(trace)}, all equal"
        )
    else:
        where = f"replay {number}{beside}: step {difference.step} differs: {difference.what}"
        say(where)
        folder = Path(arguments.pictures or source.parent)
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / source.stem
        saved, remark = save_pictures(trace, difference, stem, arguments.timeout)
        for path in saved:
            say(f"saved {path}")
        if remark:
            say(remark)
        # What was verified before is not true any more.
        below = trace.header.tier
        if below == "T3":
            below = "T1" if trace.header.seed is None else "T2"
        verified = with_tier(trace, below, where)
    verified.save(output)
    tier = verified.header.tier
    say(f"tier {tier} ({TIERS[tier]}); written to {output}")
    return EQUAL if difference is None else DIFFERENT


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stepscope-trace",
        description="Records what a game shows step by step, and checks that it does so again.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words = parser.add_subparsers(required=True, metavar="record|replay|verify")

    word = words.add_parser("record", help="run a command in lock-step and write a trace")
    word.set_defaults(run=run_record)
    word.add_argument("-o", "--output", required=True, metavar="FILE")
    word.add_argument("-W", "--width", type=int, default=640)
    word.add_argument("-H", "--height", type=int, default=400)
    word.add_argument("-r", "--fps", default="60", help="steps per second of the game's time")
    word.add_argument("-n", "--steps", type=int, default=600)
    word.add_argument("--seed", type=int, help="where the game's random numbers begin")
    word.add_argument("--inputs", metavar="FILE", help="JSON lines; - for standard input")
    word.add_argument("--platform", choices=PLATFORMS, default="auto")
    word.add_argument("--no-xwayland", action="store_true")
    word.add_argument("--gamepads", type=int, default=0, metavar="N")
    word.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    word.add_argument("command", nargs="*", metavar="COMMAND")

    word_replay = words.add_parser("replay", help="run a trace again and compare")
    word_replay.set_defaults(run=run_replay)
    word_replay.add_argument("trace")

    word_verify = words.add_parser("verify", help="replay several times and state the tier")
    word_verify.set_defaults(run=run_verify)
    word_verify.add_argument("trace")
    word_verify.add_argument("--runs", type=int, default=5)
    word_verify.add_argument("--load", action="store_true", help="beside busy loops on all cores")
    word_verify.add_argument(
        "--output", metavar="FILE", help="copy of the trace with its tier (NAME.verified.*)"
    )
    word_verify.add_argument(
        "--pictures", metavar="DIR", help="for those of a differing step (the trace's folder)"
    )
    for each in (word, word_replay, word_verify):
        each.add_argument("--timeout", type=float, default=20, help="seconds of one step")
    return parser


def main() -> int:
    # Sessions and busy loops end on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    arguments = make_parser().parse_args()
    try:
        return arguments.run(arguments)
    except (StepscopeError, OSError) as error:
        say(str(error))
        return UNUSABLE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
