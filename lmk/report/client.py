# SPDX-License-Identifier: Apache-2.0
"""The live stream: reconnects by itself, asks for what it missed, gives every record once.

The agent sends a Heartbeat every second; a link on which three of them are missing is
taken for dead. The next connection asks for the run and sequence number after the last
record that was given, so a cut at any byte costs nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from lmk.device.interface import ByteStream
from lmk.errors import ProtocolError, TransientError, UsageError
from lmk.proto.record_pb2 import Heartbeat, Hello, Lifecycle, Lost, Record
from lmk.report.wire import StreamParser

__all__ = ["Position", "RecordStream", "SessionOverError", "first_lost", "parse_position"]

HEARTBEAT = timedelta(seconds=1)
#: Three heartbeats missing, and half of one for a device that is short of memory.
SILENCE = 3.5 * HEARTBEAT
#: How long to go on trying after the link broke: a cable that is out for a minute costs nothing.
PATIENCE = timedelta(minutes=3)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
#: Connections in a row that end in order and bring nothing of what Hello announced.
_BARREN_LIMIT = 10
_ENDS = (
    Lifecycle.DETACHED,
    Lifecycle.LEASE_ENDED,
    Lifecycle.AGENT_LOST,
    # A session in another killer's place says those last, and only at its end.
    Lifecycle.LMKD_RETURNED,
    Lifecycle.LMKD_RESTORED,
    Lifecycle.OTHER_KILLER_RETURNED,
    Lifecycle.OTHER_KILLER_RESTORED,
)


class SessionOverError(TransientError):
    """The device answers, and no session is attached to it any more."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a device's records.

    :ivar boot_id: empty: the boot the device is in.
    :ivar run: 0: the newest.
    :ivar seq: the first record wanted; 0: only what comes from now on.
    """

    boot_id: str = ""
    run: int = 0
    seq: int = 0


def parse_position(text: str) -> Position:
    """``SEQ`` of the newest run, ``RUN:SEQ``, or ``start``: the oldest record there is.

    :raises lmk.errors.UsageError: it is none of these.
    """
    if text == "start":
        return Position(run=1, seq=1)
    match = re.fullmatch(r"(?:([1-9][0-9]{0,8}):)?([1-9][0-9]{0,17})", text)
    if match is None:
        raise UsageError(f"{text!r} is not a place in a stream: SEQ, RUN:SEQ or start")
    return Position(run=int(match[1] or 0), seq=int(match[2]))


class RecordStream:
    """Iterate it for records: Hello (one for each connection), Lost, and every spooled record once.

    :param connect: opens a connection and sends the request for that position. It raises
        :class:`SessionOverError` when nothing is attached, TransientError when it is worth
        another try.
    :param start: where to begin.
    :param follow: go on for what comes; else end after the last record there is.
    :param patience: how long to try to reconnect.
    :param on_break: told of each break in one line, and of the reconnection.
    :param check: given each Hello; what it raises ends the stream.
    """

    def __init__(
        self,
        connect: Callable[[Position, bool], ByteStream],
        start: Position | None = None,
        *,
        follow: bool = True,
        patience: timedelta = PATIENCE,
        silence: timedelta = SILENCE,
        on_break: Callable[[str], None] = lambda _line: None,
        check: Callable[[Hello], None] = lambda _hello: None,
    ) -> None:
        self._check = check
        self._connect = connect
        self._position = start or Position()
        self._follow = follow
        self._patience = patience
        self._silence = silence
        self._on_break = on_break
        self._stream: ByteStream | None = None
        self._closed = False
        self._ending = False
        self._gap_is_said = False
        #: Of the connection now.
        self.hello: Hello | None = None
        #: The last one that came.
        self.heartbeat: Heartbeat | None = None

    @property
    def position(self) -> Position:
        """The record that comes next."""
        return self._position

    def open(self) -> Self:
        """Make the first connection now, errors included, instead of at the first record."""
        if self._stream is None and not self._closed:
            self._stream = self._connect(self._position, self._follow)
        return self

    def close(self) -> None:
        """End the stream; an iteration in another thread ends too. May be called twice."""
        self._closed = True
        if self._stream is not None:
            self._stream.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Record]:
        """Records as they come.

        :raises lmk.errors.TransientError: the device stayed away longer than the patience.
        :raises lmk.errors.ProtocolError: what came is not the record stream.
        """
        self.open()
        barren = 0
        while self._stream is not None:
            before = self._position
            why = yield from self._one_connection(self._stream)
            self._stream.close()
            self._stream = None
            if self._closed or (not why and self._complete()):
                return
            barren = barren + 1 if self._position == before and self.hello is not None else 0
            if not why and barren == _BARREN_LIMIT:
                yield self._missing()
                return
            # An agent that greets and hangs up must not be asked in a tight loop.
            pause_s = min(barren * _FIRST_PAUSE_S, _LONGEST_PAUSE_S)
            self._stream = self._reconnect(why or "the connection ended", pause_s)

    def _missing(self) -> Record:
        """The loss of what Hello announced and no connection brought."""
        hello, at = self.hello, self._position
        assert hello is not None
        first = at.seq if at.run == hello.run else 1
        return _loss(hello.run, first, hello.next_seq - first, hello.boottime_ns)

    def _one_connection(self, stream: ByteStream) -> Generator[Record, None, str]:
        """Give what one connection brings; return why it broke, or "" when it ended properly."""
        parser = StreamParser("the record stream")
        self._begin()
        while True:
            try:
                data = stream.read(timeout=self._silence)
            except TimeoutError:
                return f"nothing came for {self._silence.total_seconds():.1f} s"
            except TransientError as error:
                return str(error)
            if not data:
                cut = self._follow or self.hello is None or parser.pending_bytes
                return "the connection ended" if cut else ""
            for record in parser.feed(data):
                yield from self._accept(record)

    def _begin(self) -> None:
        self.hello = None

    def _complete(self) -> bool:
        """Whether everything is here that there was when the agent said Hello."""
        at, hello = self._position, self.hello
        return hello is not None and (at.run, at.seq) >= (hello.run, hello.next_seq)

    def _accept(self, record: Record) -> Iterator[Record]:
        """What to give for a record that came: itself, nothing (seen), or a loss before it."""
        body = record.WhichOneof("body")
        if self.hello is None:
            if body != "hello":
                raise ProtocolError(f"the record stream began with {body}, not with Hello")
            self._greet(record.hello)
            yield record
            return
        if body == "heartbeat":
            self.heartbeat = record.heartbeat
        elif body == "lost":
            self._skip(record.lost)
            yield record
        elif record.seq:
            yield from self._number(record)

    def _greet(self, hello: Hello) -> None:
        self._check(hello)
        self.hello = hello
        at = self._position
        if at.boot_id and at.boot_id != hello.boot_id:
            raise SessionOverError("the device was rebooted: its session is over, attach again")
        if not at.run or not at.seq:
            # "From now on" begins at the number that the first Hello names, so that a
            # break before the first record loses nothing.
            self._position = Position(hello.boot_id, at.run or hello.run, at.seq or hello.next_seq)
        else:
            self._position = Position(hello.boot_id, at.run, at.seq)

    def _skip(self, lost: Lost) -> None:
        """A loss that was said is not asked for again."""
        at = self._position
        first = first_lost(lost)
        # Count 0 from some number on: so many that nobody knows, up to the next record.
        self._gap_is_said = bool(first) and not lost.count
        if first and (lost.run, first + lost.count) > (at.run, at.seq):
            self._position = Position(at.boot_id, lost.run, first + lost.count)

    def _number(self, record: Record) -> Iterator[Record]:
        at = self._position
        if (record.run, record.seq) < (at.run, at.seq):
            return  # seen
        expected = at.seq if record.run == at.run else 1
        if record.seq > expected and not self._gap_is_said:
            # The agent says what it lost; if it did not, the host does.
            yield _loss(record.run, expected, record.seq - expected, record.time_ns)
        self._gap_is_said = False
        self._position = Position(at.boot_id, record.run, record.seq + 1)
        # Of an earlier run it is followed by more; only the last word is the last.
        self._ending = record.HasField("lifecycle") and record.lifecycle.kind in _ENDS
        yield record

    def _reconnect(self, why: str, first_pause_s: float) -> ByteStream | None:
        """A new connection, or None when the session ended and said so."""
        deadline = time.monotonic() + self._patience.total_seconds()
        time.sleep(first_pause_s)
        pause_s = _FIRST_PAUSE_S
        if not self._ending:
            self._on_break(f"link lost ({why}); trying again")
        while not self._closed:
            try:
                stream = self._connect(self._position, self._follow)
            except SessionOverError:
                if self._ending:
                    return None
                raise
            except TransientError as error:
                if self._ending:
                    return None
                if time.monotonic() + pause_s > deadline:
                    raise TransientError(
                        f"the record stream broke ({why}) and did not come back "
                        f"within {self._patience.total_seconds():.0f} s: {error}",
                        detail=error.detail,
                        serial=error.serial,
                    ) from error
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._on_break(f"link is back; goes on at {_named(self._position)}")
                return stream
        return None


def first_lost(lost: Lost) -> int:
    """``lost.from`` (a keyword in Python): first sequence number lost, 0 when they had none."""
    return int(getattr(lost, "from"))


def _loss(run: int, first: int, count: int, time_ns: int) -> Record:
    """A Lost record made by the host: nobody else said it."""
    lost = Lost(count=count, run=run)
    setattr(lost, "from", first)
    return Record(time_ns=time_ns, run=run, lost=lost)


def _named(position: Position) -> str:
    return f"{position.run}:{position.seq}" if position.run else "the newest record"
