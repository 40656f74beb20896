# SPDX-License-Identifier: Apache-2.0
"""QEMU: where it comes from, how it is started, and whether KVM really works here."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lmk import debian, progress
from lmk.cache import cache_root, lock
from lmk.virtual.image import Image
from lmk.virtual.kernels import Abi, host_abi

__all__ = ["DATA_SERIAL", "DISK_SERIAL", "Qemu", "boot_id", "command_line", "put_first"]

#: bookworm's own 7.2 corrupts flags on cmpxchg16b under TCG; 10 does not.
_SUITE = "bookworm-backports"
_PACKAGES = {"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"}
#: A KVM that works reaches the kernel's first line in well under a second.
_KVM_PROBE_S = 8.0
#: The machine's own C library must go with the machine's own loader.
_LEFT_OUT = {"libc6"}
#: An instruction takes 2^this ns of the guest's own time.
_INSTRUCTION_SHIFT = 1
#: A random read of 4 KB from a phone's flash: about 0.1 ms.
_FLASH_READ_NS = 100_000
#: Of the disks that a guest may have; its rc looks for them.
DISK_SERIAL, DATA_SERIAL = "debian", "data"
_NICE = -10


@dataclass(frozen=True, slots=True)
class Qemu:
    """QEMU unpacked in the cache: it needs no root and nothing installed."""

    root: Path
    abi: Abi

    @staticmethod
    def fetch(abi: Abi) -> Qemu:
        """QEMU for guests of `abi`. Raises like :func:`lmk.debian.fetch`."""
        host = host_abi().debian
        wanted = debian.closure([_PACKAGES[abi.debian]], _SUITE, host)
        names = [name for name in wanted if name not in _LEFT_OUT]
        return Qemu(debian.sysroot(names, _SUITE, host), abi)

    @property
    def program(self) -> Path:
        """The QEMU binary."""
        return self.root / "usr/bin" / f"qemu-system-{self.abi.machine}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment that QEMU finds its own libraries with."""
        triplet = host_abi().triplet
        places = [self.root / "usr/lib" / triplet, self.root / "lib" / triplet]
        return dict(os.environ, LD_LIBRARY_PATH=":".join(str(place) for place in places))

    def data_options(self) -> list[str]:
        """Options that name QEMU's own data: firmware and option ROMs."""
        folders = ("usr/share/qemu", "usr/share/seabios")
        return [part for folder in folders for part in ("-L", str(self.root / folder))]

    def accelerator(self, image: Image) -> str:
        """``kvm`` when a guest of `image` really boots under it, else ``tcg``.

        /dev/kvm can be there, open, and create machines, and the guest still
        dies in its first instructions (a host that is a paravirtual guest
        itself). So a boot is tried, once in the life of the host's kernel.
        """
        if self.abi is not host_abi() or not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return "tcg"
        answer = cache_root() / "kvm" / f"{boot_id()}-{self.root.name}"
        with lock(cache_root() / "kvm.lock"):
            if answer.exists():
                return answer.read_text()
            with progress.steps("KVM") as task:
                task.step("try KVM with a short boot")
                accelerator = "kvm" if self.boots(image, "kvm", _KVM_PROBE_S) else "tcg"
                task.done("works" if accelerator == "kvm" else "does not work; using TCG")
            answer.parent.mkdir(exist_ok=True)
            for old in answer.parent.iterdir():
                if not old.name.startswith(boot_id()):
                    old.unlink()
            answer.write_text(accelerator)
            return accelerator

    def boots(self, image: Image, accelerator: str, patience_s: float) -> bool:
        """True when the kernel of `image` gets as far as looking for a root file system."""
        with tempfile.TemporaryDirectory(prefix="kvm-", dir=cache_root()) as folder:
            console = Path(folder) / "console.log"
            command = command_line(
                self,
                image,
                accelerator=accelerator,
                console=console,
                ram_mb=256,
                cpus=1,
                arguments=[],
                port=None,
                initramfs=False,
            )
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                end = time.monotonic() + patience_s
                while time.monotonic() < end and process.poll() is None:
                    time.sleep(0.05)
                text = console.read_bytes() if console.exists() else b""
                # No root to mount is how this boot must end; the panic proves that
                # the whole kernel came up.
                return b"Kernel panic" in text and b"VFS" in text
            finally:
                process.kill()
                process.wait()


