# SPDX-License-Identifier: Apache-2.0
"""The agent on a real kernel: what a kill report says, and what comes through its own death."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from killing import kill_9
from loaded import ASIDE_KB

from lmk.attachment import attach
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.facts import gather
from lmk.policy import Policy, load
from lmk.proto.record_pb2 import KillPath, KillReport, Lifecycle, Signal
from lmk.report import Position
from lmk.session import Session
from lmk.workload.eater import Eater

pytestmark = pytest.mark.usefixtures("detached_after")

#: Victims of these tests have uids of their own; on any device nobody else may die.
_FIRST_UID, _VICTIMS = 19_900, 4
_VICTIM_MB = 48
_PATIENCE = timedelta(seconds=120)
_KIB = 1024


def policy() -> Policy:
    wanted = load("default")
    wanted.only_uids.add(first=_FIRST_UID, last=_FIRST_UID + _VICTIMS)
    return wanted


@pytest.fixture
def session(device: Device) -> Session:
    """Of this test's policy; handlers that are there are taken over, not loaded again."""
    return attach(device, policy(), lease=timedelta(minutes=10))


@contextlib.contextmanager
def victims(device: Device) -> Iterator[list[int]]:
    """Apps that hold memory, the last of them the least important. Their pids."""
    with contextlib.ExitStack() as stack:
        pids = []
        for index in range(_VICTIMS):
            eater = stack.enter_context(
                Eater(
                    device,
                    _VICTIM_MB,
                    adj=900 + index,
                    uid=_FIRST_UID + index,
                    name=f"com.example.agent.test{index}",
                )
            )
            pids.append(eater.await_phase("grown", _PATIENCE).pid)
        yield pids


