# SPDX-License-Identifier: Apache-2.0
"""A process in front that reads a file or a disk round and round: ``lmk-bench reader``."""

from __future__ import annotations

from datetime import timedelta

from lmk.bench.killers.recorder import Recorder
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.workload.conversation import Event

__all__ = ["Reader"]

_NAME = "com.example.player"


class Reader(Recorder):
    """Reads while the block runs.

    :param uid: what it runs as.
    :param file: on the device; root must be able to read it.
    :param size_kb: how much of it, from its beginning.
    :param each_round: how long to go round that once, when nothing holds it up.
    """

    def __init__(
        self,
        device: Device,
        *,
        uid: int,
        file: str,
        size_kb: int,
        each_round: timedelta,
        bundle: Bundle | None = None,
    ) -> None:
        command = ["reader", "--name", _NAME, "--adj", "0", "--uid", str(uid)]
        command += ["--file", file, "--file-kb", str(size_kb)]
        command += ["--round-ms", str(round(each_round.total_seconds() * 1000))]
        super().__init__(device, command, bundle=bundle)

    def _remember(self, event: Event) -> None:
        if event["event"] not in ("start", "end"):
            raise ValueError(event["event"])
