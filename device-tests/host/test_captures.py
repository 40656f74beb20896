# SPDX-License-Identifier: Apache-2.0
"""Captures: record streams in files, read whole or cut, put together, and added to."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from fake_agent import (
    heartbeat,
    hello,
    kill,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.errors import ProtocolError, UsageError
from lmk.proto.record_pb2 import Record
from lmk.report import (
    StreamParser,
    encode_record,
    kill_reports,
    read_capture,
    unique,
)
from lmk.report.append import open_to_append


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
