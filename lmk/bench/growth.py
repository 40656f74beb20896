# SPDX-License-Identifier: Apache-2.0
"""``tools/bench growth``: what a decision costs, by how many processes live.

Each decision is one that somebody asks for (a vendor's request), on a device that is otherwise
at rest, and ends in a kill: sample, walk over all processes, choice, signal. It is the walk that
pressure has made too, without the noise of pressure.

Twice: with processes as a phone has them, most of which are passed over by their oom_score_adj
alone, and with cached ones only, all of one adj, which is the worst: the memory of each is read.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import lmk
from lmk import progress
from lmk.bench.agent import BpfStatistics, bpf_cost
from lmk.bench.figures import Entry, Figure, Limit, distribution, value
from lmk.bench.target import entry
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.device.root import find_root
from lmk.errors import LmkError
from lmk.policy import Policy
from lmk.proto.record_pb2 import KillReport
from lmk.session import Session
from lmk.workload.android import FIRST_UID, LAST_UID
from lmk.workload.population import Population, Row
from lmk.workload.trial import Reports
from lmk.workload.vitals import read_vitals

__all__ = ["COUNTS", "KILLS", "RAM_MB", "bench_growth"]

COUNTS = (100, 300, 1000, 3000)
#: Fewer say nothing about a p99.
KILLS = 100
#: For the virtual device: 3,000 processes take 600 MB, and none of it may be scarce.
RAM_MB = 1800
_FLOOR = 900
_SIZE_KB = 64
#: Of 100 processes: native ones, persistent ones, in use, in the background, cached.
_PHONE = ((-1000, 50), (-800, 10), (100, 5), (500, 5), (800, 10), (900, 10), (950, 5), (999, 5))
_SHAPES = {"as on a phone": _PHONE, "all cached, of one adj": ((950, 100),)}
#: Uids that a population has for itself: a hundred, so processes come by the hundred.
_HUNDRED = LAST_UID - FIRST_UID + 1
#: So many are missing at most when the next decision is made.
_MISSING_SHARE = 50
_REPORT = timedelta(seconds=20)
#: What must hold: one figure at 1,000, and the ratio of two.
_HELD, _BASE, _P50_MS, _RATIO = 1000, 100, 5.0, 12.0


def bench_growth(
    device: Device,
    policy: Policy,
    *,
    bundle: Bundle,
    counts: Sequence[int] = COUNTS,
    kills: int = KILLS,
) -> list[Entry]:
    """Measure `kills` decisions with each of `counts` processes, in each shape.

    :param counts: hundreds.
    :raises lmk.errors.LmkError: a decision that was asked for killed nobody.
    """
    calm = Policy()
    calm.CopyFrom(policy)
    calm.name = "bench: only who is asked for"
    # Nothing is ever scarce: no decision of its own comes between.
    calm.scarcity.available_below_pct = 0
    del calm.only_uids[:]
    calm.only_uids.add(first=FIRST_UID, last=LAST_UID)
    vitals = read_vitals(device)
    entries = []
    with (
        progress.steps(f"growth: on {device.serial}") as task,
        lmk.attach(device, calm, bundle=bundle) as session,
        BpfStatistics(find_root(device)),
    ):
        reports = Reports(session)
        for shape, shares in _SHAPES.items():
            figures: dict[str, Figure] = {}
            for count in counts:
                task.step(f"start {count} processes, {shape}")
                with Population(device, _rows(count, shares), bundle=bundle) as population:
                    task.step(f"{kills} decisions among {count} processes, {shape}")
                    begin = bpf_cost(device, session.status())
                    mine = _kill(session, population, reports, count, kills)
                    end = bpf_cost(device, session.status())
                measured = _figures(count, mine, end.run_ns - begin.run_ns)
                figures |= measured
                task.done(f"p50 {measured[_cost(count)].numbers['p50']:g} ms")
            if _cost(_HELD) in figures and _cost(_BASE) in figures:
                held, base = (figures[_cost(count)].numbers["p50"] for count in (_HELD, _BASE))
                figures[f"cost_{_HELD}_to_{_BASE}"] = value(
                    "ratio", held / base, Limit("value", _RATIO)
                )
            found = entry(device, session.hello, vitals, figures)
            entries.append(replace(found, variant=f"{found.variant}; processes {shape}"))
    return entries


def _figures(count: int, reports: Sequence[KillReport], run_ns: int) -> dict[str, Figure]:
    def since_seen(moment: str) -> list[float]:
        return [(getattr(r.times, moment) - r.times.seen_ns) / 1e6 for r in reports]

    held = [Limit("p50", _P50_MS)] if count == _HELD else []
    return {
        f"live_{count}": value(
            "processes", statistics.median(report.processes_seen for report in reports)
        ),
        f"seen_to_decided_{count}_ms": distribution("ms", since_seen("decided_ns")),
        _cost(count): distribution("ms", since_seen("signalled_ns"), *held),
        # All that the handlers did from one to the next, refilling included.
        f"bpf_{count}_ms": value("ms/kill", run_ns / 1e6 / max(1, len(reports))),
    }


def _cost(count: int) -> str:
    return f"seen_to_signal_{count}_ms"


def _rows(count: int, shares: Sequence[tuple[int, int]]) -> list[Row]:
    rows = []
    for hundred in range(count // _HUNDRED):
        uid = FIRST_UID
        for adj, share in shares:
            name = f"p{hundred}.{adj}-" if share > 1 else f"p{hundred}.{adj}"
            rows.append(Row(name, uid, adj, _SIZE_KB, count=share))
            uid += share
    return rows


def _kill(
    session: Session, population: Population, reports: Reports, count: int, kills: int
) -> list[KillReport]:
    """Ask for that many kills, one after the other; their reports."""
    before = len(reports.so_far)
    for number in range(1, kills + 1):
        answer = session.request_kill(_FLOOR)
        if answer.outcome != "killed":
            raise LmkError(f"{session.device.serial}: a kill was asked for: {answer.outcome}")
        # Its report comes once it has ended, and with that the next may be asked for.
        if len(reports.await_count(before + number, _REPORT)) < before + number:
            raise LmkError(f"{session.device.serial}: no report of kill {answer.kill_id}")
        missing = number % max(1, count // _MISSING_SHARE) == 0
        if missing and number < kills:
            population.refill()
    return reports.so_far[before:]
