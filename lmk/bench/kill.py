# SPDX-License-Identifier: Apache-2.0
"""``tools/bench kill``: cycles of a foreground app that outgrows memory, and how each kill went.

Latencies come from the reports, *seen → signalled* also from the kernel's own trace of
the signal. Order is that trace's, deaths come from the device's record, as the population's
parent heard of them; what the reports say otherwise fails the bench.
"""

from __future__ import annotations

from datetime import timedelta

import lmk
from lmk import progress
from lmk.bench.figures import Entry, Limit, distribution, value
from lmk.bench.target import entry
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.policy import Policy
from lmk.proto.record_pb2 import KillPath
from lmk.workload.android import FOREGROUND, android_like
from lmk.workload.phases import phases_ms
from lmk.workload.population import Population
from lmk.workload.signal_trace import SignalTrace, checked_ms
from lmk.workload.trial import Reports, judge
from lmk.workload.vitals import read_vitals

__all__ = ["CYCLES", "MIN_KILLS", "bench_kill"]

CYCLES = 20
#: From seen to signalled, ms: where BPF kills, and where the agent has to get a CPU for it.
_LIMITS = {
    KillPath.KILL_PATH_IN_KERNEL: (Limit("p50", 1.0), Limit("p99", 5.0)),
    KillPath.KILL_PATH_ASSISTED: (Limit("p99", 15.0),),
}
#: Fewer say nothing about a p99.
MIN_KILLS = 30
_GROWTH = timedelta(minutes=2)
#: After each growth, before the app gives its memory back: kills under way end.
_SETTLE = timedelta(seconds=1)
_LAST_REPORTS = timedelta(seconds=10)


def bench_kill(
    device: Device, policy: Policy, *, bundle: Bundle, cycles: int = CYCLES
) -> tuple[Entry, list[str]]:
    """Run it; returns the figures, and a line for each thing that must not have happened."""
    before = read_vitals(device)
    scene = android_like(before.total_kb, before.available_kb, before.swap_total_kb)
    with (
        progress.steps(f"kill: {cycles} cycles on {device.serial}") as task,
        Population(device, scene.rows, bundle=bundle) as population,
        lmk.attach(device, policy, bundle=bundle) as session,
        SignalTrace(device) as trace,
    ):
        reports = Reports(session)
        for cycle in range(1, cycles + 1):
            task.step(f"cycle {cycle} of {cycles}")
            killed = sum(death.killed for death in population.deaths)
            population.refill()
            population.grow(FOREGROUND, scene.growth_mb, scene.rate_mb_per_s)
            if population.await_sized(FOREGROUND, _GROWTH):
                population.listen(_SETTLE)
                population.shrink(FOREGROUND)
            else:
                population.listen(_SETTLE)
            died = sum(death.killed for death in population.deaths) - killed
            task.done(f"{died} kills")
        deaths = sum(death.killed for death in population.deaths)
        seen = reports.await_count(deaths, _LAST_REPORTS)
        sent = trace.read()
        kernel_oom_kills = read_vitals(device).kernel_oom_kills - before.kernel_oom_kills
        verdict = judge(
            population.lives,
            population.deaths,
            seen,
            foreground=FOREGROUND,
            kernel_oom_kills=kernel_oom_kills,
            sent=sent,
        )
        hello = session.hello
    phases = [phases_ms(report) for report in seen]
    traced_ms, contradicted = checked_ms(seen, sent)

    def phase(key: str) -> list[float]:
        return [found[key] for found in phases if key in found]

    limits = _LIMITS[hello.kill_path]
    figures = {
        "seen_to_signal_ms": distribution("ms", phase("seen_to_signal_ms"), *limits),
        "seen_to_traced_signal_ms": distribution("ms", traced_ms, *limits),
        "gated_ms": distribution("ms", phase("gated_ms")),
        "signal_to_exit_ms": distribution("ms", phase("signal_to_exit_ms")),
        "signal_to_memory_back_ms": distribution("ms", phase("signal_to_memory_back_ms")),
        "kills": value("kills", len(verdict.deaths), Limit("value", at_least=MIN_KILLS)),
        "kernel_oom_kills": value("kills", kernel_oom_kills, Limit("value", 0)),
        "order_violations": value("kills", len(verdict.violations), Limit("value", 0)),
        "foreground_deaths": value("deaths", verdict.foreground_deaths, Limit("value", 0)),
        "cycles": value("cycles", cycles),
    }
    return entry(device, hello, before, figures), [*verdict.faults, *contradicted]
