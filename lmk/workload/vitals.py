# SPDX-License-Identifier: Apache-2.0
"""What /proc says of a device's memory, and of processes by uid."""

from __future__ import annotations

from dataclasses import dataclass

from lmk.device.interface import Device
from lmk.errors import ProtocolError

__all__ = ["Vitals", "read_vitals", "uids_in_use"]


@dataclass(frozen=True, slots=True)
class Vitals:
    """Memory of a device at one moment, in KiB.

    :ivar kernel_oom_kills: kills by the kernel's own OOM killer since boot.
    """

    total_kb: int
    free_kb: int
    available_kb: int
    swap_total_kb: int
    swap_free_kb: int
    kernel_oom_kills: int


def read_vitals(device: Device) -> Vitals:
    """Read /proc/meminfo and oom_kill of /proc/vmstat.

    :raises lmk.errors.ProtocolError: they are not as the kernel writes them.
    """
    fields: dict[str, int] = {}
    for path in ("/proc/meminfo", "/proc/vmstat"):
        for line in device.read_file(path).decode("ascii", "replace").splitlines():
            name, _, value = line.replace(":", "").partition(" ")
            fields[name] = int(value.split()[0]) if value.split()[:1] else 0
    try:
        return Vitals(
            total_kb=fields["MemTotal"],
            free_kb=fields["MemFree"],
            available_kb=fields["MemAvailable"],
            swap_total_kb=fields["SwapTotal"],
            swap_free_kb=fields["SwapFree"],
            kernel_oom_kills=fields["oom_kill"],
        )
    except KeyError as error:
        raise ProtocolError(f"{device.serial}: /proc has no {error.args[0]}") from error


def uids_in_use(device: Device, first: int, last: int) -> dict[int, str]:
    """Uids within first..last that processes run as, each with the name of one process."""
    listed = device.run(
        "for status in /proc/[0-9]*/status; do "
        "while read -r key value rest; do case $key in "
        "Name:) name=$value ;; Uid:) echo $value $name; break ;; esac; "
        "done < $status; done 2>/dev/null"
    )
    found = {}
    for line in listed.text.splitlines():
        uid, _, name = line.partition(" ")
        if uid.isdigit() and first <= int(uid) <= last:
            found[int(uid)] = name
    return found
