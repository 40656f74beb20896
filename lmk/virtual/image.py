# SPDX-License-Identifier: Apache-2.0
"""The guest's root file system: an initramfs of busybox, the real adbd and a few modules.

Options of one guest (name, swap, user of adbd) are not in the image but on the
kernel command line, so every guest of a kernel shares one image.
"""

from __future__ import annotations

import lzma
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from lmk import debian, progress
from lmk.cache import cache_root, content_key, publish
from lmk.errors import LmkError
from lmk.virtual import elf
from lmk.virtual.cpio import Archive
from lmk.virtual.kernels import Abi, Kernel, Unpacked

__all__ = ["Image", "build"]

#: Raise when what :func:`_write` lays out changes; inputs are in the key by themselves.
_LAYOUT = "initramfs 4"
#: Loaded first, where they are modules: the bus (built in since 6.12), and the
#: compressors, which older zram finds by name so that no dependency names them.
#: virtio_blk is for a guest's disk, where it has one.
_OPTIONAL_MODULES = ("virtio_pci", "virtio_blk", "lz4", "lzo-rle")
#: Modules every guest needs, each loaded after what it depends on.
_MODULES = ("virtio_net", "zram")
#: Not loaded by the boot: the guest's rc does when something is laid over its Debian root.
_LATER_MODULES = ("overlay",)
_ADBD = "usr/lib/android-sdk/platform-tools/adbd"
_DIRECTORIES = {
    "proc": 0o555,
    "sys": 0o555,
    "dev": 0o755,
    "tmp": 0o1777,
    "run": 0o755,
    "data": 0o771,
    "bin": 0o755,
    "etc": 0o755,
}
#: Place in the guest of each file of lmk/virtual/rootfs, and its mode.
_FILES = {
    "rc": ("etc/rc", 0o755),
    "pid1": ("etc/pid1", 0o755),
    "adbd": ("etc/adbd", 0o755),
    "inittab": ("etc/inittab", 0o644),
    "passwd": ("etc/passwd", 0o644),
    "group": ("etc/group", 0o644),
    "getprop": ("bin/getprop", 0o755),
    "setprop": ("bin/setprop", 0o755),
    "debian": ("bin/debian", 0o755),
}
_LINKS = {
    # The kernel runs /init; busybox takes its role from the name it is run by.
    "init": "bin/busybox",
    "bin/sh": "busybox",
    "system/bin": "/bin",
    "sbin": "bin",
    "usr/bin": "/bin",
    "usr/sbin": "/bin",
    "var/run": "/run",
    "etc/mtab": "/proc/mounts",
}


@dataclass(frozen=True, slots=True)
class Image:
    """What QEMU boots.

    :ivar release: the kernel's release, as ``uname -r`` says it.
    """

    release: str
    kernel: Path
    initramfs: Path


def build(kernel: Kernel) -> Image:
    """The newest image of `kernel`, from the cache when no input has changed.

    Raises like :func:`lmk.debian.fetch`.
    """
    with progress.steps(f"Image of kernel {kernel.name}") as task:
        unpacked = kernel.unpacked()
        arch = kernel.abi.debian
        wanted = debian.closure(["adbd"], "bookworm-backports", arch)
        adbd = debian.sysroot(wanted, "bookworm-backports", arch)
        busybox = debian.sysroot(["busybox-static"], "bookworm", arch)
        key = content_key(
            _LAYOUT,
            # Unpacked packages are named by their content.
            str(unpacked.modules.relative_to(cache_root())),
            adbd.name,
            busybox.name,
            repr((_MODULES, _OPTIONAL_MODULES, _LATER_MODULES, _DIRECTORIES, _FILES, _LINKS)),
            *(_rootfs(name) for name in sorted(_FILES)),
        )

        def fill(directory: Path) -> None:
            task.step(f"write the guest's root for {kernel.name}")
            with (directory / "initramfs").open("wb") as out:
                archive = Archive(out)
                _write(archive, kernel.abi, adbd, busybox, unpacked)
                archive.close()
                size = out.tell()
            task.done(f"{size / 1e6:.0f} MB")

        entry = publish(cache_root() / "images" / key, fill)
    return Image(unpacked.release, unpacked.image, entry / "initramfs")


def _rootfs(name: str) -> bytes:
    return (resources.files("lmk.virtual") / "rootfs" / name).read_bytes()


def _write(archive: Archive, abi: Abi, adbd: Path, busybox: Path, kernel: Unpacked) -> None:
    for path, mode in _DIRECTORIES.items():
        archive.directory(path, mode)
    # The kernel opens /dev/console for /init before anything could mount /dev.
    archive.character_device("dev/console", 5, 1)
    archive.character_device("dev/null", 1, 3, 0o666)
    archive.file("bin/busybox", (busybox / "bin/busybox").read_bytes(), 0o755)
    for name, (path, mode) in _FILES.items():
        archive.file(path, _rootfs(name), mode)
    for path, target in _LINKS.items():
        archive.symlink(path, target)
    archive.file(_ADBD, (adbd / _ADBD).read_bytes(), 0o755)
    search = [f"/lib/{abi.triplet}", f"/usr/lib/{abi.triplet}"]
    for place, file in sorted(elf.libraries(adbd / _ADBD, adbd, search).items()):
        archive.file(place.lstrip("/"), file.read_bytes(), 0o755)
    # Debian's kernels have no /proc/config.gz; this is where Debian keeps it.
    archive.file(f"boot/config-{kernel.release}", kernel.config.read_bytes())
    order = _module_order(kernel.modules)
    for name, content in order.items():
        archive.file(f"lib/modules/{name}.ko", content)
    loaded = [name for name in order if name not in _LATER_MODULES]
    archive.file("lib/modules/order", "".join(f"{name}.ko\n" for name in loaded).encode())


def _module_order(modules: Path) -> dict[str, bytes]:
    """The modules to load, decompressed, each after those it depends on.

    depmod has not run over unpacked packages, so there is no modules.dep; each
    module says in its .modinfo what it needs.
    """
    files = {_module_name(path.name): path for path in modules.rglob("*.ko*") if path.is_file()}
    order: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in order:
            return
        if name not in files:
            raise LmkError(f"the kernel's packages have no module {name}")
        content = _decompressed(files[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in depends[1].decode().split(",") if depends and depends[1] else []:
            add(_module_name(needed))
        order[name] = content

    for name in _OPTIONAL_MODULES:
        if _module_name(name) in files:
            add(_module_name(name))
    for name in _MODULES:
        add(_module_name(name))
    for name in _LATER_MODULES:
        if _module_name(name) in files:
            add(_module_name(name))
    return order


def _module_name(file: str) -> str:
    return file.split(".ko")[0].replace("-", "_")


def _decompressed(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content
