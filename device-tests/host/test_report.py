# SPDX-License-Identifier: Apache-2.0
"""Records as people and scripts see them."""

from __future__ import annotations

import io
import json

import pytest
from fake_agent import End, FakeAgent, hello, kill, lifecycle, lost, other_kill, verdict
from rich.console import Console

from lmk.proto.record_pb2 import (
    Carrier,
    Hello,
    KillReport,
    KillTimes,
    Lifecycle,
    OtherKill,
    Process,
    Reason,
    Record,
    Signal,
)
from lmk.report import Position, RecordStream
from lmk.report.live import LiveTable
from lmk.report.plain import json_line, plain
from lmk.report.signals import kb, reason_words
from lmk.report.text import HEADER, Clock, describe, header, report_line

MS = 1_000_000
SEEN = 5_000 * MS


def report() -> KillReport:
    return KillReport(
        kill_id=7,
        victim=Process(pid=321, uid=10001, oom_score_adj=900, name="com.example.mail"),
        reason=Reason.REASON_LOW_MEM,
        carrier=Carrier.CARRIER_TASK_WORK,
        attempts=1,
        freed_kb=204_800,
        times=KillTimes(
            seen_ns=SEEN,
            decided_ns=SEEN + MS // 2,
            signalled_ns=SEEN + MS,
            exited_ns=SEEN + 21 * MS,
            memory_back_ns=SEEN + 84 * MS,
        ),
    )


# -- one line ----------------------------------------------------------------------------------


def test_a_report_is_one_line_whose_columns_stand_under_the_header() -> None:
    line = report_line(report(), 0, Clock())
    cells = line.split()
    assert cells == [
        "5.000", "com.example.mail", "321", "10001", "900", "watermark", "200", "MB", "1.00",
        "20.00", "83.00", "task", "work",
    ]  # fmt: skip
    for title, value in (("VICTIM", "com.example.mail"), ("REASON", "watermark")):
        assert line.index(value) == HEADER.index(title)
    for title, value in (("PID", "321"), ("FREED", "200 MB"), ("MEM BACK", "83.00")):
        assert line.index(value) + len(value) == HEADER.index(title) + len(title)


def test_a_narrow_terminal_gets_whole_lines_with_fewer_columns() -> None:
    for width in (79, 80, 100, 120, 200):
        assert len(header(width)) <= width
        assert header(width).startswith("TIME")
        line = report_line(report(), 0, Clock(), width)
        assert len(line) <= width
        for heading in ("VICTIM", "ADJ", "REASON", "FREED"):
            assert heading in header(width)
    assert header(200) == HEADER


def test_what_was_not_measured_is_shown_as_such_and_never_as_0() -> None:
    bare = KillReport(kill_id=1, victim=Process(pid=3, comm="short"), times=KillTimes(seen_ns=SEEN))
    cells = report_line(bare, SEEN, Clock()).split()
    assert cells.count("-") == 3
    assert "?" in cells
    assert "short" in cells


def test_dry_run_and_repeated_signals_are_said() -> None:
    dry = report()
    dry.dry_run = True
    dry.attempts = 3
    assert report_line(dry, 0, Clock()).endswith("task work, dry run, 3 signals")
    dry.victim.rule = 2
    assert report_line(dry, 0, Clock()).endswith("3 signals, rule 2")


@pytest.mark.parametrize(
    ("cause", "reason", "who"),
    [
        (OtherKill.KERNEL_OOM, "kernel OOM", "for greedy (pid 77, uid 2000)"),
        (OtherKill.LMKD, "lmkd", "by greedy (pid 77, uid 2000)"),
        (OtherKill.PROCESS, "by a process", "by greedy (pid 77, uid 2000)"),
        (OtherKill.KERNEL, "by the kernel", "while greedy (pid 77, uid 2000) ran"),
    ],
)
def test_a_kill_by_somebody_else_says_whose_it_is_under_the_same_header(
    cause: OtherKill.Cause.ValueType, reason: str, who: str
) -> None:
    line = describe(other_kill(1, 321, 5000, cause=cause), Clock())
    assert line.index("app321") == HEADER.index("VICTIM")
    assert line.index(reason) == HEADER.index("REASON")
    assert line.endswith(who)
    assert line.split()[0] == "5.000"
    assert "20.00" in line


