# SPDX-License-Identifier: Apache-2.0
"""What one run showed: from the device's record of lives and deaths, the watch and the probe."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lmk.bench.figures import percentile
from lmk.bench.killers.probe import Latencies
from lmk.bench.killers.rivals import Cost
from lmk.bench.killers.scene import CACHED_ADJ
from lmk.bench.killers.watch import Record
from lmk.workload.record import Death, Life, order_violations
from lmk.workload.signal_trace import SentSignal, sealed_ns

__all__ = ["UNITS", "Measured", "Span", "mean_alive", "measure"]

#: Every value of a run, in the order in which people want them, and its unit.
UNITS = {
    "lost_ms": "ms/event",
    "alive": "apps",
    "alive_in_events": "apps",
    "kills": "kills",
    "missed_deadlines": "rounds",
    "latency_p50_ms": "ms",
    "latency_p99_ms": "ms",
    "latency_max_ms": "ms",
    "some_ms": "ms",
    "full_ms": "ms",
    "kills_cached": "kills",
    "kills_background": "kills",
    "kills_perceptible": "kills",
    "kills_foreground": "kills",
    "early_kills": "kills",
    "relaunches": "starts",
    "kernel_oom_kills": "kills",
    "wrong_kills": "kills",
    "order_violations": "kills",
    "freed_kb_per_kill": "KiB",
    "refault_file_pages": "pages",
    "refault_anon_pages": "pages",
    "growth_s": "s",
    "growths_unfinished": "growths",
    "probe_deaths": "deaths",
    "killer_rss_kb": "KiB",
    "killer_cpu_ms_per_s": "ms/s",
    "killer_bpf_ms_per_s": "ms/s",
    "length_s": "s",
}

#: A kill before which less than this of `some` stall lies …
_QUIET_US = 10_000
#: … within that time was before any pressure.
_QUIET_NS = 1_000_000_000
#: One that began later was not there to be chosen instead.
_NEW_NS = 200_000_000
#: Up to there an app is one that the user notices.
_PERCEPTIBLE_ADJ = 200


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when (CLOCK_BOOTTIME).

    :ivar events: begin and end of each event of the load.
    """

    begin_ns: int
    end_ns: int
    events: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Measured:
    """Values by key, each kill, and what must not have happened."""

    values: dict[str, float]
    deaths: list[dict[str, int | str]] = field(default_factory=list)
    late: list[tuple[int, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def measure(
    span: Span,
    *,
    lives: Sequence[Life],
    deaths: Sequence[Death],
    sizes_kb: Mapping[tuple[int, int], int],
    record: Record,
    latencies: Latencies,
    cost: Cost,
    sent: Sequence[SentSignal] = (),
) -> Measured:
    """The values of one run, but for those that only its player knows.

    :param sizes_kb: what each process that ended had mapped, by its identity.
    :param cost: what the killer used within the span, and holds.
    :param sent: the kernel's own trace of kills, where it could be taken: who was doomed first
        is by it, and else by when they ended.
    """
    seconds = (span.end_ns - span.begin_ns) / 1e9
    deaths = [_by_a_killer(death) for death in deaths]
    killed = [
        death for death in deaths if death.killed and span.begin_ns <= death.time_ns < span.end_ns
    ]
    felt = latencies.between(span.begin_ns, span.end_ns)
    period_us = felt.period_ns // 1000
    ordered = sorted(made.latency_us / 1000 for made in felt.rounds) or [0.0]
    sealed = sealed_ns(deaths, sent)
    violations = order_violations(lives, deaths, sealed)
    wrong = _wrong(lives, deaths, killed, sealed)
    freed = [_freed_kb(death, sizes_kb, record) for death in killed]
    known = [kb for kb in freed if kb is not None]
    adjs = [death.life.adj for death in killed]

    def grown(name: str) -> float:
        return record.growth(name, span.begin_ns, span.end_ns)

    oom_kills = round(grown("oom_kills"))
    values: dict[str, float] = {
        "lost_ms": felt.lost_ms / len(span.events),
        "alive": mean_alive(lives, deaths, [(span.begin_ns, span.end_ns)]),
        "alive_in_events": mean_alive(lives, deaths, span.events),
        "kills": len(killed),
        "missed_deadlines": felt.missed,
        "latency_p50_ms": percentile(ordered, 50),
        "latency_p99_ms": percentile(ordered, 99),
        "latency_max_ms": ordered[-1],
        "some_ms": grown("some_us") / 1000,
        "full_ms": grown("full_us") / 1000,
        "kills_cached": sum(adj >= CACHED_ADJ for adj in adjs),
        "kills_background": sum(_PERCEPTIBLE_ADJ < adj < CACHED_ADJ for adj in adjs),
        "kills_perceptible": sum(0 < adj <= _PERCEPTIBLE_ADJ for adj in adjs),
        "kills_foreground": sum(adj <= 0 for adj in adjs),
        "early_kills": sum(_is_early(death, record) for death in killed),
        "relaunches": sum(span.begin_ns <= life.time_ns < span.end_ns for life in lives),
        "kernel_oom_kills": oom_kills,
        "wrong_kills": len(wrong),
        "order_violations": len(violations),
        "freed_kb_per_kill": sum(known) / len(known) if known else 0.0,
        "refault_file_pages": grown("refault_file"),
        "refault_anon_pages": grown("refault_anon"),
        "killer_rss_kb": cost.rss_kb,
        "killer_cpu_ms_per_s": cost.cpu_ns / 1e6 / seconds,
        "killer_bpf_ms_per_s": cost.bpf_ns / 1e6 / seconds,
        "length_s": seconds,
    }
    faults = list(wrong)
    if oom_kills:
        faults.append(f"the kernel's own OOM killer killed {oom_kills} times")
    return Measured(
        values,
        [_told(death, kb, record, span.begin_ns) for death, kb in zip(killed, freed, strict=True)],
        [
            ((made.due_ns - span.begin_ns) // 1_000_000, (made.latency_us - period_us) / 1000)
            for made in felt.rounds
            if made.latency_us > period_us
        ],
        faults,
    )


def _by_a_killer(death: Death) -> Death:
    """Killers that ask first (earlyoom does) mostly need no SIGKILL: a kill is a kill."""
    return replace(death, signal=signal.SIGKILL) if death.signal == signal.SIGTERM else death


def mean_alive(
    lives: Iterable[Life], deaths: Iterable[Death], times: Sequence[tuple[int, int]]
) -> float:
    """How many cached apps lived in these times (begin and end of each), as a mean over them."""
    ended = {death.life.identity: death.time_ns for death in deaths}
    cached = [life for life in lives if life.adj >= CACHED_ADJ]
    lived_ns = 0
    for begin_ns, end_ns in times:
        for life in cached:
            last_ns = min(end_ns, ended.get(life.identity, end_ns))
            lived_ns += max(0, last_ns - max(begin_ns, life.time_ns))
    return lived_ns / sum(end_ns - begin_ns for begin_ns, end_ns in times)


def _wrong(
    lives: Sequence[Life],
    deaths: Sequence[Death],
    killed: Sequence[Death],
    sealed: Mapping[tuple[int, int], int],
) -> list[str]:
    """Kills of what the user notices while any cached app was left, as lines."""
    ended = {death.life.identity: death.time_ns for death in deaths} | dict(sealed)
    found = []
    for death in killed:
        at_ns = ended[death.life.identity]
        left = [
            life.name
            for life in lives
            if life.adj >= CACHED_ADJ
            and life.time_ns + _NEW_NS < at_ns
            and ended.get(life.identity, at_ns + 1) > at_ns
        ]
        if left and death.life.adj <= _PERCEPTIBLE_ADJ:
            who = f"{death.life.name} (adj {death.life.adj})"
            found.append(f"{who} was killed while {len(left)} cached apps were left")
    return found


def _is_early(death: Death, record: Record) -> bool:
    return record.growth("some_us", death.time_ns - _QUIET_NS, death.time_ns) < _QUIET_US


def _freed_kb(
    death: Death, sizes_kb: Mapping[tuple[int, int], int], record: Record
) -> float | None:
    """Memory that a kill gave back: what was resident, and what the swapped part took in zram.

    Shortly before the kill: when the watch looked last. None: it never saw that process.
    """
    resident_kb = record.resident_kb(death.life.pid, death.time_ns)
    sample = record.at(death.time_ns)
    if resident_kb is None or sample is None:
        return None
    swapped_kb = max(0, sizes_kb.get(death.life.identity, 0) - resident_kb)
    share = sample.swap_uses_kb / sample.swapped_kb if sample.swapped_kb else 0.0
    return resident_kb + swapped_kb * share


def _told(
    death: Death, freed_kb: float | None, record: Record, begin_ns: int
) -> dict[str, int | str]:
    sample = record.at(death.time_ns)
    told: dict[str, int | str] = {
        "name": death.life.name,
        "pid": death.life.pid,
        "adj": death.life.adj,
        "time_ms": (death.time_ns - begin_ns) // 1_000_000,
    }
    if freed_kb is not None:
        told["freed_kb"] = round(freed_kb)
    if sample is not None:
        told["available_kb"] = sample.available_kb
        told["swap_free_kb"] = sample.swap_free_kb
    return told
