# SPDX-License-Identifier: Apache-2.0
"""The demo's result: in words and tables for people, as one object for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lmk.bench.figures import Figure, distribution
from lmk.demo.run import Performance
from lmk.proto.record_pb2 import KillPath, KillReport
from lmk.report.classes import class_of
from lmk.report.plain import plain
from lmk.report.signals import kb, reading
from lmk.workload.phases import PHASES, phases_ms

__all__ = ["as_json", "show"]

_PHASE_WORDS = {
    "gated_ms": "waiting for the victim before",
    "seen_to_decided_ms": "seen → decided",
    "seen_to_signal_ms": "seen → signalled",
    "signal_to_exit_ms": "signalled → exited",
    "signal_to_memory_back_ms": "signalled → memory back",
}


def show(console: Console, performance: Performance) -> None:
    """Print who died and why, how long it took, what came back, and the verdict."""
    verdict = performance.verdict
    console.print()
    if verdict.deaths:
        _deaths(console, performance)
        console.print()
        _latencies(console, performance)
        console.print()
    freed_kb = sum(report.freed_kb for report in verdict.reports)
    alive = sum(row.count for row in performance.scene.rows) - len(verdict.deaths)
    _line(console, "kills", f"{len(verdict.deaths)}, {kb(freed_kb)} given back, {alive} live on")
    _line(console, "foreground grew by", f"{performance.grown_mb} MB")
    _line(
        console,
        "foreground survived",
        "no" if verdict.foreground_deaths else "yes",
        good=not verdict.foreground_deaths,
    )
    _line(
        console,
        "kernel OOM kills",
        str(verdict.kernel_oom_kills),
        good=not verdict.kernel_oom_kills,
    )
    _line(
        console,
        "kills out of order",
        str(len(verdict.violations)),
        good=not verdict.violations,
    )
    agree = not verdict.differences
    _line(console, "reports agree with the device's record", "yes" if agree else "no", good=agree)
    for fault in verdict.faults:
        console.print(f"  ✗ {fault}", style="red", highlight=False, markup=False)
    if not verdict.deaths:
        console.print("  ✗ nobody was killed: there was nothing to see", style="red")


def as_json(performance: Performance) -> dict[str, Any]:
    """The same for programs; times in ms, memory in KiB."""
    verdict = performance.verdict
    hello = performance.hello
    return {
        "device": hello.device_name,
        "kernel": hello.kernel_release,
        "abi": hello.abi,
        "path": KillPath.Name(hello.kill_path).removeprefix("KILL_PATH_").lower(),
        "policy": performance.policy.name,
        "deaths": [
            {
                "name": death.life.name,
                "pid": death.life.pid,
                "uid": death.life.uid,
                "oom_score_adj": death.life.adj,
                "time_ns": death.time_ns,
                "signal": death.signal,
            }
            for death in verdict.deaths
        ],
        "reports": [plain(report) for report in verdict.reports],
        "latency": {
            key: {"unit": figure.unit, **figure.numbers}
            for key, figure in _figures(performance).items()
        },
        "freed_kb": sum(report.freed_kb for report in verdict.reports),
        "foreground_grew_mb": performance.grown_mb,
        "foreground_survived": not verdict.foreground_deaths,
        "kernel_oom_kills": verdict.kernel_oom_kills,
        "order_violations": list(verdict.violations),
        "disagreements": list(verdict.differences),
    }


def _deaths(console: Console, performance: Performance) -> None:
    table = Table(
        title="Who died, in this order, and why",
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for name, justify in (
        ("#", "right"),
        ("process", "left"),
        ("adj", "right"),
        ("class", "left"),
        ("gave back", "right"),
        ("because", "left"),
    ):
        table.add_column(name, justify="right" if justify == "right" else "left")
    by_pid = {report.victim.pid: report for report in performance.verdict.reports}
    for number, death in enumerate(performance.verdict.deaths, 1):
        report = by_pid.get(death.life.pid)
        table.add_row(
            str(number),
            death.life.name,
            str(death.life.adj),
            class_of(death.life.adj),
            kb(report.freed_kb) if report is not None and report.HasField("freed_kb") else "?",
            _because(report) if report is not None else "no report",
        )
    console.print(table, highlight=False)


def _because(report: KillReport) -> str:
    """Every signal that was on the bad side of its limit: ``free 43 MB < 53 MB``."""
    words = []
    for signal in report.signals:
        now = reading(signal)
        if now.breached:
            words.append(f"{now.name} {now.now} {'<' if now.below else '≥'} {now.limit}")
    return ", ".join(words)


def _figures(performance: Performance) -> dict[str, Figure]:
    phases = [phases_ms(report) for report in performance.verdict.reports]
    return {
        key: distribution("ms", [phase[key] for phase in phases if key in phase]) for key in PHASES
    }


def _latencies(console: Console, performance: Performance) -> None:
    table = Table(
        title="How long it took, ms", title_justify="left", box=None, pad_edge=False,
        header_style="bold",
    )  # fmt: skip
    table.add_column("phase")
    for name in ("n", "p50", "p99", "max"):
        table.add_column(name, justify="right")
    for key, figure in _figures(performance).items():
        cells = [figure.numbers.get(name) for name in ("n", "p50", "p99", "max")]
        table.add_row(
            _PHASE_WORDS[key],
            *("-" if cell is None else f"{cell:g}" for cell in cells),
        )
    console.print(table, highlight=False)


def _line(console: Console, what: str, value: str, *, good: bool | None = None) -> None:
    style = "" if good is None else ("bold green" if good else "bold red")
    console.print(Text(f"{what}: ") + Text(value, style=style), highlight=False)
