# SPDX-License-Identifier: Apache-2.0
"""A trial of a killer: a population, an attached session, a foreground app that grows.

What came of it is judged by the device's own record of deaths; the kill reports are
collected beside it and held against that record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from lmk.errors import LmkError
from lmk.proto.record_pb2 import KillReport
from lmk.workload.record import Death, Life, disagreements, order_violations
from lmk.workload.signal_trace import SentSignal, sealed_ns

if TYPE_CHECKING:
    from lmk.session import Session

__all__ = ["Reports", "Verdict", "judge"]


class Reports:
    """Collects the kill reports of a session from now on, in a thread of its own.

    :param on_report: called with each report, from that thread.
    """

    def __init__(
        self, session: Session, on_report: Callable[[KillReport], None] | None = None
    ) -> None:
        self._session = session
        self._on_report = on_report
        self._changed = threading.Condition()
        self._reports: list[KillReport] = []
        self._error: LmkError | None = None
        self._thread = threading.Thread(target=self._collect, name="reports", daemon=True)
        self._thread.start()

    @property
    def so_far(self) -> list[KillReport]:
        """All that have come."""
        with self._changed:
            return list(self._reports)

    def await_count(self, count: int, timeout: timedelta) -> list[KillReport]:
        """Wait until `count` reports have come or the time is over; returns what there is.

        :raises lmk.errors.LmkError: the stream broke.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._reports) >= count or self._error is not None,
                timeout.total_seconds(),
            )
            if self._error is not None:
                raise self._error
            return list(self._reports)

    def _collect(self) -> None:
        try:
            for report in self._session.reports():
                with self._changed:
                    self._reports.append(report)
                    self._changed.notify_all()
                if self._on_report is not None:
                    self._on_report(report)
        except LmkError as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trial showed.

    :ivar deaths: kills in the population, in the order in which they got their signals where
        that is known, else in which they ended.
    :ivar reports: that came for them.
    :ivar kernel_oom_kills: by the kernel's own OOM killer during the trial.
    :ivar violations: kills out of order, one line each.
    :ivar differences: between reports and record, one line each.
    """

    deaths: tuple[Death, ...]
    reports: tuple[KillReport, ...]
    kernel_oom_kills: int
    foreground_deaths: int
    violations: tuple[str, ...]
    differences: tuple[str, ...]

    @property
    def faults(self) -> list[str]:
        """Everything that must not happen and did, as lines; empty is a good trial."""
        found = []
        if self.kernel_oom_kills:
            found.append(f"the kernel's own OOM killer killed {self.kernel_oom_kills} times")
        if self.foreground_deaths:
            found.append(f"the foreground app died {self.foreground_deaths} times")
        return found + list(self.violations) + list(self.differences)


def judge(
    lives: Sequence[Life],
    deaths: Sequence[Death],
    reports: Sequence[KillReport],
    *,
    foreground: str,
    kernel_oom_kills: int,
    sent: Sequence[SentSignal] = (),
) -> Verdict:
    """Judge a trial by the record of deaths.

    :param sent: the kernel's own trace of SIGKILLs, where it could be taken.
    :param foreground: the process that must not die.
    :param kernel_oom_kills: growth of /proc/vmstat's ``oom_kill`` during the trial.
    """
    killed = [death for death in deaths if not death.asked]
    sealed = sealed_ns(deaths, sent)
    ordered = sorted(killed, key=lambda death: sealed.get(death.life.identity, death.time_ns))
    return Verdict(
        deaths=tuple(death for death in ordered if death.killed),
        reports=tuple(reports),
        kernel_oom_kills=kernel_oom_kills,
        foreground_deaths=sum(death.life.name == foreground for death in killed),
        violations=tuple(order_violations(lives, deaths, sealed)),
        differences=tuple(disagreements(deaths, reports)),
    )
