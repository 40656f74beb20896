# SPDX-License-Identifier: Apache-2.0
"""The agent's record socket in memory: real records, and cuts wherever a test wants them."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from lmk.closing import Closing
from lmk.errors import TransientError
from lmk.proto.record_pb2 import (
    Heartbeat,
    Hello,
    KillReport,
    KillTimes,
    Lifecycle,
    Lost,
    OtherKill,
    Process,
    Reason,
    Record,
)
from lmk.report import Position, SessionOverError, encode_record

BOOT_ID = "5b2e1b8c-3f0a-4f2a-9d52-0f7a4a6f1c11"


def hello(run: int = 1, next_seq: int = 1, boot_id: str = BOOT_ID) -> Record:
    return Record(
        time_ns=1,
        hello=Hello(
            protocol_version=1,
            build_id="ab" * 32,
            device_name="fake",
            boot_id=boot_id,
            run=run,
            first_seq=1,
            next_seq=next_seq,
        ),
    )


def heartbeat() -> Record:
    return Record(time_ns=2, heartbeat=Heartbeat(boottime_ns=2))


def lost(first: int, count: int, run: int = 1) -> Record:
    body = Lost(where=Lost.SPOOL, count=count, run=run)
    setattr(body, "from", first)
    return Record(time_ns=3, lost=body)


def kill(seq: int, run: int = 1, name: str = "app") -> Record:
    return Record(
        seq=seq,
        run=run,
        time_ns=1000 + seq,
        kill=KillReport(kill_id=seq, victim=Process(pid=100 + seq, name=name, oom_score_adj=900)),
    )


def verdict(
    seq: int, pid: int, at_ms: int, *, adj: int = 900, name: str = "", start_ns: int = 0
) -> Record:
    """A would-be kill of a shadow session."""
    report = KillReport(
        kill_id=seq,
        dry_run=True,
        victim=Process(
            pid=pid, name=name or f"app{pid}", oom_score_adj=adj, start_time_ns=start_ns
        ),
        times=KillTimes(decided_ns=at_ms * 1_000_000),
        reason=Reason.REASON_LOW_MEM,
    )
    return Record(seq=seq, run=1, time_ns=at_ms * 1_000_000, kill=report)


def other_kill(
    seq: int,
    pid: int,
    at_ms: int,
    *,
    cause: OtherKill.Cause.ValueType = OtherKill.KERNEL_OOM,
    adj: int = 900,
    sender: str = "greedy",
    name: str = "",
) -> Record:
    """A kill that lmk did not make; it took 20 ms."""
    report = OtherKill(
        victim=Process(pid=pid, name=name or f"app{pid}", oom_score_adj=adj),
        cause=cause,
        sender=OtherKill.Sender(pid=77, uid=2000, name=sender, comm=sender[:15]),
        signalled_ns=at_ms * 1_000_000,
        exited_ns=(at_ms + 20) * 1_000_000,
    )
    return Record(seq=seq, run=1, time_ns=(at_ms + 21) * 1_000_000, other_kill=report)


def lifecycle(seq: int, kind: Lifecycle.Kind.ValueType, run: int = 1) -> Record:
    return Record(
        seq=seq, run=run, time_ns=5, lifecycle=Lifecycle(kind=kind, text=Lifecycle.Kind.Name(kind))
    )


class End(enum.Enum):
    """How a connection goes."""

    CLOSED = enum.auto()
    RESET = enum.auto()
    SILENT = enum.auto()


class CutStream(Closing):
    """A byte stream that ends after its bytes, one way or another."""

    def __init__(self, data: bytes, end: End, piece: int = 65536) -> None:
        self._data = data
        self._end = end
        self._piece = piece
        self.closed = False

    def read(self, max_bytes: int = 65536, timeout: timedelta | None = None) -> bytes:  # noqa: ARG002
        if self.closed:
            return b""
        taken, self._data = self._data[: self._piece], self._data[self._piece :]
        if taken or self._end is End.CLOSED:
            return taken
        if self._end is End.RESET:
            raise TransientError("connection reset")
        assert timeout is not None, "a read without limit on a silent link"
        raise TimeoutError

    def write(self, data: bytes) -> None:  # noqa: ARG002
        raise AssertionError("the client sends its request, then only reads")

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeAgent:
    """Serves `records`; each connection is cut after the next of `cuts` bytes, then none is."""

    records: list[Record]
    cuts: Iterator[tuple[int, End]]
    piece: int = 65536
    boot_id: str = BOOT_ID
    asked: list[Position] = field(default_factory=list)
    streams: list[CutStream] = field(default_factory=list)

    def connect(self, position: Position, follow: bool) -> CutStream:
        self.asked.append(position)
        cut, end = next(self.cuts, (1 << 30, End.CLOSED))
        if position.boot_id not in ("", self.boot_id):
            raise SessionOverError("another boot")
        newest = max((record.run for record in self.records), default=1)
        run = position.run or newest
        following = max((r.seq for r in self.records if r.run == newest), default=0) + 1
        answer = [hello(newest, following, self.boot_id)]
        if not position.seq:
            run = newest
        seq = position.seq or following
        for record in self.records:
            if (record.run, record.seq) >= (run, seq):
                answer += [record, heartbeat()] if follow else [record]
        data = b"".join(map(encode_record, answer))
        stream = CutStream(data[:cut], end, self.piece)
        self.streams.append(stream)
        return stream
