# SPDX-License-Identifier: Apache-2.0
"""The record stream: every record once, whatever happens to the link; and captures."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

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
    StreamParser,
    encode_record,
    kill_reports,
    read_capture,
    unique,
)
from lmk.report.append import open_to_append
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


@pytest.mark.parametrize("kind", [Lifecycle.DETACHED, Lifecycle.LEASE_ENDED, Lifecycle.AGENT_LOST])
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


# -- captures ----------------------------------------------------------------------------------


def capture(path: Path, *records: Record) -> Path:
    path.write_bytes(b"".join(map(encode_record, records)))
    return path


@given(cut=st.integers(0, 10_000), piece=st.integers(1, 64))
@settings(max_examples=100)
def test_a_capture_parses_alike_however_its_bytes_arrive(cut: int, piece: int) -> None:
    records = [hello(1, 4), kill(1), kill(2), heartbeat(), kill(3, name="n" * 300)]
    data = b"".join(map(encode_record, records))
    data = data[: cut % (len(data) + 1)]
    parser = StreamParser()
    got = []
    for at in range(0, len(data), piece):
        got += list(parser.feed(data[at : at + piece]))
    assert got == records[: len(got)]
    assert parser.offset + parser.pending_bytes == len(data)
    assert parser.offset == len(b"".join(map(encode_record, records[: len(got)])))


def test_a_truncated_capture_gives_what_is_whole_then_says_at_which_offset(tmp_path: Path) -> None:
    whole_bytes = b"".join(map(encode_record, [hello(1, 3), kill(1)]))
    path = tmp_path / "cut.pb"
    path.write_bytes(whole_bytes + encode_record(kill(2))[:-3])
    records = read_capture(path)
    assert [next(records).record.seq, next(records).record.seq] == [0, 1]
    with pytest.raises(ProtocolError, match=rf"cut\.pb is truncated.* offset {len(whole_bytes)}"):
        next(records)
    assert len(list(read_capture(path, allow_truncated=True))) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a capture at all",
        b"\x7fELF\x02\x01\x01",
        b"\x0a\xff\xff\xff\xff\x7f",
        b"\x0a" + b"\xff" * 20,
        b"\x0a\x02\xff\xff",
        b"\x0a\x00",
        random.Random(1).randbytes(5000),
    ],
)
def test_a_foreign_file_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.bin"
    path.write_bytes(content)
    with pytest.raises(ProtocolError, match=r"foreign\.bin is"):
        list(read_capture(path))


def test_damage_in_the_middle_says_at_which_offset(tmp_path: Path) -> None:
    first = b"".join(map(encode_record, [hello(1, 3), kill(1)]))
    path = tmp_path / "damaged.pb"
    path.write_bytes(first + b"\x55" + encode_record(kill(2)))
    with pytest.raises(ProtocolError, match=rf"0x55.* at offset {len(first)}"):
        list(read_capture(path))


def test_a_missing_capture_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*nothing\.pb"):
        list(read_capture(tmp_path / "nothing.pb"))


def test_overlapping_captures_give_each_report_once(tmp_path: Path) -> None:
    one = capture(tmp_path / "one.pb", hello(1, 3), kill(1), kill(2))
    two = capture(tmp_path / "two.pb", hello(1, 4), kill(2), kill(3), kill(1, run=2))
    assert [report.kill_id for report in kill_reports(one, two)] == [1, 2, 3, 1]


def test_capture_that_ends_in_half_a_record_goes_on_behind_the_last_whole_one(
    tmp_path: Path,
) -> None:
    path = capture(tmp_path / "cut.pb", hello(1, 3), kill(1), kill(2))
    path.write_bytes(path.read_bytes()[:-5])
    file, cut_bytes = open_to_append(path, "pb")
    with file:
        file.write(encode_record(kill(3)))
    assert cut_bytes == len(encode_record(kill(2))) - 5
    assert [report.kill_id for report in kill_reports(path)] == [1, 3]


def test_lines_that_end_in_half_of_one_go_on_behind_the_last_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": {"b": ')
    file, cut_bytes = open_to_append(path, "jsonl")
    with file:
        file.write(b'{"c": 3}\n')
    assert cut_bytes == len(b'{"a": {"b": ')
    assert path.read_bytes() == b'{"a": 1}\n{"c": 3}\n'


@pytest.mark.parametrize("format_", ["pb", "jsonl"])
@pytest.mark.parametrize(
    "content",
    # The last ones begin as records do, and end before anything shows that they are none.
    [b"\xa9\x01 foreign", b"notes of mine\n", b"\0" * 100, b"\nnote", b'{"mine": 1', b"{"],
)
def test_nothing_is_added_to_what_is_no_record(
    tmp_path: Path, format_: str, content: bytes
) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"notes holds something else than {format_}"):
        open_to_append(path, format_)
    assert path.read_bytes() == content


def test_each_format_keeps_off_the_other(tmp_path: Path) -> None:
    lines, binary = tmp_path / "a.jsonl", capture(tmp_path / "b.pb", hello(1, 3), kill(1))
    lines.write_bytes(b'{"a": 1}\n')
    for path, format_ in ((lines, "pb"), (binary, "jsonl")):
        with pytest.raises(UsageError, match="left as it is"):
            open_to_append(path, format_)


def test_file_that_is_not_there_or_is_a_device_is_opened_as_it_is(tmp_path: Path) -> None:
    for path in (tmp_path / "new.pb", Path("/dev/null")):
        file, cut_bytes = open_to_append(path, "pb")
        file.close()
        assert cut_bytes == 0
    with pytest.raises(UsageError, match="cannot write"):
        open_to_append(tmp_path / "no" / "such.pb", "pb")


def test_captures_concatenate(tmp_path: Path) -> None:
    one = capture(tmp_path / "one.pb", hello(1, 3), kill(1))
    two = capture(tmp_path / "two.pb", hello(1, 3), kill(1), kill(2))
    both = tmp_path / "both.pb"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    assert [report.kill_id for report in kill_reports(both)] == [1, 2]


def test_the_same_numbers_of_another_device_or_boot_are_other_records(tmp_path: Path) -> None:
    elsewhere = hello(1, 3)
    elsewhere.hello.device_name = "other"
    rebooted = hello(1, 3, boot_id="another")
    path = capture(tmp_path / "all.pb", hello(1, 3), kill(1), elsewhere, kill(1), rebooted, kill(1))
    assert len([r for r in unique(read_capture(path)) if r.record.seq]) == 3


def test_a_spool_file_of_the_device_reads_as_a_capture() -> None:
    data = b"".join(b"\x7d\x01\x02\x03\x04" + encode_record(kill(seq)) for seq in (1, 2))
    assert [captured.record.seq for captured in read_capture(io.BytesIO(data))] == [1, 2]
