"""Builds the virtual machine's initramfs: busybox, the kernel modules, and guest_init.sh."""

import hashlib
import lzma
import os
import subprocess
import tempfile
from pathlib import Path

from requirements import MODULES, Kernel, Missing, find_busybox

INIT = Path(__file__).resolve().parent / "guest_init.sh"
DIRECTORY, PROGRAM, FILE, DEVICE = 0o040755, 0o100755, 0o100644, 0o020600


def decompressed(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix in (".zst", ".gz"):
        command = {".zst": ["zstd", "-dcq"], ".gz": ["gzip", "-dc"]}[path.suffix]
        try:
            return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise Missing(f"{path} cannot be decompressed with {command[0]}: {error}") from error
    return data


class Archive:
    """A cpio archive in the "newc" format, which the kernel reads."""

    def __init__(self):
        self.data = bytearray()
        self.inode = 0

    def add(self, name: str, mode: int, content: bytes = b"", device: tuple = (0, 0)) -> None:
        self.inode += 1
        encoded = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
        self.data += b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self.pad()
        self.data += content
        self.pad()

    def pad(self) -> None:
        self.data += bytes(-len(self.data) % 4)

    def finished(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self.data)


def key_of(kernel: Kernel, busybox: Path) -> str:
    key = hashlib.sha256()
    for path in (Path(__file__), INIT, busybox):
        key.update(path.read_bytes())
    key.update(" ".join(MODULES).encode())
    # The same version can be packaged again: its list of modules then has another date.
    key.update(str((kernel.modules / "modules.dep").stat().st_mtime_ns).encode())
    return key.hexdigest()[:16]


def build(kernel: Kernel, busybox: Path) -> bytes:
    archive = Archive()
    for folder in ("bin", "dev", "modules"):
        archive.add(folder, DIRECTORY)
    # Where the kernel opens the first standard output.
    archive.add("dev/console", DEVICE, device=(5, 1))
    archive.add("bin/busybox", PROGRAM, busybox.read_bytes())
    archive.add("init", PROGRAM, INIT.read_bytes())
    names = []
    for path in kernel.module_files():
        names.append(path.name.partition(".ko")[0] + ".ko")
        archive.add(f"modules/{names[-1]}", FILE, decompressed(path))
    archive.add("modules/order", FILE, "".join(f"{name}\n" for name in names).encode())
    return archive.finished()


def cached(kernel: Kernel, cache: Path) -> Path:
    """The initramfs for the kernel in the cache folder, made if it is not there yet."""
    busybox = find_busybox()
    path = cache / f"initramfs-{kernel.version}-{key_of(kernel, busybox)}.cpio"
    if path.is_file():
        return path
    content = build(kernel, busybox)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache, prefix=".initramfs-", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
    for old in cache.glob(f"initramfs-{kernel.version}-*.cpio"):
        if old != path:
            old.unlink(missing_ok=True)
    return path
