# SPDX-License-Identifier: Apache-2.0
"""Tells a real lmkd of the population, as ActivityManager does: it kills nobody else."""

from __future__ import annotations

from lmk.bench.killers.recorder import Recorder
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.workload.conversation import Event
from lmk.workload.record import Life

__all__ = ["Registrar"]


class Registrar(Recorder):
    """Connected to the lmkd that listens at `socket` while the block runs."""

    def __init__(self, device: Device, socket: str, *, bundle: Bundle | None = None) -> None:
        super().__init__(device, ["register", "--socket", socket], bundle=bundle)

    def add(self, life: Life) -> None:
        """Register one that lives."""
        self.tell(f"prio {life.pid} {life.uid} {life.adj}")

    def follow(self, event: Event) -> None:
        """Register who starts and remove who ends, by the population's events."""
        if event["event"] == "start":
            self.tell(f"prio {event['pid']} {event['uid']} {event['adj']}")
        elif event["event"] == "exit":
            self.tell(f"remove {event['pid']}")

    def _remember(self, event: Event) -> None:
        if event["event"] != "start":
            raise ValueError(event["event"])
