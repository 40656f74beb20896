# SPDX-License-Identifier: Apache-2.0
"""The foreground probe: a process at oom_score_adj 0 with a deadline every 10 ms.

``bpf/bench/probe.c`` says what a round is. Time lost is by how much rounds ended after the
next was due; rounds that became due meanwhile are missed deadlines, and no more time lost.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from lmk.bench.killers.recorder import Recorder
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.errors import LmkError
from lmk.workload.conversation import Event

__all__ = ["Latencies", "Probe", "Round"]

_NAME = "com.example.probe"


@dataclass(frozen=True, slots=True)
class Round:
    """One round: when it was due (CLOCK_BOOTTIME), and how long after that it had ended."""

    due_ns: int
    latency_us: int


@dataclass(frozen=True, slots=True)
class Latencies:
    """What a probe recorded.

    :ivar rounds: in order.
    """

    period_ns: int
    rounds: tuple[Round, ...]

    def between(self, begin_ns: int, end_ns: int) -> Latencies:
        """The rounds that were due from `begin_ns` to before `end_ns`."""
        due = [made.due_ns for made in self.rounds]
        first, last = bisect.bisect_left(due, begin_ns), bisect.bisect_left(due, end_ns)
        return Latencies(self.period_ns, self.rounds[first:last])

    @property
    def late_us(self) -> list[int]:
        """Of each round that missed its deadline, by how much it did."""
        period_us = self.period_ns // 1000
        return [made.latency_us - period_us for made in self.rounds if made.latency_us > period_us]

    @property
    def lost_ms(self) -> float:
        """Time lost."""
        return sum(self.late_us) / 1000

    @property
    def missed(self) -> int:
        """Deadlines missed: of the rounds that were late, and of those that were not made."""
        period_us = self.period_ns // 1000
        # A round that ends within the k-th period after its own has k deadlines behind it.
        return sum((made.latency_us - 1) // period_us for made in self.rounds if made.latency_us)


class Probe(Recorder):
    """A probe that runs while the block does.

    :param uid: what it runs as.
    :param size_kb: memory that it touches in each round.
    """

    def __init__(
        self, device: Device, *, uid: int, size_kb: int, bundle: Bundle | None = None
    ) -> None:
        self._rounds: list[Round] = []
        self._begin_ns = self._period_ns = 0
        #: Somebody killed it.
        self.died = False
        command = ["probe", "--name", _NAME, "--uid", str(uid), "--size-kb", str(size_kb)]
        super().__init__(device, command, bundle=bundle)

    @property
    def latencies(self) -> Latencies:
        """All rounds, once the block has ended."""
        return Latencies(self._period_ns, tuple(self._rounds))

    def _remember(self, event: Event) -> None:
        if event["event"] == "start":
            self._begin_ns, self._period_ns = int(event["begin_ns"]), int(event["period_ns"])
        elif event["event"] == "rounds":
            flat = [int(number) for number in event["rounds"]]
            self._rounds += [
                Round(self._begin_ns + number * self._period_ns, latency_us)
                for number, latency_us in zip(flat[::2], flat[1::2], strict=True)
            ]
        elif event["event"] == "exit":
            self.died = not event["asked"]
            if event["code"]:
                raise LmkError("the probe could not get what it works with")