def test_who_sent_it_is_not_made_up() -> None:
    line = describe(Record(seq=1, other_kill=OtherKill(exited_ns=5_000 * MS)), Clock())
    assert line.endswith("sender not seen")
    assert line.split()[0] == "5.000"


def test_a_long_name_keeps_its_end_which_tells_apps_apart() -> None:
    long = report()
    long.victim.name = "com.example.company.product.module.app"
    assert "…y.product.module.app"[-15:] in report_line(long, 0, Clock())
    assert report_line(long, 0, Clock()).index("321") == report_line(report(), 0, Clock()).index(
        "321"
    )


def test_times_are_wall_clock_when_the_hello_pairs_the_clocks() -> None:
    clock = Clock.of(Hello(boottime_ns=SEEN, realtime_ns=1_700_000_000_000_000_000))
    line = report_line(report(), 0, clock)
    assert line.split()[0].count(":") == 2
    later = Clock.of(Hello(boottime_ns=0, realtime_ns=1_700_000_000_000_000_000))
    assert report_line(report(), 0, later).split()[0] != line.split()[0]


@pytest.mark.parametrize("reason", Reason.values())
def test_every_reason_has_words(reason: Reason.ValueType) -> None:
    words = reason_words(reason)
    assert words
    assert "REASON" not in words


def test_a_reason_of_a_newer_agent_is_shown_as_its_number() -> None:
    future = KillReport.FromString(b"\x18\xc8\x01")  # field 3, 200
    assert reason_words(future.reason) == "reason 200"


@pytest.mark.parametrize(
    "record",
    [
        hello(),
        kill(1),
        lost(2, 5),
        lost(2, 0),
        lost(0, 3),
        lifecycle(1, Lifecycle.ATTACHED),
        verdict(1, 7, 5),
        other_kill(1, 7, 5),
        Record(seq=1, other_kill=OtherKill()),
        Record(),
    ],
)
def test_every_record_has_one_line(record: Record) -> None:
    line = describe(record, Clock())
    assert line.strip()
    assert "\n" not in line


def test_sizes_keep_their_unit_in_sight() -> None:
    assert [kb(9_999), kb(10_240), kb(-20_480)] == ["9999 kB", "10 MB", "-20 MB"]


# -- JSON --------------------------------------------------------------------------------------


def test_a_record_in_json_has_the_protos_names_and_plain_numbers() -> None:
    record = Record(seq=9, time_ns=1 << 60, kill=report())
    record.kill.signals.add(kind=Signal.FREE_KB, value=1, limit=2, breached=True)
    values = json.loads(json_line(record))
    assert values["time_ns"] == 1 << 60
    assert values["kill"]["reason"] == "REASON_LOW_MEM"
    assert values["kill"]["signals"][0] == {
        "kind": "FREE_KB", "value": 1, "limit": 2, "breached": True,
    }  # fmt: skip
    assert values["kill"]["min_oom_score_adj"] == 0
    assert "mem_free_delta_kb" not in values["kill"]
    assert "\n" not in json_line(record)


def test_bytes_are_hex() -> None:
    assert plain(Hello(token_proof=b"\x00\xff"))["token_proof"] == "00ff"


# -- live --------------------------------------------------------------------------------------


def test_a_live_table_shows_every_record_and_what_happened_to_the_link() -> None:
    said = io.StringIO()
    console = Console(file=said, force_terminal=True, width=160, color_system=None)
    agent = FakeAgent([kill(1, name="one[bold]"), kill(2, name="two")], iter([(400, End.SILENT)]))
    stream = RecordStream(agent.connect, Position(run=1, seq=1), follow=False)
    with LiveTable(stream, console) as table:
        for record in stream:
            table.write(record)
        table.write(other_kill(3, 9, 5))
        table.tell("link lost; trying again")
    shown = said.getvalue()
    for words in (
        "VICTIM",
        "one[bold]",
        "two",
        "2 kills",
        "1 by others",
        "kernel OOM",
        "link lost",
    ):
        assert words in shown
