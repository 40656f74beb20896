# SPDX-License-Identifier: Apache-2.0
"""The agent's spool: bounded, checksummed, readable, and loss is said in its place."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest
from agent_process import Agent

from lmk.build.sources import source_root
from lmk.proto.record_pb2 import Lifecycle, Lost, Record

pytest_plugins = ("agent_plugin",)

_HEAD = 5  # bytes of the checksum field before a record


def filled(records: list[Record]) -> list[int]:
    return [record.seq for record in records if record.lifecycle.kind == Lifecycle.FILL]


def lost(records: list[Record]) -> list[tuple[int, int, int, int]]:
    return [
        (record.lost.where, record.lost.run, getattr(record.lost, "from"), record.lost.count)
        for record in records
        if record.HasField("lost")
    ]


def spans(path: Path) -> list[tuple[int, int]]:
    """(begin, end) of each record of a segment, its checksum field included."""
    content, at, found = path.read_bytes(), 0, []
    while at < len(content):
        assert content[at] == 0x7D
        assert content[at + _HEAD] == 0x0A
        length, bytes_of_length = content[at + _HEAD + 1], 1
        if length & 0x80:
            length, bytes_of_length = (length & 0x7F) | content[at + _HEAD + 2] << 7, 2
        end = at + _HEAD + 1 + bytes_of_length + length
        found.append((at, end))
        at = end
    return found


def test_every_spooled_record_comes_once_and_in_order(agent: Agent) -> None:
    agent.fill(20_000)
    agent.serve()
    records = agent.records()
    assert records[0].HasField("hello")
    assert filled(records) == list(range(1, 20_001))
    assert not lost(records)
    # The serving agent's own run follows.
    assert (records[-1].run, records[-1].lifecycle.kind) == (2, Lifecycle.ATTACHED)


def test_reading_begins_at_any_record(agent: Agent) -> None:
    agent.fill(12_000)
    agent.serve()
    for seq in (2, 8_000, 12_000):
        assert filled(agent.records(1, seq)) == list(range(seq, 12_001))
    # The end of a run is no loss.
    assert not lost(agent.records(1, 12_001))


def test_full_reports_come_whole(agent: Agent) -> None:
    agent.fill(300, "--full")
    agent.serve()
    kills = [record.kill for record in agent.records() if record.HasField("kill")]
    assert [kill.kill_id for kill in kills] == list(range(1, 301))
    assert all(len(kill.candidates) == 5 and kill.freed_kb > 0 for kill in kills)


def test_the_oldest_records_are_dropped_at_the_bound_and_said_to_be(agent: Agent) -> None:
    agent.fill(1_000, "--full", "--spool-limit-kb", "256")
    assert sum(path.stat().st_size for path in agent.segments()) <= 256 * 1024
    agent.serve("--spool-limit-kb", "256")
    records = agent.records()
    seqs = [record.seq for record in records if record.HasField("kill")]
    assert seqs == list(range(seqs[0], 1_001))
    assert seqs[0] > 1
    assert lost(records) == [(Lost.SPOOL, 1, 1, seqs[0] - 1)]


def test_a_run_that_is_gone_is_said_to_be(agent: Agent) -> None:
    agent.fill(10)
    agent.fill(10)
    agent.segments()[0].unlink()
    agent.serve()
    records = agent.records()
    assert lost(records) == [(Lost.SPOOL, 1, 1, 0)]
    assert [(record.run, record.seq) for record in records if record.seq] == [
        *((2, seq) for seq in range(1, 11)),
        (3, 1),
    ]


@pytest.mark.parametrize("offset", [0, 2, 5, 6, 12], ids=["tag", "crc", "field", "length", "body"])
def test_a_bad_byte_costs_one_record(agent: Agent, offset: int) -> None:
    agent.fill(100)
    segment = agent.segments()[0]
    content = bytearray(segment.read_bytes())
    content[spans(segment)[49][0] + offset] ^= 0x20
    segment.write_bytes(content)
    agent.serve()
    records = agent.records()
    assert filled(records) == [*range(1, 50), *range(51, 101)]
    assert lost(records) == [(Lost.CORRUPT, 1, 50, 1)]


def test_a_torn_tail_costs_only_what_was_torn(agent: Agent) -> None:
    agent.fill(100)
    segment = agent.segments()[0]
    begin, end = spans(segment)[-1]
    with segment.open("r+b") as file:
        file.truncate((begin + end) // 2)
    agent.serve()
    records = agent.records()
    assert filled(records) == list(range(1, 100))
    # How many there had been is not known: count 0.
    assert lost(records) == [(Lost.CORRUPT, 1, 100, 0)]


def test_rubbish_between_segments_is_left_alone(agent: Agent) -> None:
    agent.fill(10)
    (agent.directory / "spool" / "notes.txt").write_text("not a segment")
    (agent.directory / "spool" / "000001-00000000000x.pb").write_text("nor this")
    agent.serve()
    assert filled(agent.records()) == list(range(1, 11))


def test_a_whole_segment_of_rubbish_is_one_loss(agent: Agent) -> None:
    agent.fill(600, "--full")
    segments = agent.segments()
    assert len(segments) >= 3
    size = segments[1].stat().st_size
    segments[1].write_bytes(bytes(itertools.islice(itertools.cycle(b"}rubbish"), size)))
    agent.serve()
    records = agent.records()
    first, after = (int(path.stem.split("-")[1]) for path in segments[1:3])
    assert lost(records) == [(Lost.CORRUPT, 1, first, after - first)]


def test_what_another_boot_left_is_removed(agent: Agent) -> None:
    agent.fill(10)
    (agent.directory / "spool" / "boot_id").write_text("00000000-0000-0000-0000-000000000000")
    agent.serve()
    records = agent.records()
    assert [(record.run, record.seq) for record in records if record.seq] == [(1, 1)]


def test_asking_for_another_boot_is_told_it_is_lost(agent: Agent) -> None:
    agent.fill(10)
    agent.serve()
    records = agent.records(3, 17, boot_id="00000000-0000-0000-0000-000000000000")
    assert lost(records) == [(Lost.SPOOL, 3, 17, 0)]
    # … and gets what there is of this one.
    assert filled(records) == list(range(1, 11))


def test_runs_count_from_one_and_each_starts_anew(agent: Agent) -> None:
    for run in (1, 2, 3):
        assert agent.serve()["run"] == run
        assert agent.stop() == {"stopped": "session"}
    agent.serve()
    kinds = [
        (record.run, record.seq, record.lifecycle.kind) for record in agent.records() if record.seq
    ]
    attached, detached = Lifecycle.ATTACHED, Lifecycle.DETACHED
    assert kinds == [
        *((run, seq, kind) for run in (1, 2, 3) for seq, kind in ((1, attached), (2, detached))),
        (4, 1, attached),
    ]


def test_many_short_runs_stay_within_the_bound(agent: Agent) -> None:
    for _ in range(70):
        agent.fill(1)
    assert len(agent.segments()) <= 64
    agent.serve()
    records = agent.records()
    assert lost(records) == [(Lost.SPOOL, 1, 1, 0)]
    assert records[-1].run == 71


@pytest.mark.skipif(shutil.which("protoc") is None, reason="protoc is not installed")
def test_plain_protoc_reads_a_segment(agent: Agent) -> None:
    agent.fill(3, "--full")
    decoded = subprocess.run(
        [
            "protoc",
            f"--proto_path={source_root() / 'proto'}",
            "--decode=lmk.v1.Stream",
            "lmk/v1/record.proto",
        ],
        stdin=agent.segments()[0].open("rb"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert decoded.count("victim {") == 3
    assert decoded.count("15: 0x") == 3  # the checksums


def test_fill_does_not_write_beside_a_running_agent(agent: Agent) -> None:
    agent.serve()
    assert "running" in agent.run("--spool-fill", "1", code=2)["error"]
