# SPDX-License-Identifier: Apache-2.0
"""The device a bench runs on, and how its figures name it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lmk import virtual
from lmk.bench.figures import Entry, Figure
from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.proto.record_pb2 import Hello, KillPath
from lmk.workload.vitals import Vitals

__all__ = ["entry", "target"]

_GUEST = "virtual#bench"
_NICE = -10
_RAM_MB = 800


@contextmanager
def target(
    serial: str | None, *, zram_mb: int | None = None, ram_mb: int = _RAM_MB
) -> Iterator[Device]:
    """The device `serial`, connected; None boots a virtual one for the bench alone.

    :param zram_mb: swap of that virtual one; None is half of its memory.
    :param ram_mb: its memory.
    """
    if serial is not None:
        with connect(serial) as device:
            yield device
        return
    guest = virtual.up(_GUEST, ram_mb=ram_mb, zram_mb=zram_mb, detached=False)
    _put_first(guest)
    try:
        with connect(guest.name) as device:
            yield device
    finally:
        guest.down()


def _put_first(guest: virtual.Guest) -> None:
    """Let the guest's CPUs come before other work of this machine, where it may be asked for.

    An emulated CPU that waits for one of the machine's own, behind the very host that reads
    the reports, shows as milliseconds between two instructions of the guest.
    """
    for thread in Path(f"/proc/{guest.pid}/task").iterdir():
        with suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICE)


def entry(device: Device, hello: Hello, vitals: Vitals, figures: dict[str, Figure]) -> Entry:
    """Figures under the names of the device that they were measured on."""
    swap_mb = vitals.swap_total_kb // 1024
    return Entry(
        device=device.serial,
        kernel=hello.kernel_release,
        abi=hello.abi,
        path=KillPath.Name(hello.kill_path).removeprefix("KILL_PATH_").lower(),
        variant=f"{vitals.total_kb // 1024} MB, "
        + (f"{swap_mb} MB swap" if swap_mb else "no swap"),
        figures=figures,
    )
