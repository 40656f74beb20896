# SPDX-License-Identifier: Apache-2.0
"""Keeps every CPU of a device from resting, at no cost to what else runs there.

A virtual device with a clock of its own (``own_time``) keeps that clock by the instructions it
executes; while all its CPUs rest there are none, and the host's clock, with all that the host
does meanwhile, shows in the guest's.
"""

from __future__ import annotations

from lmk.bench.killers.recorder import Recorder
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.workload.conversation import Event

__all__ = ["Spin"]


class Spin(Recorder):
    """Spins while the block runs."""

    def __init__(self, device: Device, *, bundle: Bundle | None = None) -> None:
        super().__init__(device, ["spin"], bundle=bundle)

    def _remember(self, event: Event) -> None:
        if event["event"] != "start":
            raise ValueError(event["event"])
