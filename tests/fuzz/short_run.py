"""Fuzzes a target for some seconds, from its corpus; what it finds is told, and not kept.

Exit status: 0, 1 if an input makes it fail; 77 with --skip, which says why there is no fuzzer.
"""

import argparse
import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = re.compile(r"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
# libFuzzer's words for each input that was worth keeping, and its final figures.
PROGRESS = re.compile(r"^(#\d+|INFO:|stat::|Running:)")
LONGEST_SHOWN_INPUT = 4096


def report(name: str, output: str, scratch: Path) -> str:
    """What was wrong, in one line, then how to repeat it, then what the fuzzer said."""
    summary = re.search(r"^SUMMARY: (.*)", output, re.MULTILINE)
    lines = [f"{name} found an input that makes it fail: {summary[1] if summary else 'see below'}"]
    for artifact in sorted(scratch.iterdir()):
        content = artifact.read_bytes()
        if len(content) <= LONGEST_SHOWN_INPUT:
            text = base64.b64encode(content).decode()
            lines.append(f"to repeat: echo {text} | base64 -d >input; {name} input")
        else:
            lines.append(f"the input has {len(content)} bytes: run the fuzzer by hand to keep it")
    said = (line for line in output.splitlines() if not PROGRESS.match(line))
    return "\n".join([*lines, *said])


def environment() -> dict[str, str]:
    """With file names and lines in what the sanitizers say."""
    symbolizer = shutil.which("llvm-symbolizer") or shutil.which("addr2line")
    options = [os.environ.get("ASAN_OPTIONS"), symbolizer and f"external_symbolizer_path={symbolizer}"]
    return dict(os.environ, ASAN_OPTIONS=":".join(filter(None, options)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--skip", metavar="REASON")
    parser.add_argument("fuzzer", nargs="?", type=Path)
    parser.add_argument("corpus", nargs="?", type=Path)
    arguments = parser.parse_args()
    if arguments.skip:
        print(arguments.skip)
        return 77
    if not arguments.fuzzer or not arguments.corpus:
        parser.error("expected the fuzzer and its corpus")
    if not arguments.corpus.is_dir():
        parser.error(f"expected a folder with inputs, got {arguments.corpus}")
    with tempfile.TemporaryDirectory(prefix="stepscope-fuzz-") as scratch:
        found = Path(scratch) / "found"
        new = Path(scratch) / "new"
        found.mkdir()
        new.mkdir()
        command = [arguments.fuzzer, f"-max_total_time={arguments.seconds}", "-timeout=60"]
        # New inputs go to the first folder; one that fails goes to the prefix.
        command += ["-print_final_stats=1", f"-artifact_prefix={found}/", new, arguments.corpus]
        run = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
        output = run.stdout.decode(errors="replace")
        if run.returncode != 0:
            print(report(arguments.fuzzer.name, output, found))
            return 1
    runs = RUNS.search(output)
    if not runs or int(runs[1]) == 0:
        print(f"{arguments.fuzzer.name} ended well without having run anything:\n{output}")
        return 1
    print(f"{runs[1]} runs, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
