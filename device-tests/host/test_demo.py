# SPDX-License-Identifier: Apache-2.0
"""The demo's population, its rule for foreign devices, and its verdict."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lmk.demo.display import LiveReports
from lmk.demo.guard import limit_victims
from lmk.demo.run import Performance
from lmk.demo.summary import as_json, show
from lmk.policy import check_policy, preset
from lmk.proto.record_pb2 import Hello, KillPath, KillReport, Reason, Signal
from lmk.report.classes import class_of
from lmk.workload import Death, Life
from lmk.workload.android import FIRST_UID, FOREGROUND, LAST_UID, android_like
from lmk.workload.trial import Verdict, judge
from lmk.workload.vitals import Vitals

_VITALS = Vitals(756_784, 687_928, 631_228, 409_596, 409_596, 0)
_MS = 1_000_000


@given(st.integers(256, 16_384), st.integers(50, 95), st.integers(0, 200))
def test_population_leaves_memory_to_start_with(
    ram_mb: int, available_pct: int, swap_pct: int
) -> None:
    total_kb = ram_mb * 1024
    available_kb = total_kb * available_pct // 100
    scene = android_like(total_kb, available_kb, total_kb * swap_pct // 100)
    used_kb = sum(row.size_kb * row.count for row in scene.rows)
    # Above the default policy's scarcity bound (12 %), unless the device was short before.
    assert available_kb - used_kb >= min(total_kb * 20 // 100, available_kb * 45 // 100)
    # The growth does not fit in what is left, or there would be nothing to see.
    assert scene.growth_mb * 1024 > available_kb - used_kb - 1024


def test_population_has_every_class_and_uids_of_its_own() -> None:
    rows = android_like(756_784, 631_228, 409_596).rows
    classes = [class_of(row.adj) for row in rows]
    assert classes.count("cached") >= 10
    assert {"system", "persistent", "foreground", "visible", "perceptible"} <= set(classes)
    assert {"service", "home", "previous", "service B"} <= set(classes)
    uids = [row.uid for row in rows]
    assert len(set(uids)) == len(uids)
    assert all(FIRST_UID <= uid <= LAST_UID for uid in uids)
    assert [row.adj for row in rows if row.name == FOREGROUND] == [0]


def test_victims_on_a_foreign_device_are_the_demos_own() -> None:
    policy = preset("default")
    policy.only_uids.add(first=10_000, last=19_999)
    limited = limit_victims(policy)
    assert [(entry.first, entry.last) for entry in limited.only_uids] == [(FIRST_UID, LAST_UID)]
    assert check_policy(limited) == []
    assert len(policy.only_uids) == 1
    assert policy.only_uids[0].first == 10_000


def _life(name: str, adj: int, pid: int) -> Life:
    return Life(0, name, pid, pid, 99000, adj)


def _report(life: Life, at_ms: int) -> KillReport:
    report = KillReport(reason=Reason.REASON_LOW_MEM, freed_kb=20_480)
    report.victim.pid, report.victim.start_time_ns = life.pid, life.start_ticks * 10 * _MS
    report.victim.name, report.victim.uid = life.name, life.uid
    report.victim.oom_score_adj = life.adj
    report.signals.add(kind=Signal.FREE_KB, value=9 * 1024, limit=50 * 1024, breached=True)
    times = report.times
    times.seen_ns, times.decided_ns = (at_ms - 10) * _MS, (at_ms - 9) * _MS
    times.signalled_ns, times.exited_ns = (at_ms - 8) * _MS, (at_ms - 1) * _MS
    times.memory_back_ns = (at_ms + 1) * _MS
    return report


CACHED, FRONT = _life("com.example.maps", 900, 10), _life(FOREGROUND, 0, 11)


def _performance(verdict: Verdict) -> Performance:
    return Performance(
        hello=Hello(
            device_name="virtual",
            kernel_release="7.3.4",
            abi="x86_64",
            kill_path=KillPath.KILL_PATH_IN_KERNEL,
        ),
        policy=preset("default"),
        scene=android_like(_VITALS.total_kb, _VITALS.available_kb, _VITALS.swap_total_kb),
        before=_VITALS,
        full=_VITALS,
        after=_VITALS,
        grown_mb=300,
        verdict=verdict,
    )


def _shown(performance: Performance) -> str:
    text = StringIO()
    show(Console(file=text, width=120), performance)
    return text.getvalue()


def test_good_trial_has_no_faults_and_says_so() -> None:
    verdict = judge(
        [CACHED, FRONT],
        [Death(CACHED, 1000 * _MS, 9, False), Death(FRONT, 9000 * _MS, 0, True)],
        [_report(CACHED, 1000)],
        foreground=FOREGROUND,
        kernel_oom_kills=0,
    )
    assert verdict.faults == []
    shown = _shown(_performance(verdict))
    assert "kernel OOM kills: 0" in shown
    assert "foreground survived: yes" in shown
    assert "com.example.maps" in shown
    assert "free 9216 kB < 50 MB" in shown


@pytest.mark.parametrize(
    ("deaths", "oom_kills", "words"),
    [
        ([Death(FRONT, 1000 * _MS, 9, False)], 0, "foreground survived: no"),
        ([Death(FRONT, 1000 * _MS, 0, False)], 0, "foreground survived: no"),
        ([], 2, "kernel OOM kills: 2"),
        ([Death(CACHED, 1000 * _MS, 9, False)], 0, "record: no"),
    ],
    ids=["foreground killed", "foreground crashed", "kernel OOM kill", "unreported kill"],
)
def test_fault_is_said(deaths: list[Death], oom_kills: int, words: str) -> None:
    verdict = judge([CACHED, FRONT], deaths, [], foreground=FOREGROUND, kernel_oom_kills=oom_kills)
    assert verdict.faults
    assert words in _shown(_performance(verdict))


def test_result_for_programs_is_json() -> None:
    verdict = judge(
        [CACHED, FRONT],
        [Death(CACHED, 1000 * _MS, 9, False)],
        [_report(CACHED, 1000)],
        foreground=FOREGROUND,
        kernel_oom_kills=0,
    )
    result = json.loads(json.dumps(as_json(_performance(verdict))))
    assert result["foreground_survived"] is True
    assert result["kernel_oom_kills"] == 0
    assert [death["name"] for death in result["deaths"]] == ["com.example.maps"]
    assert result["latency"]["seen_to_signal_ms"]["p50"] == 2.0
    assert result["reports"][0]["freed_kb"] == 20_480


def test_live_reports_are_lines_where_there_is_no_terminal() -> None:
    text = StringIO()
    with LiveReports(Console(file=text, width=80), begin_ns=0) as live:
        live.show(_report(_life("\x1b[31mevil\n", 900, 10), 1000))
        live.state(FOREGROUND, 10.0, 100, _VITALS)
    heading, line = text.getvalue().splitlines()
    assert "who died" in heading
    assert "\x1b" not in line
    assert "20 MB" in line
