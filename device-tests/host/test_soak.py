# SPDX-License-Identifier: Apache-2.0
"""A soak: its schedule, what it blames a killer for and what not, and its result."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from click.testing import CliRunner
from holdings import samples
from rich.console import Console

from lmk.policy import Policy, load
from lmk.proto.record_pb2 import Hello, KillReport
from lmk.soak.__main__ import command
from lmk.soak.judge import differences, strangers, wrong_victims
from lmk.soak.run import Outcome
from lmk.soak.schedule import LAUNCHES_PER_MINUTE, schedule
from lmk.soak.summary import as_json, show
from lmk.workload.conversation import Event
from lmk.workload.history import History
from lmk.workload.signal_trace import SentSignal
from lmk.workload.vitals import Vitals

_MS = 1_000_000
_TICK_NS = 10 * _MS
_HALF_HOUR = timedelta(minutes=30)


# -- the schedule ------------------------------------------------------------------------------


def test_schedule_follows_from_the_seed() -> None:
    assert schedule(7, _HALF_HOUR) == schedule(7, _HALF_HOUR)
    assert schedule(7, _HALF_HOUR) != schedule(8, _HALF_HOUR)


def test_schedule_is_in_order_and_within_its_time() -> None:
    times = [action.at_s for action in schedule(1, _HALF_HOUR)]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < _HALF_HOUR.total_seconds()


def test_apps_are_launched_as_often_as_it_says() -> None:
    launches = [action for action in schedule(1, _HALF_HOUR) if action.kind == "launch"]
    assert len(launches) == pytest.approx(30 * LAUNCHES_PER_MINUTE, rel=0.1)
    assert [action.app for action in launches] == list(range(1, len(launches) + 1))


@pytest.mark.parametrize("seed", range(5))
def test_nothing_happens_to_an_app_before_its_launch(seed: int) -> None:
    launched: set[int] = set()
    for action in schedule(seed, timedelta(minutes=5)):
        if action.kind == "launch":
            launched.add(action.app)
        elif action.app:
            assert action.app in launched


def test_every_kind_of_churn_happens() -> None:
    actions = schedule(1, _HALF_HOUR)
    assert {action.kind for action in actions} == {"launch", "adj", "exit", "burst", "calm"}
    adjs = {action.adj for action in actions if action.kind == "adj"}
    assert {200, 500, 700} <= adjs
    assert max(adjs) > 900


def test_each_burst_is_given_back_before_the_next() -> None:
    kinds = [a.kind for a in schedule(3, _HALF_HOUR) if a.kind in ("burst", "calm")]
    assert kinds == (["burst", "calm"] * len(kinds))[: len(kinds)]


# -- the judge ---------------------------------------------------------------------------------


class _Device:
    """What a population's parent and the kernel would have said; times in ms."""

    def __init__(self) -> None:
        self.history = History()
        self.sent: list[SentSignal] = []

    def say(self, kind: str, at_ms: float, pid: int, **more: Any) -> None:
        event: Event = {"event": kind, "time_ns": int(at_ms * _MS), "pid": pid, "start_ticks": pid}
        self.history.take_in(event | {"name": f"app{pid}", "uid": 99000 + pid} | more)

    def app(self, pid: int, adj: int, at_ms: float = 0) -> None:
        self.say("start", at_ms, pid, adj=adj)
        self.say("became", at_ms + 1, pid, adj=adj)

    def adj(self, pid: int, adj: int, since_ms: float, until_ms: float) -> None:
        self.say("adj", until_ms, pid, adj=adj, since_ns=int(since_ms * _MS))

    def killed(
        self, pid: int, at_ms: float, died_ms: float | None = None, *, signal: int = 9
    ) -> None:
        self.sent.append(SentSignal(int(at_ms * _MS), pid, True))
        died_ms = at_ms + 5 if died_ms is None else died_ms
        self.say("exit", died_ms, pid, signal=signal, quitting=False)

    def judged(self, *reports: KillReport, policy: Policy | None = None) -> list[str]:
        self.history.take_signals(self.sent)
        wanted = load("default") if policy is None else policy
        return differences(self.history, reports) + wrong_victims(self.history, reports, wanted)


