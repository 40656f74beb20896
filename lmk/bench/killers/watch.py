# SPDX-License-Identifier: Apache-2.0
"""What the kernel said of memory during a run, and how large each process was.

The stall totals are those of /proc/pressure/memory, memory is that of /proc/meminfo, swap that
of zram's mm_stat.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta

from lmk.bench.killers.recorder import Recorder
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.errors import TransientError
from lmk.workload.conversation import Event

__all__ = ["Record", "Sample", "Watch"]

_INTERVAL = timedelta(milliseconds=200)
#: Host time: a starving device on a busy host answers very late.
_SILENCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment (CLOCK_BOOTTIME); totals are since boot.

    :ivar some_us: memory stall of some task; `full_us` of all that wanted to run.
    :ivar refault_file: pages read back soon after they were given up.
    :ivar swapped_kb: in zram, before compression; `swap_uses_kb` what that takes.
    """

    time_ns: int
    some_us: int
    full_us: int
    free_kb: int
    available_kb: int
    swap_free_kb: int
    refault_file: int
    refault_anon: int
    oom_kills: int
    swapped_kb: int
    swap_uses_kb: int


_FIELDS = tuple(field.name for field in fields(Sample))


class Record:
    """All that a watch said.

    :ivar samples: in order of time.
    """

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._sizes: dict[int, list[tuple[int, int]]] = {}

    def add_sizes(self, time_ns: int, sizes: dict[int, int]) -> None:
        """Resident KiB of processes by pid, at one moment not before the last."""
        for pid, kb in sizes.items():
            self._sizes.setdefault(pid, []).append((time_ns, kb))

    def resident_kb(self, pid: int, before_ns: int) -> int | None:
        """What was resident of a process when it was last seen before that; None: never was."""
        seen = self._sizes.get(pid, [])
        at = bisect.bisect_left(seen, (before_ns, 0))
        return seen[at - 1][1] if at else None

    def at(self, time_ns: int) -> Sample | None:
        """The last sample not after that, or None."""
        at = bisect.bisect_right(self.samples, time_ns, key=lambda sample: sample.time_ns)
        return self.samples[at - 1] if at else None

    def growth(self, name: str, begin_ns: int, end_ns: int) -> float:
        """By how much a total grew in that time; linear between samples."""
        return self._total(name, end_ns) - self._total(name, begin_ns)

    def _total(self, name: str, time_ns: int) -> float:
        at = bisect.bisect_right(self.samples, time_ns, key=lambda sample: sample.time_ns)
        if not self.samples or at == 0:
            return float(getattr(self.samples[0], name)) if self.samples else 0.0
        before = self.samples[at - 1]
        if at == len(self.samples):
            return float(getattr(before, name))
        after = self.samples[at]
        share = (time_ns - before.time_ns) / (after.time_ns - before.time_ns)
        first, last = getattr(before, name), getattr(after, name)
        return float(first + share * (last - first))


class Watch(Recorder):
    """Samples while the block runs; :attr:`record` has them afterwards."""

    def __init__(
        self, device: Device, *, interval: timedelta = _INTERVAL, bundle: Bundle | None = None
    ) -> None:
        self.record = Record()
        interval_ms = str(round(interval.total_seconds() * 1000))
        super().__init__(device, ["watch", "--interval-ms", interval_ms], bundle=bundle)

    @property
    def now_ns(self) -> int:
        """The device's CLOCK_BOOTTIME, as of the last sample that was heard of."""
        return self.record.samples[-1].time_ns if self.record.samples else 0

    def wait(self, duration: timedelta, meanwhile: Callable[[], None]) -> None:
        """Wait that long by the device's own clock, which may go slower than the host's.

        :param meanwhile: called with each sample.
        """
        while self.hear(timedelta(0)):
            pass
        end_ns = self.now_ns + round(duration.total_seconds() * 1e9)
        while self.now_ns < end_ns:
            if not self.hear(_SILENCE):
                raise TransientError("the watch has fallen silent")
            meanwhile()

    def _remember(self, event: Event) -> None:
        if event["event"] == "sample":
            self.record.samples.append(Sample(**{name: int(event[name]) for name in _FIELDS}))
        elif event["event"] == "sizes":
            flat = [int(number) for number in event["sizes"]]
            sizes = dict(zip(flat[::2], flat[1::2], strict=True))
            self.record.add_sizes(int(event["time_ns"]), sizes)
