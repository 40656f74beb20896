# SPDX-License-Identifier: Apache-2.0
"""A comparison of verdicts and kills, as a table for people and as an object for scripts."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from lmk.console import Column, show_table
from lmk.proto.record_pb2 import OtherKill, Reason
from lmk.report.compare import Comparison, Event, Match, Pair
from lmk.report.signals import cause_words, reason_words
from lmk.report.text import printable

__all__ = ["as_json", "show"]

_COLUMNS = (
    Column("+s", number=True, drop=5),
    Column("VERDICT"),
    Column("ADJ", number=True, drop=4),
    Column("WHY", drop=3),
    Column("KILL"),
    Column("ADJ", number=True, drop=4),
    Column("BY", drop=2),
    Column("MATCH"),
    Column("EARLIER", number=True, drop=1),
)
_NAME = 28


def show(console: Console, comparison: Comparison) -> None:
    """Print the pairs, and below them how many agree."""
    pairs = comparison.pairs
    if pairs:
        begin_ns = min(pair.time_ns for pair in pairs)
        show_table(console, _COLUMNS, [_row(pair, begin_ns) for pair in pairs])
    for line in _summary(comparison):
        console.print(line, soft_wrap=True, markup=False)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Pairs and counts. Times are nanoseconds, ``earlier_ms`` milliseconds."""
    return {
        "pairs": [
            {
                "match": pair.match.name.lower(),
                "verdict": _event(pair.verdict),
                "kill": _event(pair.kill),
                "earlier_ms": pair.earlier_ms,
            }
            for pair in comparison.pairs
        ],
        "summary": {
            **{match.name.lower(): comparison.count(match) for match in Match},
            "verdicts": _verdicts(comparison),
            "kills": _kills(comparison),
            "median_earlier_ms": comparison.earlier_ms,
            "left_out": dict(comparison.left_out),
            "lost": comparison.lost,
        },
    }


def _verdicts(comparison: Comparison) -> int:
    return sum(pair.verdict is not None for pair in comparison.pairs)


def _kills(comparison: Comparison) -> int:
    return sum(pair.kill is not None for pair in comparison.pairs)


def _event(event: Event | None) -> dict[str, Any] | None:
    if event is None:
        return None
    process = event.process
    told: dict[str, Any] = {
        "time_ns": event.time_ns,
        "name": event.name,
        "pid": process.pid,
        "uid": process.uid,
        "oom_score_adj": process.oom_score_adj,
        "class": event.class_name,
        "size_kb": process.anon_kb + process.file_kb + process.swap_kb,
        "by": event.by,
    }
    if event.reason is not None:
        known = event.reason in Reason.values()
        told["reason"] = Reason.Name(event.reason) if known else event.reason
        told["said"] = event.said
    if event.cause is not None:
        known = event.cause in OtherKill.Cause.values()
        told["cause"] = OtherKill.Cause.Name(event.cause) if known else event.cause
    return told


def _row(pair: Pair, begin_ns: int) -> tuple[str, ...]:
    verdict, kill = pair.verdict, pair.kill
    earlier = pair.earlier_ms
    said = f" ({verdict.said} times)" if verdict is not None and verdict.said > 1 else ""
    return (
        f"{(pair.time_ns - begin_ns) / 1e9:.2f}",
        _name(verdict),
        str(verdict.process.oom_score_adj) if verdict is not None else "",
        reason_words(verdict.reason) + said
        if verdict is not None and verdict.reason is not None
        else "",
        _name(kill),
        str(kill.process.oom_score_adj) if kill is not None else "",
        _by(kill),
        pair.match.value,
        "" if earlier is None else f"{earlier:.0f} ms",
    )


def _name(event: Event | None) -> str:
    if event is None:
        return "-"
    name = printable(event.name)
    return name if len(name) <= _NAME else "…" + name[1 - _NAME :]


def _by(kill: Event | None) -> str:
    if kill is None:
        return ""
    if kill.cause in (None, OtherKill.PROCESS, OtherKill.KERNEL):
        return printable(kill.by)
    return cause_words(kill.cause)


def _summary(comparison: Comparison) -> list[str]:
    counts = ", ".join(f"{comparison.count(match)} {match.value}" for match in Match)
    lines = [f"{_verdicts(comparison)} verdicts, {_kills(comparison)} kills: {counts}"]
    earlier = comparison.earlier_ms
    if earlier is not None:
        word = "earlier" if earlier >= 0 else "later"
        lines.append(f"where both are, the verdict came {abs(earlier):.0f} ms {word} (median)")
    if comparison.left_out:
        who = ", ".join(
            f"{printable(name)} {count}" for name, count in comparison.left_out.most_common()
        )
        lines.append(f"left out, SIGKILLs not for memory: {who} (--killer NAME counts them)")
    if comparison.lost:
        lines.append(f"{comparison.lost} records are lost: what they held is missing here")
    return lines