def press(device: Device) -> Eater:
    """Somebody who may not die and takes all memory there is."""
    total_kb = int(
        device.run("grep MemTotal /proc/meminfo | tr -dc 0-9").text,
    )
    return Eater(device, 2 * total_kb // _KIB, adj=0, rate_mb_per_s=400, floor_mb=0, name="presser")


def kills(session: Session, count: int, start: Position) -> list[KillReport]:
    found: list[KillReport] = []
    with session.records(start) as stream:
        # Without kills nothing but heartbeats would come, for ever.
        alarm = threading.Timer(_PATIENCE.total_seconds(), stream.close)
        alarm.start()
        try:
            for record in stream:
                if record.HasField("kill"):
                    found.append(record.kill)
                    if len(found) == count:
                        break
        finally:
            alarm.cancel()
    # A report is made when its kill is over: a quick one may overtake the one before.
    return sorted(found, key=lambda report: report.kill_id)


def test_kill_reports_are_complete_and_in_order(session: Session, device: Device) -> None:
    start = session.start
    with victims(device) as pids, press(device):
        reports = kills(session, _VICTIMS, start)
    assert [report.victim.pid for report in reports] == pids[::-1]
    assert [report.victim.oom_score_adj for report in reports] == [903, 902, 901, 900]
    for index, report in enumerate(reports):
        check_report(report, _VICTIMS - 1 - index)
    assert len({report.kill_id for report in reports}) == _VICTIMS


def check_report(report: KillReport, index: int) -> None:
    victim, times = report.victim, report.times
    assert victim.name == f"com.example.agent.test{index}"
    assert victim.uid == _FIRST_UID + index
    assert (victim.tid, victim.threads) == (victim.pid, 1)
    assert 0 < victim.start_time_ns < times.seen_ns
    held_kb = victim.anon_kb + victim.swap_kb
    assert _VICTIM_MB * _KIB - ASIDE_KB <= held_kb < _VICTIM_MB * _KIB * 1.2
    # Why: the reason's condition is among the signals, and breached.
    assert report.reason
    breached = {signal.kind for signal in report.signals if signal.breached}
    assert Signal.AVAILABLE_KB in breached
    assert {signal.kind for signal in report.signals} >= {Signal.FREE_KB, Signal.AVAILABLE_KB}
    # Why not others: the rest of ours, best first.
    rest = [f"com.example.agent.test{other}" for other in range(index - 1, -1, -1)]
    assert [candidate.name for candidate in report.candidates] == rest
    assert report.processes_seen > report.processes_eligible == index + 1
    # How long, and what came back.
    assert times.seen_ns <= times.decided_ns <= times.signalled_ns
    assert times.signalled_ns < times.memory_back_ns
    # The call that signals may return after the victim is gone: another CPU was quicker.
    assert times.exited_ns > times.decided_ns
    assert report.memory_back in (KillReport.EXIT_MMAP, KillReport.PROCESS_MRELEASE)
    if report.HasField("mrelease_result"):
        assert times.mrelease_begin_ns <= times.mrelease_end_ns
    if report.memory_back == KillReport.PROCESS_MRELEASE:
        assert report.mrelease_result == 0
    assert report.freed_kb > 0.95 * held_kb
    assert report.before.time_ns < report.after.time_ns
    assert report.mem_free_delta_kb == report.after.mem_free_kb - report.before.mem_free_kb
    assert report.psi_some_delta_us >= 0
    assert report.attempts >= 1
    assert not report.agent_absent
    assert not report.dry_run


@pytest.mark.in_kernel
def test_kills_made_while_the_agent_is_dead_are_reported_by_the_next(
    session: Session, device: Device, root: Root
) -> None:
    start = session.start
    before = session.status()
    with victims(device) as pids:
        # The guardian would bring the agent back before anybody has to die.
        root.run(f"kill -STOP {before.guardian_pid} && kill -9 {before.agent_pid}")
        with press(device):
            wait_for_death(root, pids)
        root.run(f"kill -CONT {before.guardian_pid}")
        wait_for_new_agent(root, before.agent_pid)
        assert session.status().agent_pid != before.agent_pid
        reports = kills(session, _VICTIMS, start)
    assert [report.victim.pid for report in reports] == pids[::-1]
    assert all(report.agent_absent for report in reports)
    assert not any(report.HasField("mrelease_result") for report in reports)
    assert all(report.times.HasField("memory_back_ns") for report in reports)
    after = session.status()
    assert after.agent_restarts == before.agent_restarts + 1
    assert after.hello.run == before.hello.run + 1
    with session.records(Position(start.boot_id, before.hello.run, 1), follow=False) as stream:
        kinds = [record.lifecycle.kind for record in stream if record.HasField("lifecycle")]
    # What the dead agent had recorded is still there.
    assert kinds[0] == Lifecycle.ATTACHED
    assert Lifecycle.RESUMED in kinds


@pytest.mark.in_kernel
def test_handlers_go_on_while_agent_and_guardian_are_stopped(
    session: Session, device: Device, root: Root
) -> None:
    start = session.start
    before = session.status()
    both = f"{before.guardian_pid} {before.agent_pid}"
    with victims(device) as pids:
        root.run(f"kill -STOP {both}")
        try:
            with press(device):
                wait_for_death(root, pids)
            states = root.run(f"for p in {both}; do cut -d' ' -f3 /proc/$p/stat; done").text.split()
        finally:
            root.run(f"kill -CONT {both}")
        reports = kills(session, _VICTIMS, start)
    assert states == ["T", "T"], "somebody of ours ran meanwhile"
    assert [report.victim.pid for report in reports] == pids[::-1]
    assert all(report.path == KillPath.KILL_PATH_IN_KERNEL for report in reports)
    # The same agent goes on: nobody had to take over.
    assert session.status().agent_pid == before.agent_pid


@pytest.mark.in_kernel
def test_kills_made_while_nobody_lived_are_reported_by_the_next_attach(
    session: Session, device: Device, root: Root
) -> None:
    before = session.status()
    with victims(device) as pids:
        kill_9(root, before.guardian_pid, before.agent_pid)
        with press(device):
            wait_for_death(root, pids)
        # The handlers went on by themselves; now they are replaced.
        again = attach(device, policy())
        start = Position(again.hello.boot_id, before.hello.run + 1, 1)
        reports = kills(again, _VICTIMS, start)
    assert [report.victim.pid for report in reports] == pids[::-1]
    assert all(report.agent_absent for report in reports)


def wait_for_death(root: Root, pids: list[int]) -> None:
    alive = " || ".join(f"[ -d /proc/{pid} ]" for pid in pids)
    waited = root.run(
        f"i=0; while {{ {alive}; }} && [ $i -lt 100 ]; do sleep 1; i=$((i+1)); done; "
        "[ $i -lt 100 ]",
        timeout=_PATIENCE,
    )
    assert waited.exit_code == 0, "the victims live"


def wait_for_new_agent(root: Root, old_pid: int) -> None:
    end = time.monotonic() + _PATIENCE.total_seconds()
    while (facts := gather(root)).session is None or facts.session.agent_pid == old_pid:
        assert time.monotonic() < end, "the guardian did not bring the agent back"


def test_a_dry_run_reports_and_kills_nobody(session: Session, device: Device) -> None:
    wanted = policy()
    wanted.dry_run = True
    session.set_policy(wanted)
    start = session.start
    with victims(device) as pids, press(device):
        (report,) = kills(session, 1, start)
        assert report.dry_run
        assert report.victim.pid == pids[-1]
        assert not report.times.HasField("signalled_ns")
        assert not report.HasField("freed_kb")
        assert report.attempts == 0
        assert device.run(f"[ -d /proc/{pids[-1]} ]").exit_code == 0
    assert session.status().hello.dry_run
