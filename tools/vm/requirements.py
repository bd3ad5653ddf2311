"""What the virtual machine is made of, and what is missing for it here."""

import os
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path

# In the order in which they are loaded; what they depend on comes first by itself.
MODULES = (
    "virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay",
    "vgem", "virtio-gpu", "evdev", "uinput",
)  # fmt: skip
PT_INTERP = 3


class Missing(Exception):
    """One line for people: what the machine lacks, and what to do."""


def module_name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


@dataclass
class Kernel:
    version: str
    image: Path
    modules: Path  # the folder that modules.dep is in

    def module_files(self, names: tuple[str, ...] = MODULES) -> list[Path]:
        """The modules' files and those that they need, in loading order, without built-in ones."""
        built_in = {
            module_name(line) for line in (self.modules / "modules.builtin").read_text().split()
        }
        needs = {}
        by_name = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            path, _, others = line.partition(":")
            by_name[module_name(path)] = path
            needs[path] = others.split()
        files: list[str] = []
        for name in (name.replace("-", "_") for name in names):
            if name in built_in:
                continue
            if name not in by_name:
                raise Missing(
                    f"kernel {self.version} has no module {name}; install a stock kernel"
                    " (Debian: linux-image-amd64, not the cloud flavour)"
                )
            # modules.dep names the deepest dependency last.
            for path in [*reversed(needs[by_name[name]]), by_name[name]]:
                if path not in files:
                    files.append(path)
        return [self.modules / path for path in files]


def version_key(version: str) -> list:
    return [int(part) if part.isdigit() else 0 for part in version.replace("-", ".").split(".")]


def find_kernel() -> Kernel:
    """The newest kernel here that has every module."""
    reasons = []
    folders = sorted(Path("/lib/modules").glob("*"), key=lambda path: version_key(path.name))
    for folder in reversed(folders):
        if not (folder / "modules.dep").is_file():
            continue
        version = folder.name
        images = [folder / "vmlinuz", Path(f"/boot/vmlinuz-{version}")]
        image = next((path for path in images if path.is_file()), None)
        if image is None:
            reasons.append(f"there is no image of kernel {version}")
        elif not os.access(image, os.R_OK):
            reasons.append(f"{image} may not be read; allow it with: sudo chmod a+r {image}")
        else:
            kernel = Kernel(version, image, folder)
            try:
                kernel.module_files()
            except Missing as missing:
                reasons.append(str(missing))
            else:
                return kernel
    raise Missing(
        reasons[0] if reasons else "no kernel is installed (Debian: apt install linux-image-amd64)"
    )


def find_program(name: str, package: str) -> Path:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/bin:/usr/sbin:/sbin")
    if not found:
        raise Missing(f"{name} is not installed (Debian: apt install {package})")
    return Path(found)


def find_qemu() -> Path:
    if os.uname().machine != "x86_64":
        raise Missing(f"the virtual machine is an x86_64 one, this machine is {os.uname().machine}")
    return find_program("qemu-system-x86_64", "qemu-system-x86")


def find_busybox() -> Path:
    busybox = find_program("busybox", "busybox-static")
    with open(busybox, "rb") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02":
            raise Missing(f"{busybox} is no 64-bit program")
        offset, size, count = (
            struct.unpack_from("<Q", header, 32)[0], *struct.unpack_from("<HH", header, 54)
        )  # fmt: skip
        file.seek(offset)
        table = file.read(size * count)
    if any(struct.unpack_from("<I", table, i * size)[0] == PT_INTERP for i in range(count)):
        raise Missing(f"{busybox} is not statically linked (Debian: apt install busybox-static)")
    return busybox
