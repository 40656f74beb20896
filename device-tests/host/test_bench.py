# SPDX-License-Identifier: Apache-2.0
"""Figures, limits and the kernel's trace of signals: what the benches are judged by."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lmk.bench.__main__ import bench
from lmk.bench.figures import Entry, Limit, distribution, percentile, to_json, value
from lmk.errors import UsageError
from lmk.proto.record_pb2 import KillReport
from lmk.workload.signal_trace import SentSignal, checked_ms, parse_trace

_MS = 1_000_000


def _entry(**figures: object) -> Entry:
    return Entry("virtual", "7.3.4", "x86_64", "in_kernel", "zram", figures)  # type: ignore[arg-type]


def test_json_has_the_form_that_all_benches_keep() -> None:
    entry = _entry(
        seen_to_signal_ms=distribution("ms", [3.0, 1.0, 2.0]), cycles=value("cycles", 20)
    )
    assert json.loads(to_json("kill", [entry])) == {
        "bench": "kill",
        "entries": [
            {
                "device": "virtual",
                "kernel": "7.3.4",
                "abi": "x86_64",
                "path": "in_kernel",
                "variant": "zram",
                "figures": {
                    "seen_to_signal_ms": {
                        "unit": "ms", "n": 3, "p50": 2.0, "p99": 3.0, "max": 3.0,
                    },
                    "cycles": {"unit": "cycles", "value": 20},
                },
            }
        ],
    }  # fmt: skip


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(1, 100))
def test_percentile_is_a_sample_with_that_share_at_or_below_it(
    samples: list[float], pct: float
) -> None:
    ordered = sorted(samples)
    found = percentile(ordered, pct)
    assert found in ordered
    assert sum(sample <= found for sample in ordered) >= len(ordered) * pct / 100 - 1e-6


def test_p99_of_few_samples_is_their_maximum() -> None:
    assert distribution("ms", range(30)).numbers["p99"] == 29


def test_missed_limit_is_said_with_what_was_seen() -> None:
    entry = _entry(
        a=distribution("ms", [1.0, 9.0], Limit("p50", 1.0), Limit("p99", 5.0)),
        b=value("1/s", 10, Limit("value", at_least=30)),
        c=value("kills", 0, Limit("value", 0)),
    )
    assert entry.missed() == ["a: p99 ≤ 5 ms wanted, 9 seen", "b: ≥ 30 1/s wanted, 10 seen"]


def test_figure_without_samples_holds_no_limit() -> None:
    assert len(_entry(a=distribution("ms", [], Limit("p50", 1.0))).missed()) == 1


TRACE = """\
# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
             adbd-142     [001] d..2.    12.345678: signal_generate: sig=9 errno=0 code=128 \
comm=example.mail pid=301 grp=1 res=0
          <...>-77      [000] d.h1.    13.000001: signal_generate: sig=9 errno=0 code=128 \
comm=a pid=9 b pid=302 grp=1 res=2
          <...>-77      [000] d.h1.    14.000001: signal_generate: sig=17 errno=0 code=1 \
comm=sh pid=1 grp=1 res=0
"""


def test_trace_is_read_as_tracefs_prints_it() -> None:
    assert parse_trace(TRACE) == [
        SentSignal(12_345_678_000, 301, True),
        SentSignal(13_000_001_000, 302, False),
    ]


def _report(pid: int = 301, tid: int = 301) -> KillReport:
    report = KillReport()
    report.victim.pid, report.victim.tid = pid, tid
    report.times.seen_ns = 1000 * _MS
    report.times.signalled_ns = 1002 * _MS
    report.times.exited_ns = 1050 * _MS
    return report


def test_traced_latency_runs_from_seen_to_the_kernels_own_time() -> None:
    latencies, contradicted = checked_ms([_report()], [SentSignal(1003 * _MS, 301, True)])
    assert latencies == [3.0]
    assert contradicted == []


def test_signal_to_another_thread_of_the_victim_counts() -> None:
    assert checked_ms([_report(tid=305)], [SentSignal(1003 * _MS, 305, True)])[0] == [3.0]


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [SentSignal(1003 * _MS, 999, True)],
        [SentSignal(1003 * _MS, 301, False)],
        [SentSignal(900 * _MS, 301, True)],
        [SentSignal(1051 * _MS, 301, True)],
    ],
    ids=["none", "other task", "not delivered", "before seen", "after exit"],
)
def test_report_that_the_trace_contradicts_is_said(sent: list[SentSignal]) -> None:
    latencies, contradicted = checked_ms([_report()], sent)
    assert latencies == []
    assert len(contradicted) == 1


def test_microseconds_of_the_trace_are_no_contradiction() -> None:
    report = _report()
    report.times.seen_ns = 1000 * _MS + 999
    assert checked_ms([report], [SentSignal(1000 * _MS, 301, True)]) == ([0.0], [])


@pytest.mark.parametrize(
    "option", [["--zram-mb", "0"], ["--kernel", "6.12"], ["--own-time"], ["--reboots", "2"]]
)
def test_option_of_a_virtual_device_is_refused_for_another(option: list[str]) -> None:
    done = CliRunner().invoke(bench, ["kill", "--device", "tcp:192.0.2.1:5555", *option])
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith(f"{option[0]} is for the virtual device")
