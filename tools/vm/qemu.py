"""One run of QEMU: its command line, the streams to and from the guest, and its end."""

import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
KVM_PATIENCE = 20  # seconds until the guest's first word; it takes one where KVM works
END_PATIENCE = 20  # seconds for turning off, after the command has ended


@dataclass
class Machine:
    qemu: Path
    kernel: Path
    initramfs: Path
    memory: int  # MiB
    cpus: int
    shares: list[tuple[str, Path, bool]]  # tag, folder, read-only
    arguments: list[str]  # of the kernel
    log: Path  # the serial console: the kernel's messages
    interactive: bool


@dataclass
class Outcome:
    status: int | None = None  # the command's; None: it did not get to its end
    booted: bool = False
    timed_out: bool = False
    errors: list[str] = field(default_factory=list)  # QEMU's and the guest's own complaints


def command_line(machine: Machine, kvm: bool, ports: dict[str, int]) -> list[str]:
    accel = ["-accel", "kvm", "-cpu", "host"]
    kernel_arguments = ["console=ttyS0", "panic=-1", "oops=panic", *machine.arguments]
    if not kvm:
        accel = ["-accel", "tcg,thread=multi", "-cpu", "max"]
        # Emulated processors wait long for a real one: that is no fault of the kernel.
        kernel_arguments += ["nowatchdog", "rcupdate.rcu_cpu_stall_suppress=1"]
    command = [
        str(machine.qemu), "-machine", "q35", *accel,
        "-smp", str(machine.cpus), "-m", str(machine.memory),
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
        "-kernel", str(machine.kernel), "-initrd", str(machine.initramfs),
        "-append", " ".join(kernel_arguments),
        "-chardev", f"file,id=log,path={escaped(machine.log)}", "-serial", "chardev:log",
        # A small screen: in there everything is drawn by the processor.
        "-device", "virtio-gpu-pci,xres=640,yres=480", "-device", "virtio-serial-pci,max_ports=8",
    ]  # fmt: skip
    for number, (name, fd) in enumerate(ports.items(), 1):
        command += ["-chardev", f"socket,id={name},fd={fd}"]
        command += ["-device", f"virtserialport,chardev={name},name=stepscope.{name},nr={number}"]
    if machine.interactive:
        command += ["-chardev", "stdio,id=terminal,mux=on,signal=off"]
        command += ["-device", "virtconsole,chardev=terminal,nr=0"]
    for tag, folder, read_only in machine.shares:
        options = f"local,path={escaped(folder)},mount_tag={tag},security_model=none"
        options += ",multidevs=remap" + (",readonly=on" if read_only else "")
        command += ["-virtfs", options]
    return command


def escaped(path: Path) -> str:
    return str(path).replace(",", ",,")


def end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def run(machine: Machine, kvm: bool, timeout: float) -> Outcome:
    """Runs the machine to its end, however that comes; no QEMU is left afterwards."""
    names = ("control",) if machine.interactive else ("control", "stdout", "stderr")
    pairs = {name: socket.socketpair() for name in names}
    terminal = None
    if machine.interactive:
        terminal = termios.tcgetattr(sys.stdin)
    ports = {name: pair[1].fileno() for name, pair in pairs.items()}
    try:
        process = subprocess.Popen(
            command_line(machine, kvm, ports),
            stdin=None if machine.interactive else subprocess.DEVNULL,
            stdout=None if machine.interactive else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=list(ports.values()),
            # An interrupt is for this process, which then ends the machine.
            start_new_session=not machine.interactive,
            preexec_fn=end_with_parent,
        )
        for pair in pairs.values():
            pair[1].close()
        try:
            own_ends = {name: pair[0] for name, pair in pairs.items()}
            return attend(process, own_ends, kvm, timeout)
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
    finally:
        for pair in pairs.values():
            pair[0].close()
            pair[1].close()
        if terminal:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, terminal)


def attend(
    process: subprocess.Popen, ports: dict[str, socket.socket], kvm: bool, timeout: float
) -> Outcome:
    """Passes the guest's output on until QEMU ends or a deadline is over."""
    outcome = Outcome()
    started = time.monotonic()
    deadline = started + timeout if timeout else None
    patience = started + KVM_PATIENCE if kvm else None
    control = b""
    complaints = b""
    with selectors.DefaultSelector() as selector:
        for name, port in ports.items():
            selector.register(port, selectors.EVENT_READ, name)
        selector.register(process.stderr, selectors.EVENT_READ, "qemu")
        while selector.get_map():
            ends = [moment for moment in (deadline, patience) if moment]
            left = min(ends) - time.monotonic() if ends else None
            if left is not None and left <= 0:
                outcome.timed_out = outcome.status is None and min(ends) == deadline
                break
            for key, _ in selector.select(left):
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.data == "qemu":
                    complaints += data
                    if kvm and b"internal error" in complaints and not outcome.booted:
                        # QEMU would stand still now, not end.
                        outcome.errors.append("KVM internal error")
                        return outcome
                elif key.data == "control":
                    control += data
                    *lines, control = control.split(b"\n")
                    for line in lines:
                        hear(line.decode(errors="replace"), outcome)
                    if outcome.booted:
                        patience = None
                    if outcome.status is not None:
                        deadline = time.monotonic() + END_PATIENCE
                else:
                    pass_on(sys.stdout if key.data == "stdout" else sys.stderr, data)
    outcome.errors += complaints.decode(errors="replace").splitlines()
    return outcome


def hear(line: str, outcome: Outcome) -> None:
    """One line of the guest: "booted", "ready", "failed REASON" or "exit STATUS"."""
    word, _, rest = line.partition(" ")
    if word == "booted":
        outcome.booted = True
    elif word == "failed":
        outcome.errors.append(f"in the virtual machine: {rest}")
    elif word == "exit":
        outcome.status = int(rest)


def pass_on(stream, data: bytes) -> None:
    stream.buffer.write(data)
    stream.buffer.flush()
