# SPDX-License-Identifier: Apache-2.0
"""The kernels a virtual device can run, by the names the user gives them.

A name says what the kernel stands for (``7.3``), with the ABI where it is not
the host's (``7.3-arm64``). Which package that is today is asked of apt's
metadata, since versions move.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from lmk import debian
from lmk.errors import LmkError, UsageError

__all__ = ["Abi", "Kernel", "Unpacked", "host_abi", "names", "parse"]


@dataclass(frozen=True, slots=True)
class Abi:
    """An instruction set as Debian, QEMU, Android and the kernel's console name it."""

    debian: str
    machine: str
    android: str
    triplet: str
    console: str


_ABIS = {
    "amd64": Abi("amd64", "x86_64", "x86_64", "x86_64-linux-gnu", "ttyS0"),
    "arm64": Abi("arm64", "aarch64", "arm64-v8a", "aarch64-linux-gnu", "ttyAMA0"),
}


@dataclass(frozen=True, slots=True)
class _Line:
    """Where the packages of one kernel line come from; {abi} and {release} are filled in."""

    suite: str
    release: str
    packages: tuple[str, ...]


#: Until 6.18 one package holds image, modules and configuration; 7.x splits them,
#: and there `linux-image-X` is a shell. The cloud flavour boots fastest.
_LINES = {
    "6.1": _Line("bookworm", r"6\.1\.0-\d+-cloud-{abi}", ("linux-image-{release}",)),
    "6.12": _Line(
        "bookworm-backports", r"6\.12\.\d+\+deb12-cloud-{abi}", ("linux-image-{release}",)
    ),
    "6.18": _Line("trixie-backports", r"6\.18\.\d+\+deb13-cloud-{abi}", ("linux-image-{release}",)),
    "7.3": _Line(
        "trixie-backports",
        r"7\.3\.\d+\+deb13-cloud-{abi}",
        ("linux-binary-{release}", "linux-modules-{release}", "linux-base-{release}"),
    ),
}
_NEWEST = "7.3"
_NAME = re.compile(r"virtual(?::(?P<kernel>[^#\s]+))?(?:#(?P<instance>[A-Za-z0-9_.-]+))?")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A kernel's files in the cache; `release` is as ``uname -r`` says it."""

    release: str
    image: Path
    modules: Path
    config: Path


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel line on one ABI.

    :ivar name: ``7.3`` on the host's ABI, else ``7.3-arm64``.
    """

    name: str
    line: str
    abi: Abi

    def unpacked(self) -> Unpacked:
        """Fetch the newest packages of this line.

        Raises like :func:`lmk.debian.fetch`.
        """
        source = _LINES[self.line]
        first = source.packages[0]
        pattern = source.release.format(abi=self.abi.debian)
        prefix = first.format(release="")
        found = debian.newest(re.escape(prefix) + pattern, source.suite, self.abi.debian)
        release = found.removeprefix(prefix)
        root = debian.sysroot(
            [package.format(release=release) for package in source.packages],
            source.suite,
            self.abi.debian,
        )

        def first_of(*places: str) -> Path:
            for place in places:
                if (root / place).exists():
                    return root / place
            raise LmkError(f"the packages of kernel {release} have no {places[0]}")

        modules = f"usr/lib/modules/{release}"
        return Unpacked(
            release,
            first_of(f"{modules}/vmlinuz", f"boot/vmlinuz-{release}"),
            first_of(modules, f"lib/modules/{release}"),
            first_of(f"{modules}/config", f"boot/config-{release}"),
        )


def host_abi() -> Abi:
    """The ABI of this machine.

    :raises lmk.errors.UsageError: it is neither x86-64 nor arm64.
    """
    machine = platform.machine()
    for abi in _ABIS.values():
        if machine in (abi.machine, abi.debian):
            return abi
    raise UsageError(f"virtual devices need an x86-64 or arm64 host, not {machine}")


def names() -> list[str]:
    """Every name of a virtual device that can be given, without instances."""
    host = host_abi()
    return ["virtual"] + [
        f"virtual:{line}" + ("" if abi is host else f"-{abi.debian}")
        for line in _LINES
        for abi in _ABIS.values()
    ]


def parse(name: str) -> tuple[str, Kernel]:
    """Read ``virtual[:KERNEL][#INSTANCE]``.

    ``virtual`` is the newest kernel on the host's ABI, and the same device as
    the name that spells it out. ``#INSTANCE`` (letters, digits, ``._-``) tells
    several guests of one kernel apart.

    :return: the full name of the guest, and its kernel.
    :raises lmk.errors.UsageError: no such name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(f"{name!r} is not a virtual device: virtual[:KERNEL][#INSTANCE]")
    line, _dash, suffix = (match["kernel"] or _NEWEST).partition("-")
    host = host_abi()
    abi = _ABIS.get(suffix) if suffix else host
    if line not in _LINES or abi is None:
        raise UsageError(f"no virtual device {name!r}; there are {', '.join(names())}")
    kernel = Kernel(line if abi is host else f"{line}-{abi.debian}", line, abi)
    instance = f"#{match['instance']}" if match["instance"] else ""
    return f"virtual:{kernel.name}{instance}", kernel
