# SPDX-License-Identifier: Apache-2.0
"""The faults that a soak finds in the stream of its records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lmk.proto.record_pb2 import KillReport, Lifecycle, Lost, Record
from lmk.session import Session
from lmk.soak.ledger import Ledger


class _Records:
    def __init__(self, records: list[Record]) -> None:
        self._records = records

    def __enter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __exit__(self, *_error: object) -> None:
        pass


def _ledger(*records: Record) -> Ledger:
    session = SimpleNamespace(records=lambda **_options: _Records(list(records)))
    ledger = Ledger(cast(Session, session))
    ledger.await_end(timedelta(seconds=10))
    return ledger


def _lifecycle(kind: Lifecycle.Kind.ValueType, **more: Any) -> Record:
    return Record(lifecycle=Lifecycle(kind=kind, text="said so", **more))


_END = _lifecycle(Lifecycle.DETACHED, ring_lost=0)


def test_stream_that_ends_with_a_detach_has_no_fault() -> None:
    ledger = _ledger(Record(kill=KillReport(kill_id=1)), Record(kill=KillReport(kill_id=2)), _END)
    assert ledger.faults() == []
    assert len(ledger.reports) == 2


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([Record(lost=Lost(where=Lost.SPOOL, count=3, run=1)), _END], "lost 3 records"),
        ([Record(lost=Lost(where=Lost.RING, run=1)), _END], "an unknown number"),
        ([_lifecycle(Lifecycle.DETACHED, ring_lost=4)], "4 events found no room"),
        ([_lifecycle(Lifecycle.RESUMED), _END], "agent was restarted"),
        ([Record(kill=KillReport(kill_id=1)), Record(kill=KillReport(kill_id=1)), _END], "kill_id"),
        ([], "without the agent's last word"),
    ],
)
def test_fault_of_the_stream_is_said(records: list[Record], words: str) -> None:
    (line,) = _ledger(*records).faults()
    assert words in line
