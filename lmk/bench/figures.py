# SPDX-License-Identifier: Apache-2.0
"""Figures of a bench: distributions and single values, as JSON and as a table.

The JSON form, which every bench keeps::

    {"bench": NAME, "entries": [{"device": …, "kernel": …, "abi": …, "path": …,
      "variant": …, "figures": {KEY: {"unit": …, "n": …, "p50": …, "p99": …, "max": …}
                                or {"unit": …, "value": …}}}]}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from lmk.console import Column, show_table

__all__ = [
    "Entry",
    "Figure",
    "Limit",
    "distribution",
    "percentile",
    "print_table",
    "to_json",
    "value",
]


_COLUMNS = (
    Column("figure"),
    Column("n", number=True, drop=3),
    Column("p50", number=True),
    Column("p99", number=True),
    Column("max", number=True, drop=1),
    Column("value", number=True),
    Column("unit", drop=2),
    Column("wanted"),
)


@dataclass(frozen=True, slots=True)
class Limit:
    """What a figure must stay within; of a distribution, its `of`.

    :ivar at_most: None is no bound.
    :ivar of: ``p50``, ``p99``, ``max`` or ``value``.
    """

    of: str
    at_most: float | None = None
    at_least: float | None = None

    def words(self) -> str:
        """``p99 ≤ 5``."""
        name = "" if self.of == "value" else f"{self.of} "
        if self.at_most is not None:
            return f"{name}≤ {self.at_most:g}"
        return f"{name}≥ {self.at_least:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: its unit and either n, p50, p99, max or value, with what it must hold."""

    unit: str
    numbers: dict[str, float | int]
    limits: tuple[Limit, ...] = ()

    @property
    def missed(self) -> list[Limit]:
        """Limits it does not hold; a figure that was never measured holds none."""
        found = []
        for limit in self.limits:
            number = self.numbers.get(limit.of, math.nan)
            low = limit.at_least is not None and not number >= limit.at_least
            high = limit.at_most is not None and not number <= limit.at_most
            if low or high:
                found.append(limit)
        return found


@dataclass(frozen=True, slots=True)
class Entry:
    """The figures of one device in one variant.

    :ivar path: kill path: ``in_kernel`` …
    :ivar variant: what was special about this run: ``zram``, ``no-swap`` …
    """

    device: str
    kernel: str
    abi: str
    path: str
    variant: str
    figures: dict[str, Figure] = field(default_factory=dict)

    def missed(self) -> list[str]:
        """Each limit that a figure misses, as a line."""
        return [
            f"{key}: {limit.words()} {figure.unit} wanted, "
            f"{_number(figure.numbers.get(limit.of))} seen"
            for key, figure in self.figures.items()
            for limit in figure.missed
        ]


def distribution(unit: str, samples: Iterable[float], *limits: Limit) -> Figure:
    """n, p50, p99 and max of samples."""
    ordered = sorted(samples)
    numbers: dict[str, float | int] = {"n": len(ordered)}
    if ordered:
        numbers |= {
            "p50": percentile(ordered, 50),
            "p99": percentile(ordered, 99),
            "max": ordered[-1],
        }
    return Figure(unit, {key: _rounded(number) for key, number in numbers.items()}, limits)


def value(unit: str, number: float, *limits: Limit) -> Figure:
    """A single value."""
    return Figure(unit, {"value": _rounded(number)}, limits)


def percentile(ordered: Sequence[float], pct: float) -> float:
    """The nearest-rank percentile of sorted samples: always one that was measured."""
    return ordered[max(0, math.ceil(len(ordered) * pct / 100) - 1)]


def to_json(bench: str, entries: Sequence[Entry]) -> str:
    """The JSON form, indented, with a newline at the end."""
    content = {
        "bench": bench,
        "entries": [
            {
                "device": entry.device,
                "kernel": entry.kernel,
                "abi": entry.abi,
                "path": entry.path,
                "variant": entry.variant,
                "figures": {
                    key: {"unit": figure.unit, **figure.numbers}
                    for key, figure in entry.figures.items()
                },
            }
            for entry in entries
        ],
    }
    return json.dumps(content, indent=2) + "\n"


def print_table(console: Console, bench: str, entries: Sequence[Entry]) -> None:
    """The same for people, with what each figure has to hold."""
    for entry in entries:
        console.print(
            f"{bench}: {entry.device}, {entry.kernel}, {entry.abi}, {entry.path}, {entry.variant}",
            style="italic",
            highlight=False,
            markup=False,
        )
        rows: list[tuple[str | Text, ...]] = []
        for key, figure in entry.figures.items():
            missed = figure.missed
            wanted = ", ".join(limit.words() for limit in figure.limits)
            verdict = Text(
                f"{wanted} {'missed' if missed else 'held'}" if wanted else "",
                style="bold red" if missed else "green",
            )
            numbers = (_number(figure.numbers.get(n)) for n in ("n", "p50", "p99", "max", "value"))
            rows.append((key, *numbers, figure.unit, verdict))
        show_table(console, _COLUMNS, rows)


def _rounded(number: float) -> float | int:
    return number if isinstance(number, int) else round(number, 4)


def _number(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number}" if isinstance(number, int) else f"{number:.3f}".rstrip("0").rstrip(".")