def boot_id() -> str:
    """What tells one boot of the host from the next."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def put_first(pid: int) -> None:
    """Let a QEMU's CPUs come before other work of this machine, where it may be asked for.

    An emulated CPU that waits for one of the machine's own, behind the very host that reads
    the reports, shows as milliseconds between two instructions of the guest.
    """
    # Where the scheduler groups by session, nice counts within a session only.
    with suppress(PermissionError, FileNotFoundError):
        Path(f"/proc/{pid}/autogroup").write_text(str(_NICE))
    # Those that it starts later inherit it.
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICE)


def command_line(
    qemu: Qemu,
    image: Image,
    *,
    accelerator: str,
    console: Path,
    ram_mb: int,
    cpus: int,
    arguments: Sequence[str],
    port: int | None,
    initramfs: bool = True,
    disk_mb: int = 0,
    own_time: bool = False,
    disk: Path | None = None,
    data: Path | None = None,
) -> list[str]:
    """The command that runs `image`.

    :param console: file that the guest's console is written to.
    :param arguments: kernel arguments, after those every guest gets (the last one counts).
    :param disk: image of a disk that it may read.
    :param data: image of a disk that it may write.
    :param port: loopback port that leads to the guest's adbd; None for no network.
    :param disk_mb: size of a disk that reads as zeros; 0 for none.
    :param own_time: the guest's clock goes by the instructions that it executes.
    """
    kernel_arguments = [
        f"console={qemu.abi.console}",
        # With -no-reboot a panic ends QEMU at once instead of hanging.
        "panic=-1",
        # Under TCG the mitigations cost and protect nothing.
        "mitigations=off",
        # Debian builds PSI in but leaves it off.
        "psi=1",
        "quiet",
        *arguments,
    ]
    if qemu.abi.debian == "arm64":
        # -cpu max is emulated twice as slowly (pointer authentication).
        cpu = "host" if accelerator == "kvm" else "cortex-a57"
        machine = "virt,gic-version=host" if accelerator == "kvm" else "virt"
    else:
        cpu, machine = ("host" if accelerator == "kvm" else "max"), "pc"
        if accelerator == "tcg":
            # Emulated, a "fast" string instruction goes byte by byte: clearing pages, and with
            # it every fault, takes twice as long (100 MB into a tmpfs: 3.1 s against 1.7 s).
            cpu += ",-erms,-fsrm"
    command = [
        str(qemu.program),
        *qemu.data_options(),
        *("-accel", accelerator, "-machine", machine, "-cpu", cpu),
        *("-smp", str(cpus), "-m", f"{ram_mb}M"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", f"file:{console}"),
        *("-kernel", str(image.kernel), "-append", " ".join(kernel_arguments)),
        *(
            "-object",
            "rng-random,id=rng,filename=/dev/urandom",
            "-device",
            "virtio-rng-pci,rng=rng",
        ),
    ]
    if initramfs:
        command += ["-initrd", str(image.initramfs)]
    if port is not None:
        # restrict=on: a guest under test has no business with the network. The
        # network card's boot ROM would only be another file to need.
        command += [
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:5555"),
            *("-device", "virtio-net-pci,netdev=net,romfile="),
        ]
    if own_time:
        command += ["-icount", f"shift={_INSTRUCTION_SHIFT},sleep=on,align=off"]
    if disk_mb:
        # No file behind it: what is read from it only has to take as long as flash does.
        flash = f"driver=null-co,node-name=disk,size={disk_mb << 20},read-zeroes=on"
        command += [
            *("-blockdev", f"{flash},latency-ns={_FLASH_READ_NS}"),
            *("-device", "virtio-blk-pci,drive=disk"),
        ]
    if disk is not None:
        # Known by its serial: what else there is may take the first names.
        command += [
            *("-blockdev", f"driver=file,node-name=root,read-only=on,filename={_escaped(disk)}"),
            *("-device", f"virtio-blk-pci,drive=root,serial={DISK_SERIAL}"),
        ]
    if data is not None:
        command += [
            *("-blockdev", f"driver=file,node-name=data,filename={_escaped(data)}"),
            *("-device", f"virtio-blk-pci,drive=data,serial={DATA_SERIAL}"),
        ]
    return command


def _escaped(path: Path) -> str:
    """As a value among QEMU's comma-separated ones."""
    return str(path).replace(",", ",,")
