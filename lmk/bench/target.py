# SPDX-License-Identifier: Apache-2.0
"""The device a bench runs on, and how its figures name it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lmk import virtual
from lmk.bench.figures import Entry, Figure
from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.proto.record_pb2 import Hello, KillPath
from lmk.workload.vitals import Vitals

__all__ = ["entry", "target"]

_GUEST = "virtual#bench"


@contextmanager
def target(serial: str | None, *, zram_mb: int | None = None) -> Iterator[Device]:
    """The device `serial`, connected; None boots a virtual one for the bench alone.

    :param zram_mb: swap of that virtual one; None is half of its memory.
    """
    if serial is not None:
        with connect(serial) as device:
            yield device
        return
    guest = virtual.up(_GUEST, zram_mb=zram_mb, detached=False)
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
