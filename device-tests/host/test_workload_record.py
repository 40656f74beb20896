# SPDX-License-Identifier: Apache-2.0
"""What the record of deaths says about the order of kills and about the reports."""

from __future__ import annotations

import pytest

from lmk.proto.record_pb2 import KillReport
from lmk.workload import Death, Life, disagreements, order_violations
from lmk.workload.signal_trace import SentSignal, sealed_ns
from lmk.workload.trial import judge

_MS = 1_000_000
_TICK_NS = 10 * _MS


def _life(name: str, adj: int, pid: int, began_ms: int = 0) -> Life:
    return Life(began_ms * _MS, name, pid, start_ticks=pid, uid=99000 + pid, adj=adj)


def _death(life: Life, at_ms: int, signal: int = 9, asked: bool = False) -> Death:
    return Death(life, at_ms * _MS, signal, asked)


def _report(life: Life, at_ms: int) -> KillReport:
    """A report of a kill that was seen 20 ms before the parent heard of it at `at_ms`."""
    report = KillReport()
    report.victim.pid = life.pid
    report.victim.start_time_ns = life.start_ticks * _TICK_NS + 1234
    report.victim.uid = life.uid
    report.victim.oom_score_adj = life.adj
    report.times.seen_ns = (at_ms - 20) * _MS
    report.times.decided_ns = (at_ms - 19) * _MS
    report.times.signalled_ns = (at_ms - 18) * _MS
    report.times.exited_ns = (at_ms - 1) * _MS
    report.times.memory_back_ns = (at_ms + 3) * _MS
    return report


CACHED, SERVICE, FOREGROUND = _life("cached", 950, 3), _life("svc", 500, 2), _life("fg", 0, 1)
EVERYONE = [CACHED, SERVICE, FOREGROUND]


def test_highest_adj_first_is_in_order() -> None:
    deaths = [_death(CACHED, 1000), _death(SERVICE, 1100), _death(FOREGROUND, 1200)]
    assert order_violations(EVERYONE, deaths) == []


def test_kill_below_a_living_process_is_a_violation() -> None:
    deaths = [_death(SERVICE, 1000), _death(CACHED, 1100)]
    assert order_violations(EVERYONE, deaths) == ["svc (adj 500) died before cached (adj 950)"]


def test_kill_below_one_that_never_dies_is_a_violation() -> None:
    assert len(order_violations(EVERYONE, [_death(FOREGROUND, 1000)])) == 1


def test_exit_of_its_own_is_no_violation() -> None:
    deaths = [_death(SERVICE, 1000, signal=0), _death(FOREGROUND, 1100, asked=True)]
    assert order_violations(EVERYONE, deaths) == []


def test_process_started_while_the_victim_died_was_no_alternative() -> None:
    late = _life("late", 999, 4, began_ms=950)
    early = _life("early", 999, 5, began_ms=700)
    death = [_death(CACHED, 1000)]
    assert order_violations([CACHED, late], death) == []
    assert len(order_violations([CACHED, early], death)) == 1


def test_process_that_ends_later_died_later_where_no_signal_is_known() -> None:
    assert len(order_violations(EVERYONE, [_death(SERVICE, 1000), _death(CACHED, 1100)])) == 1


def test_process_that_had_its_signal_first_died_first_however_long_its_exit_took() -> None:
    deaths = [_death(SERVICE, 1000), _death(CACHED, 1900)]
    sent = [SentSignal(900 * _MS, CACHED.pid, True), SentSignal(990 * _MS, SERVICE.pid, True)]
    assert order_violations(EVERYONE, deaths, sealed_ns(deaths, sent)) == []
    other = [SentSignal(995 * _MS, CACHED.pid, True), SentSignal(990 * _MS, SERVICE.pid, True)]
    assert len(order_violations(EVERYONE, deaths, sealed_ns(deaths, other))) == 1
    verdict = judge(EVERYONE, deaths, [], foreground="fg", kernel_oom_kills=0, sent=sent)
    assert [death.life for death in verdict.deaths] == [CACHED, SERVICE]
    assert not verdict.violations


def test_signal_counts_for_the_death_that_it_ended_alone() -> None:
    late, by_itself = _life("late", 950, 4, began_ms=700), _life("itself", 950, 6)
    deaths = [_death(late, 1000), _death(by_itself, 1000, signal=0), _death(FOREGROUND, 1000)]
    sent = [
        SentSignal(600 * _MS, late.pid, True),  # another process had that pid
        SentSignal(800 * _MS, late.pid, False),
        SentSignal(900 * _MS, late.pid, True),
        SentSignal(950 * _MS, late.pid, True),
        SentSignal(1001 * _MS, FOREGROUND.pid, True),
        SentSignal(900 * _MS, by_itself.pid, True),
    ]
    assert sealed_ns(deaths, sent) == {late.identity: 900 * _MS}


def test_same_adj_has_no_order() -> None:
    other = _life("other", 950, 9)
    assert order_violations([CACHED, other], [_death(other, 1000), _death(CACHED, 1100)]) == []


def test_true_reports_agree_with_the_record() -> None:
    deaths = [_death(CACHED, 1000), _death(SERVICE, 1100), _death(FOREGROUND, 2000, asked=True)]
    reports = [_report(SERVICE, 1100), _report(CACHED, 1000)]
    assert disagreements(deaths, reports) == []


def test_death_without_a_report_is_a_disagreement() -> None:
    (line,) = disagreements([_death(CACHED, 1000)], [])
    assert "cached" in line
    assert "no report" in line


def test_report_without_a_death_is_a_disagreement() -> None:
    (line,) = disagreements([], [_report(CACHED, 1000)])
    assert "did not die" in line


def test_report_of_one_that_exited_by_itself_is_a_disagreement() -> None:
    (line,) = disagreements([_death(CACHED, 1000, signal=0)], [_report(CACHED, 1000)])
    assert "did not die" in line


def test_report_of_a_recycled_pid_is_a_disagreement() -> None:
    report = _report(CACHED, 1000)
    report.victim.start_time_ns += _TICK_NS
    assert len(disagreements([_death(CACHED, 1000)], [report])) == 2


def test_two_reports_of_one_death_are_a_disagreement() -> None:
    reports = [_report(CACHED, 1000), _report(CACHED, 1000)]
    (line,) = disagreements([_death(CACHED, 1000)], reports)
    assert "twice" in line


def test_dry_run_report_of_a_death_is_a_disagreement() -> None:
    report = _report(CACHED, 1000)
    report.dry_run = True
    report.times.ClearField("signalled_ns")
    (line,) = disagreements([_death(CACHED, 1000)], [report])
    assert "no signal" in line


@pytest.mark.parametrize("field", ["uid", "oom_score_adj"])
def test_wrong_identity_is_a_disagreement(field: str) -> None:
    report = _report(CACHED, 1000)
    setattr(report.victim, field, 7)
    assert len(disagreements([_death(CACHED, 1000)], [report])) == 1


@pytest.mark.parametrize(
    ("field", "at_ms"),
    [
        ("seen_ns", 990),
        ("decided_ns", 985),
        ("signalled_ns", 980),
        ("exited_ns", 1101),
        ("memory_back_ns", 900),
    ],
)
def test_times_out_of_order_are_a_disagreement(field: str, at_ms: int) -> None:
    report = _report(CACHED, 1000)
    setattr(report.times, field, at_ms * _MS)
    assert disagreements([_death(CACHED, 1000)], [report])
