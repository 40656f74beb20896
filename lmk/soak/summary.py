# SPDX-License-Identifier: Apache-2.0
"""A soak's result: a table for people, one object for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from lmk.bench.figures import distribution
from lmk.console import Column, show_table
from lmk.proto.record_pb2 import KillPath, Reason
from lmk.report.classes import class_of
from lmk.soak.run import Outcome
from lmk.workload.phases import phases_ms

__all__ = ["as_json", "show"]

_COLUMNS = (Column("what"), Column("seen", number=True), Column("wanted"))


def show(console: Console, outcome: Outcome) -> None:
    """Print what was done and seen, with what must hold, and every fault."""
    figures = _figures(outcome)
    latency, ooms = figures["seen_to_signal_ms"], outcome.kernel_oom_kills
    rows: list[tuple[str | Text, ...]] = [
        ("minutes", f"{outcome.duration_s / 60:g}", ""),
        ("launches, changes of adj, exits, bursts", _done(outcome), ""),
        ("kills", str(outcome.kills), _verdict("at least 1", good=bool(outcome.kills))),
        ("kills per minute", f"{figures['kills_per_minute']:.1f}", ""),
        *((f"  of {name} apps", str(count), "") for name, count in _by_class(outcome).items()),
        *((f"  for {name}", str(count), "") for name, count in _by_reason(outcome).items()),
        ("seen → signalled, p50 / p99, ms", _pair(latency), ""),
        ("kill reports", str(len(outcome.reports)), ""),
        _none("lost from the stream", outcome.lost),
        _none("wrong victims", outcome.wrong),
        _none("missed or untrue reports", outcome.missed),
        ("kernel OOM kills", str(ooms), _verdict("0", good=not ooms)),
        *_sizes(outcome),
        ("links that broke and came back", str(len(outcome.breaks)), ""),
    ]
    show_table(console, _COLUMNS, rows)
    for fault in outcome.faults:
        console.print(f"  ✗ {fault}", style="red", highlight=False, markup=False, soft_wrap=True)


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The same for programs: times in ms, memory in KiB."""
    hello = outcome.hello
    return {
        "device": hello.device_name,
        "kernel": hello.kernel_release,
        "abi": hello.abi,
        "path": KillPath.Name(hello.kill_path).removeprefix("KILL_PATH_").lower(),
        "policy": outcome.policy.name,
        "seed": outcome.seed,
        "minutes": outcome.duration_s / 60,
        "done": outcome.done,
        "lives": len(outcome.history.lives),
        **_figures(outcome),
        "kills_by_class": _by_class(outcome),
        "kills_by_reason": _by_reason(outcome),
        "reports": len(outcome.reports),
        "kernel_oom_kills": outcome.kernel_oom_kills,
        "lost": list(outcome.lost),
        "wrong_victims": list(outcome.wrong),
        "missed": list(outcome.missed),
        "grown": list(outcome.grown),
        "breaks": list(outcome.breaks),
        "holdings": [
            [
                {
                    "name": holding.name,
                    "rss_kb": holding.rss_kb,
                    "anon_kb": holding.anon_kb,
                    "files": holding.files,
                }
                for holding in sample
            ]
            for sample in outcome.samples
        ],
        "faults": outcome.faults,
    }


def _figures(outcome: Outcome) -> dict[str, Any]:
    latencies = [
        phase["seen_to_signal_ms"]
        for report in outcome.reports
        if "seen_to_signal_ms" in (phase := phases_ms(report))
    ]
    return {
        "kills": outcome.kills,
        "kills_per_minute": round(outcome.kills / (outcome.duration_s / 60), 2),
        "seen_to_signal_ms": distribution("ms", latencies).numbers,
    }


def _by_class(outcome: Outcome) -> dict[str, int]:
    found: dict[str, int] = {}
    for report in sorted(outcome.reports, key=lambda report: -report.victim.oom_score_adj):
        name = class_of(report.victim.oom_score_adj)
        found[name] = found.get(name, 0) + 1
    return found


def _by_reason(outcome: Outcome) -> dict[str, int]:
    found: dict[str, int] = {}
    for report in outcome.reports:
        name = Reason.Name(report.reason) if report.reason in Reason.values() else "VENDOR"
        name = name.removeprefix("REASON_").lower().replace("_", " ")
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _done(outcome: Outcome) -> str:
    return ", ".join(str(outcome.done.get(kind, 0)) for kind in ("launch", "adj", "exit", "burst"))


def _sizes(outcome: Outcome) -> list[tuple[str | Text, ...]]:
    rows: list[tuple[str | Text, ...]] = []
    for series in zip(*outcome.samples, strict=True):
        name = series[0].name
        least = min(holding.rss_kb for holding in series)
        most = max(holding.rss_kb for holding in series)
        flat = not any(f"the {name} " in line for line in outcome.grown)
        seen = f"{least}" if least == most else f"{least} to {most}"
        rows.append((f"resident set of the {name}, KiB", seen, _verdict("flat", good=flat)))
    return rows


def _pair(numbers: dict[str, float | int]) -> str:
    return f"{numbers['p50']:.2f} / {numbers['p99']:.2f}" if numbers.get("n") else "-"


def _none(what: str, lines: tuple[str, ...]) -> tuple[str | Text, ...]:
    return what, str(len(lines)), _verdict("0", good=not lines)


def _verdict(wanted: str, *, good: bool) -> Text:
    return Text(f"{wanted} {'held' if good else 'missed'}", style="green" if good else "bold red")
