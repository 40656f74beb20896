# SPDX-License-Identifier: Apache-2.0
"""Shadow verdicts beside the kills of others."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path

import pytest
from fake_agent import BOOT_ID, hello, lifecycle, lost, other_kill, verdict
from rich.console import Console

from lmk.cli import run
from lmk.cli.report import report
from lmk.errors import ExitCode, UsageError
from lmk.proto.record_pb2 import KillReport, KillTimes, Lifecycle, OtherKill, Process, Record
from lmk.report import CapturedRecord, encode_record
from lmk.report.compare import Comparison, Match, compare
from lmk.report.comparison import as_json, show

SAME, CLASS, VERDICT, KILL = Match


def captured(*records: Record, boot_id: str = BOOT_ID) -> list[CapturedRecord]:
    greeting = hello(boot_id=boot_id)
    return [CapturedRecord(record, greeting.hello) for record in (greeting, *records)]


def matches(comparison: Comparison) -> list[tuple[Match, int, int]]:
    """(match, pid of the verdict's victim, pid of the kill's), in order; 0 for none."""
    return [
        (
            pair.match,
            pair.verdict.process.pid if pair.verdict else 0,
            pair.kill.process.pid if pair.kill else 0,
        )
        for pair in comparison.pairs
    ]


def test_a_kill_of_the_same_process_answers_to_the_verdict() -> None:
    found = compare(captured(verdict(1, 10, 1000), other_kill(2, 10, 1812)))
    assert matches(found) == [(SAME, 10, 10)]
    assert found.pairs[0].earlier_ms == 812
    assert found.earlier_ms == 812


def test_a_verdict_that_comes_later_than_the_kill_says_so() -> None:
    found = compare(captured(other_kill(1, 10, 900, adj=950), verdict(2, 11, 1000)))
    assert matches(found) == [(CLASS, 11, 10)]
    assert found.pairs[0].earlier_ms == -100


def test_a_recycled_pid_is_another_process() -> None:
    found = compare(
        captured(
            verdict(1, 10, 1000, adj=900, start_ns=5_000_000_000), other_kill(2, 10, 1800, adj=0)
        )
    )
    assert matches(found) == [(VERDICT, 10, 0), (KILL, 0, 10)]


def test_the_same_process_comes_before_a_nearer_one_of_its_class() -> None:
    found = compare(
        captured(verdict(1, 10, 1000), other_kill(2, 11, 1001), other_kill(3, 10, 5000))
    )
    assert matches(found) == [(SAME, 10, 10), (KILL, 0, 11)]


def test_within_a_class_the_nearest_in_time_belong_together() -> None:
    found = compare(
        captured(
            verdict(1, 1, 1000),
            verdict(2, 2, 4000),
            other_kill(3, 3, 3900),
            other_kill(4, 4, 1200),
        )
    )
    assert matches(found) == [(CLASS, 1, 4), (CLASS, 2, 3)]


def test_another_class_is_no_agreement() -> None:
    found = compare(captured(verdict(1, 1, 1000, adj=950), other_kill(2, 2, 1001, adj=700)))
    assert matches(found) == [(VERDICT, 1, 0), (KILL, 0, 2)]
    assert found.earlier_ms is None


@pytest.mark.parametrize(("after_ms", "match"), [(2000, SAME), (2001, VERDICT)])
def test_what_is_further_apart_than_the_window_does_not_belong_together(
    after_ms: int, match: Match
) -> None:
    records = captured(verdict(1, 1, 1000), other_kill(2, 1, 1000 + after_ms))
    found = compare(records, within=timedelta(seconds=2))
    assert found.pairs[0].match is match


def test_a_verdict_that_is_said_again_is_one_from_its_first_time_on() -> None:
    again = [verdict(n, 1, n * 10_000) for n in (1, 2, 3)]
    found = compare(captured(*again, other_kill(4, 1, 31_000)))
    assert matches(found) == [(SAME, 1, 1)]
    assert found.pairs[0].verdict is not None
    assert found.pairs[0].verdict.said == 3
    assert found.pairs[0].earlier_ms == 21_000
    # After a long calm it is a new one.
    later = captured(verdict(1, 1, 1000), verdict(2, 1, 100_000))
    assert matches(compare(later)) == [(VERDICT, 1, 0), (VERDICT, 1, 0)]


def test_each_verdict_and_each_kill_is_in_one_pair() -> None:
    verdicts = [verdict(n, n, 1000 + 10 * n, adj=900 if n % 2 else 100) for n in range(1, 9)]
    kills = [other_kill(20 + n, 30 + n, 1000 + 7 * n, adj=900 if n % 3 else 100) for n in range(9)]
    found = compare(captured(*verdicts, *kills))
    told = matches(found)
    assert sorted(pid for _match, pid, _kill in told if pid) == list(range(1, 9))
    assert sorted(pid for _match, _verdict, pid in told if pid) == list(range(30, 39))
    assert found.count(SAME) == 0
    assert found.count(CLASS) == 8 - found.count(VERDICT) == 9 - found.count(KILL)


def test_a_kill_that_is_not_for_memory_is_counted_apart() -> None:
    by_shell = other_kill(1, 10, 1000, cause=OtherKill.PROCESS, sender="/bin/sh")
    by_group = other_kill(2, 11, 1000, cause=OtherKill.KERNEL, sender="init")
    unseen = Record(seq=3, run=1, time_ns=5, other_kill=OtherKill(victim=Process(pid=12)))
    records = captured(by_shell, by_group, unseen)
    found = compare(records)
    assert found.pairs == []
    assert dict(found.left_out) == {"sh": 1, "init": 1, "somebody": 1}
    named = compare(records, killers=["sh"])
    assert matches(named) == [(KILL, 0, 10)]


@pytest.mark.parametrize("sender", ["earlyoom", "/usr/lib/systemd/systemd-oomd", "lmkd"])
def test_known_killers_kill_for_memory(sender: str) -> None:
    kill = other_kill(1, 10, 1000, cause=OtherKill.PROCESS, sender=sender)
    assert matches(compare(captured(kill))) == [(KILL, 0, 10)]


def test_kills_of_lmk_itself_count_as_kills() -> None:
    report = KillReport(
        kill_id=9,
        victim=Process(pid=10, oom_score_adj=900),
        times=KillTimes(decided_ns=1_999_000_000, signalled_ns=2_000_000_000),
    )
    real = Record(seq=2, run=1, time_ns=3, kill=report)
    found = compare(captured(verdict(1, 10, 1500), real))
    assert matches(found) == [(SAME, 10, 10)]
    assert found.pairs[0].earlier_ms == 500


def test_two_captures_of_one_boot_give_verdicts_and_kills() -> None:
    first = captured(verdict(1, 10, 1000), other_kill(2, 99, 1000))
    second = captured(verdict(3, 98, 1000), other_kill(4, 10, 1300))
    assert matches(compare(first, second)) == [(SAME, 10, 10)]


def test_two_runs_of_one_load_are_laid_over_each_other_by_name() -> None:
    begin = lifecycle(1, Lifecycle.ATTACHED)
    begin.time_ns = 500 * 1_000_000
    other_begin = lifecycle(1, Lifecycle.ATTACHED)
    other_begin.time_ns = 90_000 * 1_000_000
    first = captured(begin, verdict(2, 10, 1500, name="com.a"))
    second = captured(other_begin, other_kill(2, 444, 91_250, name="com.a"), boot_id="another")
    found = compare(first, second)
    assert matches(found) == [(SAME, 10, 444)]
    assert found.pairs[0].earlier_ms == 250


def test_captures_of_many_boots_cannot_be_laid_over_each_other() -> None:
    many = captured(verdict(1, 1, 1), boot_id="a") + captured(verdict(1, 1, 1), boot_id="b")
    with pytest.raises(UsageError, match="no boot in common"):
        compare(many, captured(other_kill(1, 1, 1), boot_id="c"))
    assert len(compare(many).pairs) == 2


def test_boots_in_one_capture_are_compared_each_for_itself() -> None:
    records = captured(verdict(1, 1, 1000), boot_id="a") + captured(
        other_kill(1, 1, 1000), boot_id="b"
    )
    assert [match for match, _verdict, _kill in matches(compare(records))] == [VERDICT, KILL]


def test_nothing_at_all_is_a_comparison_too() -> None:
    found = compare(captured(), captured(boot_id="another"))
    assert found.pairs == []
    assert as_json(found)["summary"]["verdicts"] == 0


# -- shown -------------------------------------------------------------------------------------


def example() -> Comparison:
    return compare(
        captured(
            verdict(1, 10, 1000, name="com.example.mail\x1b[31m"),
            other_kill(2, 10, 1812, name="com.example.mail"),
            verdict(3, 11, 60_000),
            other_kill(4, 12, 90_000, adj=0),
            other_kill(5, 13, 91_000, cause=OtherKill.PROCESS, sender="sh"),
            lost(6, 2),
        )
    )


@pytest.mark.parametrize("width", [30, 50, 80, 160])
def test_a_table_fits_and_is_summed_up(width: int) -> None:
    file = io.StringIO()
    show(Console(file=file, width=width, highlight=False), example())
    text = file.getvalue()
    assert "\x1b" not in text
    lines = text.splitlines()
    assert "2 verdicts, 2 kills: 1 same victim, 0 same class, 1 verdict only, 1 kill only" in lines
    assert "where both are, the verdict came 812 ms earlier (median)" in lines
    assert "left out, SIGKILLs not for memory: sh 1 (--killer NAME counts them)" in lines
    assert "2 records are lost: what they held is missing here" in lines
    table = lines[: next(n for n, line in enumerate(lines) if line.startswith("2 verdicts"))]
    assert max(map(len, table)) <= width
    assert ("kernel OOM" in text) == (width >= 80)
    assert ("812 ms" in table[1]) == (width >= 80)


def test_an_object_has_every_pair_and_the_counts() -> None:
    values = json.loads(json.dumps(as_json(example())))
    assert [pair["match"] for pair in values["pairs"]] == [
        "same_victim",
        "verdict_only",
        "kill_only",
    ]
    first = values["pairs"][0]
    assert first["earlier_ms"] == 812
    assert first["verdict"]["reason"] == "REASON_LOW_MEM"
    assert first["kill"]["cause"] == "KERNEL_OOM"
    assert first["kill"]["class"] == "cached"
    assert values["pairs"][1]["kill"] is None
    assert values["summary"]["left_out"] == {"sh": 1}
    assert values["summary"]["same_victim"] == 1
    assert values["summary"]["lost"] == 2


def capture(path: Path, *records: Record) -> str:
    path.write_bytes(b"".join(map(encode_record, records)))
    return str(path)


def test_the_command_compares_and_a_capture_is_still_shown_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = capture(tmp_path / "one.pb", hello(1, 3), verdict(1, 10, 1000), other_kill(2, 10, 1500))
    assert run(report, ["compare", path], "report") == ExitCode.OK
    assert "same victim" in capsys.readouterr().out
    assert run(report, ["compare", "--json", path, path], "report") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["summary"]["same_victim"] == 1
    assert run(report, ["compare", path, path, path], "report") == ExitCode.USAGE
    assert run(report, ["compare", "--within", "5", path], "report") == ExitCode.USAGE
    assert run(report, ["compare", str(tmp_path / "none")], "report") == ExitCode.USAGE
    cut = tmp_path / "cut.pb"
    cut.write_bytes(Path(path).read_bytes()[:-1])
    assert run(report, ["compare", str(cut)], "report") == ExitCode.PROTOCOL
    assert run(report, ["compare", "--truncated", str(cut)], "report") == ExitCode.OK
