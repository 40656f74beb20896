# SPDX-License-Identifier: Apache-2.0
"""Kill reports as they come: a live table on a terminal, a line each elsewhere."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from lmk.console import Column, build_table, fitting
from lmk.proto.record_pb2 import KillReport
from lmk.report.classes import class_of
from lmk.report.signals import kb, reason_words
from lmk.report.text import printable
from lmk.workload.phases import phases_ms
from lmk.workload.vitals import Vitals

__all__ = ["LiveReports"]

_COLUMNS = (
    Column("+s", number=True, least=6),
    Column("who died", least=21),
    Column("adj", number=True, least=4),
    Column("class", drop=4, least=10),
    Column("why", least=10),
    Column("gave back", number=True, drop=1, least=9),
    Column("seen→signal", number=True, drop=2, least=11),
    Column("→exit", number=True, drop=3, least=8),
    Column("→memory back", number=True, least=12),
)
#: Lines of a terminal that the table does not get: its head, the state, what stands above.
_OTHER_LINES = 5


class LiveReports:
    """Shows reports and, on a terminal, the state of memory below them.

    :param begin_ns: CLOCK_BOOTTIME of the device that times are counted from.
    """

    def __init__(self, console: Console, begin_ns: int) -> None:
        self._console = console
        self._begin_ns = begin_ns
        self._lock = threading.Lock()
        self._rows: list[tuple[int, tuple[str, ...]]] = []
        self._state = ""
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(self._render(), console=self._console, refresh_per_second=8)
            self._live.start()
        else:
            self._print([column.heading for column in _COLUMNS])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            # What scrolled off while it ran is all there at the end.
            self._live.vertical_overflow = "visible"
            self._live.update(self._render(whole=True), refresh=True)
            self._live.stop()

    def show(self, report: KillReport) -> None:
        """Add a report. Any thread may call this."""
        row = self._row(report)
        with self._lock:
            # Reports come as kills end; the table has them in the order in which they began.
            self._rows.append((_began_ns(report), row))
            self._rows.sort()
            if self._live is not None:
                self._live.update(self._render())
            else:
                self._print(row)

    def state(self, who: str, grown_mb: float, target_mb: int, vitals: Vitals) -> None:
        """Say how far the growing app is and how memory stands."""
        used_mb = (vitals.swap_total_kb - vitals.swap_free_kb) / 1024
        with self._lock:
            self._state = (
                f"{who} has {grown_mb:.0f} of {target_mb} MB · "
                f"{vitals.available_kb / 1024:.0f} MB available · "
                f"{used_mb:.0f} MB swapped"
            )
            if self._live is not None:
                self._live.update(self._render())

    def _row(self, report: KillReport) -> tuple[str, ...]:
        victim = report.victim
        latency = phases_ms(report)
        return (
            f"{(_began_ns(report) - self._begin_ns) / 1e9:.2f}",
            printable(victim.name or victim.comm),
            str(victim.oom_score_adj),
            class_of(victim.oom_score_adj),
            reason_words(report.reason),
            kb(report.freed_kb) if report.HasField("freed_kb") else "?",
            _ms(latency.get("seen_to_signal_ms")),
            _ms(latency.get("signal_to_exit_ms")),
            _ms(latency.get("signal_to_memory_back_ms")),
        )

    def _print(self, cells: tuple[str, ...] | list[str]) -> None:
        line = "  ".join(
            cell.rjust(column.least) if column.number else cell.ljust(column.least)
            for cell, column in zip(cells, _COLUMNS, strict=True)
        )
        self._console.print(line.rstrip(), highlight=False, markup=False, soft_wrap=True)

    def _render(self, *, whole: bool = False) -> Group:
        rows = [row for _began, row in self._rows]
        if not whole:
            rows = rows[-max(1, self._console.height - _OTHER_LINES) :]
        kept, _dropped = fitting(_COLUMNS, rows, self._console.width)
        return Group(build_table(_COLUMNS, rows, kept), Text(self._state, style="dim"))


def _began_ns(report: KillReport) -> int:
    times = report.times
    return times.signalled_ns if times.HasField("signalled_ns") else times.decided_ns


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} ms"
