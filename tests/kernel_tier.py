"""Runs the tests of the suite "kernel" in one boot of the virtual machine (see `./run vm --help`).

With STEPSCOPE_TEST_DEVICES=host they run on this machine's own devices instead.
"""

import os
import shlex
import sys
import tempfile
from pathlib import Path

import programs
from results import Results, Run, run_watched

ROOT = Path(__file__).resolve().parent.parent
VM = ROOT / "tools/vm/vm.py"
SUITE = "kernel/"
BOOT_SECONDS = 300  # for the machine itself, generous: it may be emulated on a busy one
sys.path.insert(0, str(VM.parent))

import requirements  # noqa: E402


def is_kernel_test(program: programs.Program) -> bool:
    return program.name.removeprefix("asan/").startswith(SUITE)


def obstacle() -> str | None:
    """Why no virtual machine can be started here; None if one can."""
    try:
        requirements.find_kernel()
        requirements.find_qemu()
        requirements.find_busybox()
    except requirements.Missing as missing:
        return str(missing)
    return None


def wants_host_devices() -> bool:
    """Whether the tests were asked onto this machine's devices. Ends the run where that is unclear."""
    wanted = os.environ.get("STEPSCOPE_TEST_DEVICES", "vm")
    if wanted not in ("vm", "host"):
        sys.exit(f"stepscope: error: STEPSCOPE_TEST_DEVICES is '{wanted}', expected vm or host")
    return wanted == "host"


def script_of(tests: list[programs.Program]) -> str:
    """Runs the tests one after the other; each leaves its report, output, status and duration."""
    lines = []
    for index, test in enumerate(tests):
        base = f'"$STEPSCOPE_VM_OUT"/{index}'
        command = [*test.command, "--reporter", "console", "--reporter"]
        # The last one is joined to the folder that only the guest knows.
        joined = f"{shlex.join(command)} junit::out={base}.report"
        variables = [f"{name}={value}" for name, value in test.environment.items()]
        limit = f"timeout --kill-after=10 {test.watchdog:.0f}"
        lines += [
            f"echo {shlex.quote('running ' + test.name)}",
            f"began=$(date +%s.%N); env {shlex.join(variables)} {limit} {joined}"
            f" >{base}.output 2>&1 </dev/null; status=$?",
            f'echo "$status $began $(date +%s.%N)" >{base}.status',
        ]
    return "\n".join(lines) + "\n"


def run(tests: list[programs.Program], results: Results) -> None:
    if not tests:
        return
    if wants_host_devices():
        programs.run(tests, results)  # what has no device here is skipped, with the reason
        return
    reason = obstacle()
    if reason:
        for test in tests:
            results.add(test.name, "skipped", 0, f"no virtual machine: {reason}")
        return
    watchdog = BOOT_SECONDS + sum(test.watchdog for test in tests)
    with tempfile.TemporaryDirectory(prefix="stepscope-kernel-") as scratch:
        out = Path(scratch)
        command = [sys.executable, str(VM), "--timeout", f"{watchdog:.0f}", "--out", str(out)]
        command += ["--", "bash", "-c", script_of(tests)]
        # The machine ends itself; this watchdog is for the case that it cannot.
        machine = run_watched(command, watchdog + 60, dict(os.environ), str(ROOT))
        complete = True
        for index, test in enumerate(tests):
            complete &= collect(test, out, index, machine, results)
    # The kernel's complaints are nobody's test: they make one of their own.
    if complete:
        outcome = "passed" if machine.status == 0 else "failed"
        results.add("kernel/no-warnings", outcome, machine.seconds, machine.output)


def collect(
    test: programs.Program, out: Path, index: int, machine: Run, results: Results
) -> bool:
    """Counts what one test left; False if the machine ended before it did."""
    try:
        status, began, ended = (out / f"{index}.status").read_text().split()
    except (OSError, ValueError):
        text = f"the virtual machine ended before the test did\n{machine.output}"
        results.add(test.name, "failed", machine.seconds, text)
        return False
    output = (out / f"{index}.output").read_text(errors="replace")
    code = int(status)
    # timeout(1) ends with 124, or 137 where the test had to be killed.
    finished = Run(code, output, float(ended) - float(began), code in (124, 137))
    report = out / f"{index}.report"
    results.add_group(
        test.name, finished.seconds, programs.outcomes(test, finished, report, catch2=True)
    )
    return True
