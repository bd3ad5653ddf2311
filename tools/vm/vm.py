#!/usr/bin/env python3
"""`./run vm`: runs a command in a virtual machine with DMA-BUF devices. See help.txt beside it."""

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import initramfs  # noqa: E402
import kernel_log  # noqa: E402
import qemu  # noqa: E402
from requirements import Missing, find_kernel, find_qemu  # noqa: E402

CHECKOUT = HERE.parent.parent
BUILD = Path(os.environ.get("STEPSCOPE_BUILD", CHECKOUT / "build"))
DEFAULT_CACHE = Path.home() / ".cache/stepscope"
CACHE = Path(os.environ.get("STEPSCOPE_CACHE", DEFAULT_CACHE)) / "vm"
KVM_FAILURE = CACHE / "kvm-fails"
GUEST_OUT = "/run/vm/job/out"
# The host's display, buses and devices are not there.
FOREIGN_VARIABLES = (
    "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "DBUS_SESSION_BUS_ADDRESS", "PIPEWIRE_REMOTE",
    "PULSE_SERVER", "TMPDIR", "OLDPWD", "SHLVL", "_",
)  # fmt: skip
# Folders of the machine itself: mounted over the guest's own they would break it.
SYSTEM_FOLDERS = ("/", "/tmp", "/run", "/dev", "/proc", "/sys", "/var", "/usr", "/etc", "/boot")
MACHINE_FAILED = 125
TIMED_OUT = 124


def say(text: str) -> None:
    print(f"stepscope: {text}", file=sys.stderr, flush=True)


def number(lowest: int):
    def parse(text: str) -> int:
        if not text.isdigit() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"expected a whole number from {lowest} on, got '{text}'")
        return int(text)

    return parse


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run vm", add_help=False, allow_abbrev=False)
    parser.add_argument("--memory", type=number(256), default=4096)
    parser.add_argument("--cpus", type=number(1), default=min(4, os.cpu_count() or 1))
    parser.add_argument("--timeout", type=number(0), default=900)
    parser.add_argument("--out", type=Path, default=BUILD / "vm/out")
    # ./run has put the path into STEPSCOPE_OUTPUT: the private environment shows it elsewhere.
    parser.add_argument("--keep-log", action="store_true")
    parser.add_argument("--no-kvm", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    arguments = sys.argv[1:]
    command: list[str] | None = None
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1 :]
        if not command:
            parser.error("nothing follows --")
    parsed = parser.parse_args(arguments)
    parsed.command = command
    return parsed


def writable_folders() -> list[Path]:
    """The checkout, and what else is to be the host's own in the guest, outermost first."""
    wanted = {CHECKOUT.resolve(), BUILD.resolve(), Path.cwd()}
    wanted = {path for path in wanted if str(path) not in SYSTEM_FOLDERS}
    folders: list[Path] = []
    for path in sorted(wanted, key=lambda path: len(path.parts)):
        if path.is_dir() and not any(path.is_relative_to(folder) for folder in folders):
            folders.append(path)
    return folders


def write_job(job: Path, command: list[str] | None, folders: list[Path]) -> None:
    """The script that the guest runs: this process's variables and directory, then the command."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in FOREIGN_VARIABLES and name.isidentifier()
    }
    registry = Path(os.environ.get("GST_REGISTRY", BUILD / "gst-registry.bin"))
    variables |= {
        "HOME": "/tmp/home",
        "XDG_RUNTIME_DIR": "/run/user/0",
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        # The plugins find other devices there than here.
        "GST_REGISTRY": str(registry.with_name("vm-" + registry.name)),
        "STEPSCOPE_VM": "1",
        "STEPSCOPE_VM_OUT": GUEST_OUT,
    }
    directory = Path.cwd()
    if not any(directory.is_relative_to(folder) for folder in folders):
        say(f"note: {directory} of this machine is not shown inside; starting in {CHECKOUT}")
        directory = CHECKOUT
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines.append(f"cd -- {shlex.quote(str(directory))}")
    if command:
        lines.append(f"exec {shlex.join(command)}")
    else:
        size = shutil.get_terminal_size()
        lines.append(f"stty sane rows {size.lines} cols {size.columns}")
        lines.append(r"exec bash --rcfile <(echo 'PS1=\(stepscope-vm\)\ \\w\\$\ ') -i")
    (job / "command").write_text("\n".join(lines) + "\n")
    (job / "out").mkdir()


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text()


def kvm_may_work() -> bool:
    """/dev/kvm can be there and fail; a failure is remembered until this machine starts anew."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    try:
        return KVM_FAILURE.read_text() != boot_id()
    except OSError:
        return True