def _report(pid: int, adj: int, at_ms: float, *, floor: int = 0) -> KillReport:
    """Sampled 2 ms before it was decided at `at_ms`; signalled at once."""
    report = KillReport(min_oom_score_adj=floor)
    report.victim.pid = pid
    report.victim.start_time_ns = pid * _TICK_NS
    report.victim.uid = 99000 + pid
    report.victim.oom_score_adj = adj
    report.before.time_ns = report.times.seen_ns = int((at_ms - 2) * _MS)
    report.times.decided_ns = report.times.signalled_ns = int(at_ms * _MS)
    return report


@pytest.fixture
def device() -> _Device:
    """Two cached apps, a service, and the one in front; all there from 1 ms on."""
    device = _Device()
    for pid, adj in ((1, 950), (2, 900), (3, 500), (4, 0)):
        device.app(pid, adj)
    return device


def test_highest_adj_first_is_right(device: _Device) -> None:
    device.killed(1, 100)
    device.killed(2, 200)
    assert device.judged(_report(1, 950, 100), _report(2, 900, 200)) == []


def test_victim_below_one_that_was_there_is_wrong(device: _Device) -> None:
    device.killed(3, 100)
    (line,) = device.judged(_report(3, 500, 100))
    assert line == "app3 (pid 3, adj 500) was killed while there was app1 (adj 950) and 1 more"


def test_one_that_is_dying_already_is_no_alternative(device: _Device) -> None:
    device.killed(1, 100, died_ms=900)
    device.killed(2, 200, died_ms=300)
    assert device.judged(_report(1, 950, 100), _report(2, 900, 200)) == []


def test_one_that_was_told_to_exit_is_no_alternative(device: _Device) -> None:
    device.say("leaving", 90, 1)
    device.killed(2, 100)
    device.say("exit", 400, 1, signal=0, quitting=False)
    assert device.judged(_report(2, 900, 100)) == []


def test_one_that_has_only_just_started_is_no_alternative(device: _Device) -> None:
    device.app(5, 999, at_ms=98.5)
    device.killed(1, 100)
    assert device.judged(_report(1, 950, 100)) == []


@pytest.mark.parametrize(
    ("since_ms", "until_ms", "blamed"),
    [(50, 60, True), (97, 99, False), (99, 101, False), (110, 120, False)],
    ids=["before", "ended within", "began within", "after"],
)
def test_adj_that_changes_around_the_decision_may_be_either(
    device: _Device, since_ms: float, until_ms: float, blamed: bool
) -> None:
    device.adj(3, 999, since_ms, until_ms)
    device.killed(1, 100)
    assert bool(device.judged(_report(1, 950, 100))) == blamed


def test_reported_adj_must_be_one_that_the_victim_had(device: _Device) -> None:
    device.adj(1, 960, 50, 60)
    device.killed(1, 100)
    assert device.judged(_report(1, 960, 100)) == []
    (line,) = device.judged(_report(1, 950, 100))
    assert "reported with adj 950" in line


def test_victim_below_the_floor_of_its_reason_is_wrong(device: _Device) -> None:
    device.killed(1, 100)
    (line,) = device.judged(_report(1, 950, 100, floor=951))
    assert "below the floor, 951" in line


def test_victim_at_minus_1000_is_wrong_whatever_else_lives() -> None:
    device = _Device()
    device.app(1, -1000)
    device.killed(1, 100)
    (line,) = device.judged(_report(1, -1000, 100, floor=-1000))
    assert "may never be" in line


def test_protected_uid_is_a_wrong_victim_and_no_alternative(device: _Device) -> None:
    policy = load("default")
    policy.protected_uids.add(first=99001, last=99001)
    device.killed(2, 100)
    assert device.judged(_report(2, 900, 100), policy=policy) == []
    device.killed(1, 200)
    reports = (_report(2, 900, 100), _report(1, 950, 200))
    (line,) = device.judged(*reports, policy=policy)
    assert "its uid may not be" in line


