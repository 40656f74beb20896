# SPDX-License-Identifier: Apache-2.0
"""The record stream: every record once, whatever happens to the link."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from fake_agent import (
    BOOT_ID,
    CutStream,
    End,
    FakeAgent,
    heartbeat,
    hello,
    kill,
    lifecycle,
    lost,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.errors import ProtocolError, TransientError, UsageError
from lmk.proto.record_pb2 import Lifecycle, Record
from lmk.report import (
    Position,
    RecordStream,
    SessionOverError,
    encode_record,
)
from lmk.report.client import first_lost

START = Position(run=1, seq=1)
MILLISECOND = timedelta(milliseconds=1)


def spooled(records: Iterator[Record] | RecordStream) -> list[tuple[int, int]]:
    return [(record.run, record.seq) for record in records if record.seq]


# -- exactly once ------------------------------------------------------------------------------

ends = st.sampled_from(End)


@given(
    runs=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    cuts=st.lists(st.tuples(st.integers(0, 400), ends), max_size=8),
    piece=st.integers(1, 300),
    begin=st.integers(1, 12),
)
@settings(max_examples=300)
def test_a_stream_cut_at_any_byte_and_resumed_delivers_every_record_once(
    monkeypatch_sleep: None, runs: list[int], cuts: list[tuple[int, End]], piece: int, begin: int
) -> None:
    records = [
        kill(seq, run, name="x" * (seq % 5))
        for run, count in enumerate(runs, 1)
        for seq in range(1, count + 1)
    ]
    # The last connection is whole; a heartbeat too many is no harm.
    agent = FakeAgent(records, iter(cuts), piece)
    stream = RecordStream(agent.connect, Position(run=1, seq=begin), follow=False)
    expected = [(r.run, r.seq) for r in records if (r.run, r.seq) >= (1, begin)]
    assert spooled(stream) == expected
    assert all(stream.closed for stream in agent.streams)


@pytest.fixture(scope="module", autouse=True)
def monkeypatch_sleep() -> Iterator[None]:
    """The pause before a reconnection, without the wait: these tests cut thousands of times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lmk.report.client.time.sleep", lambda _seconds: None)
        yield


def test_every_single_cut_is_survived() -> None:
    records = [kill(seq) for seq in range(1, 5)]
    whole = len(b"".join(map(encode_record, [hello(1, 5), *records])))
    for end in End:
        for cut in range(whole):
            agent = FakeAgent(records, iter([(cut, end)]))
            stream = RecordStream(agent.connect, START, follow=False)
            assert spooled(stream) == [(1, seq) for seq in range(1, 5)], (end, cut)


def test_records_made_while_the_host_was_away_come_with_the_next_connection() -> None:
    records = [kill(1)]

    def cuts() -> Iterator[tuple[int, End]]:
        yield 10_000, End.RESET
        records.append(kill(2))
        yield 10_000, End.SILENT
        records.append(kill(3))

    agent = FakeAgent(records, cuts())
    stream = RecordStream(agent.connect, follow=True)  # from now on
    got = []
    for record in stream:
        if record.seq:
            got.append(record.seq)
        if record.seq == 3:
            break
    assert got == [2, 3]
    assert agent.asked[1:] == [Position(BOOT_ID, 1, 2), Position(BOOT_ID, 1, 3)]


def test_a_record_that_comes_twice_is_given_once() -> None:
    data = [hello(1, 3), kill(1), kill(1), kill(2), kill(1), kill(2)]
    stream = RecordStream(lambda *_: whole(data), START, follow=False)
    assert spooled(stream) == [(1, 1), (1, 2)]


def test_a_new_run_of_the_agent_goes_on_at_its_first_record() -> None:
    data = [hello(1, 3), kill(1), kill(2), kill(1, run=2), kill(2, run=2)]
    stream = RecordStream(lambda *_: whole(data), START, follow=False)
    assert spooled(stream) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert stream.position == Position(BOOT_ID, 2, 3)


def whole(records: list[Record]) -> CutStream:
    return CutStream(b"".join(map(encode_record, records)), End.CLOSED)


# -- loss --------------------------------------------------------------------------------------


def test_a_loss_that_the_agent_says_is_given_and_not_asked_for_again() -> None:
    answers = [
        CutStream(
            b"".join(map(encode_record, [hello(1, 9), kill(1), lost(2, 5), kill(7)])), End.RESET
        ),
        whole([hello(1, 9), kill(8)]),
    ]
    asked: list[Position] = []

    def connect(position: Position, _follow: bool) -> CutStream:
        asked.append(position)
        return answers.pop(0)

    records = list(RecordStream(connect, START, follow=False))
    assert [record.WhichOneof("body") for record in records] == [
        "hello", "kill", "lost", "kill", "hello", "kill",
    ]  # fmt: skip
    assert asked[1] == Position(BOOT_ID, 1, 8)


