# SPDX-License-Identifier: Apache-2.0
"""The device a bench runs on, and how its figures name it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lmk import virtual
from lmk.bench.figures import Entry, Figure
from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.proto.record_pb2 import Hello, KillPath
from lmk.workload.vitals import Vitals

__all__ = ["entry", "target"]

_INSTANCE = "#bench"


@contextmanager
def target(
    serial: str | None,
    *,
    kernel: str | None = None,
    ram_mb: int = 800,
    zram_mb: int | None = None,
    disk_mb: int = 0,
    own_time: bool = False,
) -> Iterator[Device]:
    """The device `serial`, connected; None boots a virtual one for the bench alone.

    :param kernel: of that virtual one: ``6.12``, ``7.3-arm64`` …; None is the newest.
    :param zram_mb: its swap; None is half of its memory.
    :param own_time: its clock goes by the instructions that it executes.
    """
    if serial is not None:
        with connect(serial) as device:
            yield device
        return
    instance = f"{_INSTANCE}-{os.getpid()}"
    guest = virtual.up(
        f"virtual:{kernel}{instance}" if kernel else f"virtual{instance}",
        ram_mb=ram_mb,
        zram_mb=zram_mb,
        disk_mb=disk_mb,
        own_time=own_time,
        cpus=1 if own_time else 2,
        first=True,
        detached=False,
    )
    try:
        with connect(guest.name) as device:
            yield device
    finally:
        guest.down()


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
