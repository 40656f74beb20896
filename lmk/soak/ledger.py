# SPDX-License-Identifier: Apache-2.0
"""All that a session's record stream says, collected until the session is over."""

from __future__ import annotations

import threading
from datetime import timedelta

from lmk.errors import LmkError
from lmk.proto.record_pb2 import KillReport, Lifecycle, Lost
from lmk.report.client import first_lost
from lmk.session import Session

__all__ = ["Ledger"]

_UNWANTED = {
    Lifecycle.RESUMED: "the agent was restarted",
    Lifecycle.LEASE_ENDED: "the lease ended",
    Lifecycle.AGENT_LOST: "the agent was lost",
    Lifecycle.LEFTOVERS: "handlers were left with nobody to serve them",
    Lifecycle.GUARDIAN_RESTARTED: "the guardian was restarted",
}


class Ledger:
    """Reads the records of `session` from now on, in a thread of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._changed = threading.Condition()
        self._reports: list[KillReport] = []
        self._lost: list[Lost] = []
        self._lifecycle: list[Lifecycle] = []
        #: Links that broke, as lines; the stream makes up for them by itself.
        self.breaks: list[str] = []
        self._error: LmkError | None = None
        self._thread = threading.Thread(target=self._collect, name="records", daemon=True)
        self._thread.start()

    @property
    def reports(self) -> list[KillReport]:
        """Every kill report that has come."""
        with self._changed:
            return list(self._reports)

    def await_reports(self, count: int, timeout: timedelta) -> None:
        """Return once `count` reports have come, or the time is over.

        :raises lmk.errors.LmkError: the stream broke for good.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._reports) >= count or self._error is not None,
                timeout.total_seconds(),
            )
            if self._error is not None:
                raise self._error

    def await_end(self, timeout: timedelta) -> None:
        """Return once the stream has ended, as it does with the session; not later than that."""
        self._thread.join(timeout.total_seconds())

    def faults(self) -> list[str]:
        """What a stream must not say, as lines: anything lost, a restart, an end by itself."""
        found = []
        with self._changed:
            for lost in self._lost:
                count = f"{lost.count} records" if lost.count else "an unknown number of records"
                found.append(
                    f"the stream lost {count} ({Lost.Where.Name(lost.where)}, "
                    f"from {first_lost(lost)} of run {lost.run})"
                )
            for entry in self._lifecycle:
                if entry.kind in _UNWANTED:
                    found.append(f"{_UNWANTED[entry.kind]}: {entry.text}")
                if entry.ring_lost:
                    found.append(f"{entry.ring_lost} events found no room in the kernel's ring")
            if not any(entry.kind == Lifecycle.DETACHED for entry in self._lifecycle):
                found.append("the stream ended without the agent's last word")
            ids = [report.kill_id for report in self._reports]
            if len(set(ids)) != len(ids):
                found.append("two reports have the same kill_id")
        return found

    def _note_break(self, line: str) -> None:
        if not line.startswith("link is back"):
            self.breaks.append(line)

    def _collect(self) -> None:
        try:
            with self._session.records(on_break=self._note_break) as stream:
                for record in stream:
                    with self._changed:
                        if record.HasField("kill"):
                            self._reports.append(record.kill)
                        elif record.HasField("lost"):
                            self._lost.append(record.lost)
                        elif record.HasField("lifecycle"):
                            self._lifecycle.append(record.lifecycle)
                        self._changed.notify_all()
        except LmkError as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()