def remember_that_kvm_fails(reason: str) -> None:
    say(f"KVM does not work here ({reason}); emulating, until the next boot or until {KVM_FAILURE}"
        " is removed")
    KVM_FAILURE.write_text(boot_id())


def boot(arguments: argparse.Namespace, job: Path, log: Path) -> qemu.Outcome:
    kernel = find_kernel()
    program = find_qemu()
    image = initramfs.cached(kernel, CACHE)
    folders = writable_folders()
    write_job(job, arguments.command, folders)
    tags = [(f"share{index}", folder) for index, folder in enumerate(folders)]
    machine = qemu.Machine(
        qemu=program,
        kernel=kernel.image,
        initramfs=image,
        memory=arguments.memory,
        cpus=arguments.cpus,
        shares=[("root", Path("/"), True), ("job", job, False), *((*tag, False) for tag in tags)],
        arguments=[
            f"vm.mode={'command' if arguments.command else 'shell'}",
            f"vm.session={quote(str(HERE / 'guest_session.sh'))}",
            "vm.shares=" + ",".join(f"{tag}:{quote(str(folder))}" for tag, folder in tags),
        ],
        log=log,
        interactive=arguments.command is None,
    )
    started = time.monotonic()
    if not arguments.no_kvm and kvm_may_work():
        outcome = qemu.run(machine, True, arguments.timeout)
        if outcome.booted or outcome.timed_out:
            return outcome
        reason = outcome.errors[-1] if outcome.errors else "the machine did not start"
        remember_that_kvm_fails(reason)
    left = arguments.timeout
    if left:
        left = max(1, left - (time.monotonic() - started))
    return qemu.run(machine, False, left)


def judge(arguments: argparse.Namespace, outcome: qemu.Outcome, log: str) -> int:
    """Says what went wrong with the machine, and returns the exit status."""
    alarms = kernel_log.alarms(log)
    if outcome.timed_out:
        say(f"error: the machine still ran after {arguments.timeout} s and was ended (--timeout)")
        status = TIMED_OUT
    elif outcome.status is None:
        for line in outcome.errors[-5:]:
            say(line)
        if not outcome.errors and not alarms:
            print("\n".join(log.splitlines()[-20:]), file=sys.stderr)
        ended = "before its command did" if outcome.booted else "before it was up"
        say(f"error: the virtual machine ended {ended}; the kernel log is {BUILD}/vm/kernel.log")
        status = MACHINE_FAILED
    else:
        status = outcome.status
    if alarms:
        say("the kernel complained:")
        print("\n".join(f"    {line}" for line in alarms), file=sys.stderr, flush=True)
        if status == 0:
            say(f"error: the command succeeded, but the kernel warned; see {BUILD}/vm/kernel.log")
            status = 1
    return status


def bring_back(source: Path, target: Path) -> None:
    if any(source.iterdir()):
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def main() -> int:
    arguments = parse_arguments()
    if arguments.help:
        print((HERE / "help.txt").read_text(), end="")
        return 0
    if arguments.command is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        say("error: a shell needs a terminal; name a command: ./run vm -- COMMAND")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="stepscope-vm-") as scratch:
        job = Path(scratch) / "job"
        job.mkdir()
        log = Path(scratch) / "kernel.log"
        log.touch()
        try:
            outcome = boot(arguments, job, log)
            text = log.read_text(errors="replace")
            bring_back(job / "out", arguments.out)
            return judge(arguments, outcome, text)
        except Missing as missing:
            say(f"error: {missing}")
            return MACHINE_FAILED
        except KeyboardInterrupt:
            return 130
        finally:
            save_log(log, BUILD / "vm/kernel.log")
            if arguments.keep_log:
                save_log(log, Path(os.environ["STEPSCOPE_OUTPUT"]))


def save_log(log: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copyfile(log, partial)
    os.replace(partial, target)


if __name__ == "__main__":
    sys.exit(main())
