# SPDX-License-Identifier: Apache-2.0
"""What the handlers cost a device, by name, from its status.

The kernel counts runs and run time of programs while somebody asks it to
(``GetStatus.count_costs``, ``kernel.bpf_stats_enabled``); timer, work-queue and task-work
callbacks it never counts, so the handlers do that themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmk.proto.control_pb2 import Status

__all__ = ["Cost", "costs", "cpu_pct"]

#: What it is, counter of runs, counter of nanoseconds.
_CALLBACKS = (
    ("timer callbacks", "ticks", "tick_ns"),
    ("carried over", "deferred", "deferred_ns"),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Runs of one program or callback, and the time they took in nanoseconds."""

    name: str
    runs: int
    run_time_ns: int


def costs(status: Status) -> list[Cost]:
    """What was counted since the handlers were loaded, the dearest first."""
    counters = {counter.name: counter.value for counter in status.counters}
    found = [
        Cost(name, counters[runs], counters[ns])
        for name, runs, ns in _CALLBACKS
        if counters.get(runs)
    ]
    found += [
        Cost(program.name, program.runs, program.run_time_ns)
        for program in status.programs
        if program.HasField("runs")
    ]
    return sorted(found, key=lambda cost: (-cost.run_time_ns, cost.name))


def cpu_pct(before: Status, now: Status) -> float | None:
    """Share of one CPU, in percent, that all of it took between two statuses of one session.

    None: no time passed, or they are of different handlers.
    """
    passed_ns = now.hello.boottime_ns - before.hello.boottime_ns
    earlier = {cost.name: cost.run_time_ns for cost in costs(before)}
    # A program that was not counted before began to be counted meanwhile: what it has since.
    spent_ns = sum(cost.run_time_ns - earlier.get(cost.name, 0) for cost in costs(now))
    if passed_ns <= 0 or spent_ns < 0 or before.hello.boot_id != now.hello.boot_id:
        return None
    return 100 * spent_ns / passed_ns