def test_a_loss_of_unknown_size_is_said_once() -> None:
    data = [hello(1, 7), kill(1), lost(2, 0), kill(5), kill(6)]
    records = list(RecordStream(lambda *_: whole(data), START, follow=False))
    assert [record.WhichOneof("body") for record in records].count("lost") == 1
    assert [record.seq for record in records if record.seq] == [1, 5, 6]


def test_what_hello_announces_and_nobody_ever_sends_is_a_loss_and_not_silence() -> None:
    stream = RecordStream(lambda *_: whole([hello(1, 4), kill(1)]), START, follow=False)
    records = list(stream)
    assert [record.seq for record in records if record.seq] == [1]
    (loss,) = [record.lost for record in records if record.HasField("lost")]
    assert (first_lost(loss), loss.count) == (2, 2)


def test_a_gap_that_nobody_announced_is_said_too() -> None:
    stream = RecordStream(lambda *_: whole([hello(1, 6), kill(1), kill(5)]), START, follow=False)
    (loss,) = [record.lost for record in stream if record.HasField("lost")]
    assert (first_lost(loss), loss.count, loss.run) == (2, 3, 1)


# -- the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        Lifecycle.DETACHED,
        Lifecycle.LEASE_ENDED,
        Lifecycle.AGENT_LOST,
        Lifecycle.LMKD_RETURNED,
        Lifecycle.LMKD_RESTORED,
    ],
)
def test_the_stream_ends_by_itself_when_the_session_says_that_it_ends(
    kind: Lifecycle.Kind.ValueType,
) -> None:
    answers = [whole([hello(1, 9), kill(1), lifecycle(2, kind)])]

    def connect(_position: Position, _follow: bool) -> CutStream:
        if not answers:
            raise SessionOverError("nothing attached")
        return answers.pop()

    assert spooled(RecordStream(connect, START)) == [(1, 1), (1, 2)]


def test_the_end_of_an_earlier_session_does_not_end_the_stream_at_the_next_break() -> None:
    records = [lifecycle(1, Lifecycle.DETACHED), kill(1, run=2), kill(2, run=2)]
    first = len(b"".join(map(encode_record, [hello(2, 3), records[0], heartbeat(), records[1]])))
    agent = FakeAgent(records, iter([(first, End.RESET), (30_000, End.RESET)]))
    stream = iter(RecordStream(agent.connect, START))
    assert [record.seq for record, _n in zip(stream, range(6), strict=False) if record.seq] == [
        1,
        1,
        2,
    ]


def test_a_session_that_vanished_without_a_word_is_an_error() -> None:
    answers = [whole([hello(1, 9), kill(1)])]

    def connect(_position: Position, _follow: bool) -> CutStream:
        if not answers:
            raise SessionOverError("nothing attached")
        return answers.pop()

    with pytest.raises(SessionOverError):
        list(RecordStream(connect, START))


def test_a_device_that_stays_away_ends_the_patience() -> None:
    answers = [whole([hello(1, 9), kill(1)])]

    def connect(_position: Position, _follow: bool) -> CutStream:
        if not answers:
            raise TransientError("no route to host")
        return answers.pop()

    stream = RecordStream(connect, START, patience=MILLISECOND)
    with pytest.raises(TransientError, match=r"did not come back.*no route to host"):
        list(stream)


def test_the_first_connection_says_its_own_error() -> None:
    def connect(_position: Position, _follow: bool) -> CutStream:
        raise UsageError("nothing is attached")

    with pytest.raises(UsageError, match="nothing is attached"):
        RecordStream(connect).open()


def test_a_reboot_ends_the_session() -> None:
    boots = [whole([hello(1, 9), kill(1)]), whole([hello(1, 1, boot_id="other")])]
    with pytest.raises(SessionOverError, match="rebooted"):
        list(RecordStream(lambda *_: boots.pop(0), START))


def test_a_stream_that_does_not_begin_with_hello_is_refused() -> None:
    with pytest.raises(ProtocolError, match="Hello"):
        list(RecordStream(lambda *_: whole([heartbeat()]), START))


def test_breaks_and_returns_are_told() -> None:
    told: list[str] = []
    agent = FakeAgent([kill(1)], iter([(10_000, End.SILENT)]))
    list(RecordStream(agent.connect, START, follow=False, on_break=told.append))
    assert len(told) == 2
    assert "nothing came for 3.5 s" in told[0]
    assert "1:2" in told[1]
