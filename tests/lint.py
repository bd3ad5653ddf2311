"""Checks of the sources: formatting, paths of somebody's machine, scripts, clang-tidy."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from results import Results, run_watched

C_SUFFIXES = {".c", ".cpp", ".h", ".hpp"}
SKIPPED_DIRECTORIES = {".git", "subprojects", "results", "__pycache__", ".ccls-cache", ".clangd"}
# Written so that this file does not contain what it looks for.
FOREIGN_PATHS = re.compile(
    r"(?<![\w.$}/-])/(?:(?:root|work)/\w|(?:home|Users)/(?!user\b|deck\b|you\b)[a-z]\w*/\w|tmp/wt-)"
)
CHECK_WATCHDOG = 120
TIDY_WATCHDOG = 900


def sources(root: Path) -> list[Path]:
    found = []
    for directory, names, files in os.walk(root):
        top = Path(directory) == root
        names[:] = sorted(
            name
            for name in names
            if name not in SKIPPED_DIRECTORIES and not (top and name.startswith("build"))
        )
        found += [Path(directory) / name for name in sorted(files) if name != ".git"]
    return found


def run(root: Path, build: Path, results: Results, tidy: bool) -> None:
    files = sources(root)
    c_files = [path for path in files if path.suffix in C_SUFFIXES]
    if results.wants("lint/clang-format"):
        check_format(root, c_files, results)
    if results.wants("lint/paths"):
        check_paths(root, files, results)
    if results.wants("lint/scripts"):
        check_scripts(root, files, results)
    if tidy:
        check_tidy(root, build, results)


def check_format(root: Path, c_files: list[Path], results: Results) -> None:
    if not shutil.which("clang-format"):
        results.add("lint/clang-format", "skipped", 0, "clang-format is not installed")
        return
    command = ["clang-format", "--dry-run", "-Werror", *map(str, c_files)]
    finished = run_watched(command, CHECK_WATCHDOG, cwd=root)
    if finished.status == 0:
        results.add("lint/clang-format", "passed", finished.seconds)
    else:
        # A line for each file: one long source line gives dozens of complaints.
        complaints = re.findall(r"^(.+?):(\d+):\d+: ", finished.output, re.MULTILINE)
        lines = {name: number for name, number in reversed(complaints)}
        text = "".join(
            f"{name}:{number}: not as clang-format has it\n" for name, number in lines.items()
        )
        text = text or finished.output
        text += "format with: ./run shell -- clang-format -i FILE"
        results.add("lint/clang-format", "failed", finished.seconds, text)


def check_paths(root: Path, files: list[Path], results: Results) -> None:
    started = time.monotonic()
    found = []
    for path in files:
        try:
            text = path.read_text()
        except (UnicodeDecodeError, OSError):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            match = FOREIGN_PATHS.search(line)
            if match:
                found.append(f"{path.relative_to(root)}:{number}: path of one machine: {line.strip()}")
    outcome = "failed" if found else "passed"
    results.add("lint/paths", outcome, time.monotonic() - started, "\n".join(found))


def first_line(path: Path) -> str:
    with open(path, "rb") as file:
        return file.readline(200).decode(errors="replace")


def check_scripts(root: Path, files: list[Path], results: Results) -> None:
    """Shell scripts parse (shellcheck where it is installed), Python compiles."""
    started = time.monotonic()
    complaints = []
    shell = []
    for path in files:
        if path.suffix == ".py":
            try:
                compile(path.read_bytes(), str(path), "exec")
            except SyntaxError as error:
                complaints.append(f"{path.relative_to(root)}:{error.lineno}: {error.msg}")
        elif path.suffix == ".sh" or (
            not path.suffix and re.match(r"#!.*\b(ba)?sh\b", first_line(path))
        ):
            shell.append(str(path.relative_to(root)))
    for path in shell:
        finished = run_watched(["bash", "-n", path], CHECK_WATCHDOG, cwd=root)
        if finished.status != 0:
            complaints.append(finished.output)
    if shell and shutil.which("shellcheck"):
        finished = run_watched(["shellcheck", "-x", *shell], CHECK_WATCHDOG, cwd=root)
        if finished.status != 0:
            complaints.append(finished.output)
    outcome = "failed" if complaints else "passed"
    results.add("lint/scripts", outcome, time.monotonic() - started, "\n".join(complaints))


def headers_by_object(build: Path, root: Path) -> dict[str, list[Path]]:
    """What each object file was compiled from, as ninja knows it; the project's files only."""
    listing = subprocess.run(
        ["ninja", "-C", str(build), "-t", "deps"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    found: dict[str, list[Path]] = {}
    current: list[Path] = []
    for line in listing.stdout.splitlines():
        if line and not line[0].isspace() and ": #deps" in line:
            current = found.setdefault(line.partition(":")[0], [])
        elif line.strip():
            path = (build / line.strip()).resolve()
            if path.is_relative_to(root):
                current.append(path)
    return found


def check_tidy(root: Path, build: Path, results: Results) -> None:
    entries = []
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = (Path(entry["directory"]) / entry["file"]).resolve()
        if source.suffix not in C_SUFFIXES or source.is_relative_to(build):
            continue  # generated
        name = f"lint/clang-tidy/{source.relative_to(root)}"
        if results.wants(name):
            entries.append((name, source, entry))
    if not entries:
        return
    if not shutil.which("clang-tidy"):
        results.add("lint/clang-tidy", "skipped", 0, "clang-tidy is not installed")
        return
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True).stdout
    headers = headers_by_object(build, root)
    cache = Path(os.environ.get("STEPSCOPE_CACHE", build)) / "clang-tidy"
    cache.mkdir(parents=True, exist_ok=True)

    def check(item) -> None:
        name, source, entry = item
        configuration = version + tidy_configuration(root, source)
        stamp = cache / tidy_key(root, build, source, entry, headers, configuration)
        if stamp.exists():
            results.add(name, "passed", 0)
            return
        command = ["clang-tidy", "--quiet", "-p", str(build), str(source)]
        # gcc's flags that clang does not have are no findings.
        command += ["--extra-arg=-Wno-unknown-warning-option"]
        finished = run_watched(command, TIDY_WATCHDOG, cwd=root)
        if finished.status == 0 and not finished.hung:
            stamp.touch()
            results.add(name, "passed", finished.seconds)
        else:
            results.add(name, "failed", finished.seconds, finished.output)

    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
        for _ in pool.map(check, entries):
            pass


def tidy_configuration(root: Path, source: Path) -> bytes:
    """What all the configuration files say that hold for the source."""
    folders = [folder for folder in source.parents if folder.is_relative_to(root)]
    files = [folder / ".clang-tidy" for folder in folders]
    return b"".join(file.read_bytes() for file in files if file.exists())


def tidy_key(
    root: Path, build: Path, source: Path, entry: dict, headers: dict, configuration: bytes
) -> str:
    """Changes when the source, a header of the project that it includes, or a flag does."""
    key = hashlib.sha256(configuration)
    arguments = entry.get("command") or shlex.join(entry["arguments"])
    # The same sources in another checkout are the same.
    key.update(arguments.replace(str(root), "").encode())
    for path in [source, *sorted(headers.get(entry.get("output", ""), []))]:
        key.update(str(path.relative_to(root)).encode() + b"\0")
        try:
            key.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError:
            key.update(b"absent")
    return key.hexdigest()[:32]