def test_kill_without_a_report_is_missed(device: _Device) -> None:
    device.killed(1, 100)
    (line,) = device.judged()
    assert "no report says so" in line


def test_report_of_a_pid_that_is_another_process_by_now_is_no_report_of_the_death(
    device: _Device,
) -> None:
    device.killed(1, 100)
    stale = _report(1, 950, 100)
    stale.victim.start_time_ns += 5 * _TICK_NS
    assert len(device.judged(stale)) == 2


def test_victim_that_was_exiting_by_itself_may_be_reported_or_not(device: _Device) -> None:
    device.say("leaving", 99, 1)
    device.killed(1, 100, signal=0)
    assert device.judged(_report(1, 950, 100)) == []
    assert device.judged() == []


def test_report_of_one_that_nobody_signalled_is_a_fault(device: _Device) -> None:
    device.say("exit", 105, 1, signal=0, quitting=False)
    (line,) = device.judged(_report(1, 950, 100))
    assert "did not die by SIGKILL" in line


def test_signal_to_nobody_of_the_population_is_a_stranger(device: _Device) -> None:
    device.killed(1, 100)
    sent = [
        *device.sent,
        SentSignal(300 * _MS, 1, True),  # its pid, after its end
        SentSignal(300 * _MS, 77, True),
        SentSignal(300 * _MS, 78, False),
    ]
    assert [line.split()[1] for line in strangers(device.history, sent)] == ["1", "77"]


# -- the result --------------------------------------------------------------------------------


def _outcome(device: _Device, **changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "hello": Hello(device_name="virtual", kernel_release="7.3", abi="x86_64"),
        "policy": load("default"),
        "before": Vitals(750_000, 600_000, 600_000, 400_000, 400_000, 0),
        "seed": 5,
        "duration_s": 60.0,
        "done": {"launch": 32, "burst": 2},
        "history": device.history,
        "reports": (_report(1, 950, 100),),
        "samples": tuple(tuple(sample) for sample in samples((1700, 28), (1700, 28))),
        "breaks": (),
        "kernel_oom_kills": 0,
        "wrong": (),
        "missed": (),
        "lost": (),
        "grown": (),
    }
    return Outcome(**fields | changes)


def _shown(outcome: Outcome) -> str:
    text = StringIO()
    show(Console(file=text, width=120), outcome)
    return text.getvalue()


def test_good_soak_has_no_faults_and_says_so(device: _Device) -> None:
    device.killed(1, 100)
    outcome = _outcome(device)
    assert outcome.faults == []
    assert "missed" not in _shown(outcome).replace("missed or untrue", "")
    said = json.loads(json.dumps(as_json(outcome)))
    assert (said["seed"], said["kills"], said["faults"]) == (5, 1, [])
    assert said["kills_by_class"] == {"cached": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"kernel_oom_kills": 1},
        {"wrong": ("a was killed",)},
        {"missed": ("b died",)},
        {"lost": ("c is lost",)},
        {"grown": ("the agent grew",)},
    ],
)
def test_each_kind_of_fault_is_shown(device: _Device, change: dict[str, Any]) -> None:
    device.killed(1, 100)
    outcome = _outcome(device, **change)
    assert len(outcome.faults) == 1
    assert f"✗ {outcome.faults[0]}" in _shown(outcome)
    assert "missed" in _shown(outcome).replace("missed or untrue", "")


def test_soak_without_a_kill_proves_nothing(device: _Device) -> None:
    assert _outcome(device, reports=()).faults == ["nobody was killed: there was nothing to judge"]


def test_dry_run_is_refused_before_anything_is_booted(tmp_path: Any) -> None:
    policy = tmp_path / "policy"
    policy.write_text('name: "watch" dry_run: true')
    result = CliRunner().invoke(command, ["--policy", str(policy)])
    assert result.exit_code != 0
    assert "dry run" in str(result.exception)
