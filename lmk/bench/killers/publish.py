# SPDX-License-Identifier: Apache-2.0
"""What a series of runs comes to, for people and for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console

from lmk.bench.killers.curve import Comparison
from lmk.bench.killers.measure import UNITS
from lmk.bench.killers.run import Run
from lmk.bench.killers.summary import Spread, Summary
from lmk.console import Column, show_table

__all__ = ["Where", "print_comparisons", "print_summaries", "to_json"]

#: What the table has a column for; the JSON form has all.
_SHOWN = (
    ("lost ms", "lost_ms", 0),
    ("alive", "alive", 0),
    ("in events", "alive_in_events", 0),
    ("kills", "kills", 0),
    ("late p99 ms", "latency_p99_ms", 3),
    ("max ms", "latency_max_ms", 5),
    ("some ms", "some_ms", 4),
    ("full ms", "full_ms", 6),
    ("early", "early_kills", 7),
    ("starts", "relaunches", 9),
    ("oom", "kernel_oom_kills", 2),
    ("wrong", "wrong_kills", 1),
    ("KiB/kill", "freed_kb_per_kill", 8),
    ("RSS KiB", "killer_rss_kb", 10),
    ("CPU ms/s", "killer_cpu_ms_per_s", 11),
    ("BPF ms/s", "killer_bpf_ms_per_s", 12),
)
_COLUMNS = (
    Column("killer"),
    Column("runs", number=True, drop=13),
    *(Column(title, number=True, drop=drop) for title, _key, drop in _SHOWN),
)
_COMPARED = (
    Column("rival"),
    Column("lost ms", number=True),
    Column("alive", number=True),
    Column("lmk there", number=True),
    Column("times", number=True),
    Column("in events", number=True),
    Column("lmk there", number=True),
    Column("times", number=True),
    Column("better than lmk"),
)


@dataclass(frozen=True, slots=True)
class Where:
    """What it was measured on; `variant` says memory and swap."""

    device: str
    kernel: str
    abi: str
    variant: str


def print_summaries(console: Console, where: Where, summaries: Sequence[Summary]) -> None:
    """A table for each load: medians, with the interval of the first two."""
    for load in dict.fromkeys(summary.load for summary in summaries):
        _say(console, f"{load}: {where.device}, {where.kernel}, {where.abi}, {where.variant}")
        rows = [
            (
                summary.killer,
                str(summary.runs),
                *(_cell(key, summary.figures[key]) for _title, key, _drop in _SHOWN),
            )
            for summary in summaries
            if summary.load == load
        ]
        show_table(console, _COLUMNS, rows)


def print_comparisons(console: Console, load: str, compared: Sequence[Comparison]) -> None:
    """Each rival's point, and what lmk keeps alive at its time lost."""
    _say(console, f"{load}: time lost against apps alive, each rival against lmk's curve")
    rows = [
        (
            comparison.point.killer,
            _interval(comparison.point.lost),
            _interval(comparison.point.alive),
            _optional(comparison.alive_there),
            _times(comparison.gain),
            _interval(comparison.point.in_events),
            _optional(comparison.in_events_there),
            _times(comparison.gain_in_events),
            _verdict(comparison),
        )
        for comparison in compared
    ]
    show_table(console, _COMPARED, rows)


def to_json(
    where: Where,
    summaries: Sequence[Summary],
    runs: Sequence[Run],
    compared: dict[str, list[Comparison]],
) -> str:
    """All of it; docs/benchmarks.md has the keys."""
    entries = [
        {
            **asdict(where),
            "path": summary.path,
            "killer": summary.killer,
            "load": summary.load,
            "runs": summary.runs,
            "figures": {
                key: {"unit": UNITS[key], **_numbers(figure)}
                for key, figure in summary.figures.items()
            },
        }
        for summary in summaries
    ]
    content = {
        "bench": "killers",
        "entries": entries,
        "comparisons": [
            {
                "load": load,
                "rival": comparison.point.killer,
                "better": comparison.better,
                "surely": comparison.surely,
                "alive_there": _rounded(comparison.alive_there),
                "gain": _rounded(comparison.gain),
                "in_events_there": _rounded(comparison.in_events_there),
                "gain_in_events": _rounded(comparison.gain_in_events),
            }
            for load, found in compared.items()
            for comparison in found
        ],
        "runs": [
            asdict(run) | {"values": {key: _rounded(n) for key, n in run.values.items()}}
            for run in runs
        ],
    }
    return json.dumps(content, indent=1) + "\n"


def _verdict(comparison: Comparison) -> str:
    if comparison.surely:
        return "yes"
    return "by medians, within the intervals" if comparison.better else "no"


def _optional(number: float | None) -> str:
    return "" if number is None else _number(number)


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _cell(key: str, figure: Spread) -> str:
    return _interval(figure) if key in ("lost_ms", "alive") else _number(figure.median)


def _interval(figure: Spread) -> str:
    return f"{_number(figure.median)} ({_number(figure.low)}..{_number(figure.high)})"


def _number(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.1f}"


def _numbers(figure: Spread) -> dict[str, float | int | None]:
    return {
        "n": figure.n,
        "p50": _rounded(figure.median),
        "low": _rounded(figure.low),
        "high": _rounded(figure.high),
        "q1": _rounded(figure.q1),
        "q3": _rounded(figure.q3),
        "min": _rounded(figure.least),
        "max": _rounded(figure.most),
    }


def _rounded(number: float | None) -> float | int | None:
    return number if number is None or isinstance(number, int) else round(number, 4)


def _say(console: Console, line: str) -> None:
    console.print(line, style="italic", highlight=False, markup=False)
