# SPDX-License-Identifier: Apache-2.0
"""A DirectDevice on a fake adbd: services that its tests open, and a watch to time them."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

from fake_adbd import FakeAdbd, FakeStream, Service

from lmk.device.direct import DirectDevice

__all__ = [
    "LARGE",
    "RECORDS",
    "SOON_S",
    "Sink",
    "Stopwatch",
    "direct",
    "record_then",
    "seconds",
]

RECORDS = "localabstract:records"
SOON_S = 0.5
LARGE = bytes(range(256)) * 4096  # 1 MiB


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def direct(adbd: FakeAdbd, **options: Any) -> DirectDevice:
    return DirectDevice("127.0.0.1", adbd.port, **options)


class Stopwatch:
    """Seconds of wall clock, and of this thread's CPU, since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.thread_time()

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._wall

    @property
    def cpu_s(self) -> float:
        return time.thread_time() - self._cpu


def record_then(end: str) -> Service:
    def service(stream: FakeStream) -> None:
        stream.write(b"record")
        if end == "close":
            stream.close()
        elif end == "hang up":
            stream.connection.hang_up()
        else:
            stream.connection.reset()

    return service


class Sink:
    """A service that takes what the host writes, until it closes."""

    def __init__(self) -> None:
        self._received: list[bytes] = []
        self._ended = threading.Event()

    def __call__(self, stream: FakeStream) -> None:
        while data := stream.read():
            self._received.append(data)
        self._ended.set()

    def all_of_it(self) -> bytes:
        assert self._ended.wait(30)
        return b"".join(self._received)
