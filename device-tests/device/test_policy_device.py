# SPDX-License-Identifier: Apache-2.0
"""Policies of a device that runs: from lmkd's properties, swapped live; kills asked for."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from test_cli_device import Command

from lmk.attachment import attach, connect_session, detach
from lmk.control import SessionFile
from lmk.device.interface import Device
from lmk.errors import ProtocolError, UsageError
from lmk.install import start_agent
from lmk.policy import Policy, check_policy, load, parse
from lmk.policy.fields import flat
from lmk.proto.record_pb2 import KillReport
from lmk.session import Session
from lmk.workload.eater import Eater

_FIRST_UID = 19_950
_PATIENCE = timedelta(seconds=120)
_PROPERTIES = {
    "ro.lmk.thrashing_limit": "40",
    "persist.device_config.lmkd_native.thrashing_limit": "45",
    "ro.lmk.use_minfree_levels": "true",
}


def quiet_policy() -> Policy:
    """Nobody dies but by request: the device is never scarce, and only this test's uids count."""
    wanted = load("default")
    wanted.scarcity.available_below_pct = 0
    wanted.only_uids.add(first=_FIRST_UID, last=_FIRST_UID + 9)
    return wanted


@pytest.fixture
def session(device: Device) -> Iterator[Session]:
    with attach(device, quiet_policy(), lease=timedelta(minutes=10)) as session:
        yield session


@contextlib.contextmanager
def apps(device: Device, *adjs: int) -> Iterator[list[int]]:
    """One app for each adj; their pids."""
    with contextlib.ExitStack() as stack:
        pids = []
        for index, adj in enumerate(adjs):
            eater = stack.enter_context(Eater(device, 4, adj=adj, uid=_FIRST_UID + index))
            pids.append(eater.await_phase("grown", _PATIENCE).pid)
        yield pids


def next_report(session: Session, pid: int) -> KillReport:
    return next(each for each in session.reports(follow=True) if each.victim.pid == pid)


def test_a_kill_before_the_host_heard_hello_is_among_its_sessions_reports(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_and_kill(*arguments: Any, **options: Any) -> SessionFile:
        """The agent runs, Hello is not said, and the device is short of memory, so to speak."""
        file = start_agent(*arguments, **options)
        other = connect_session(device)
        assert other.request_kill(0).victim_pid == pid
        assert next_report(other, pid).kill_id
        return file

    detach(device)
    with apps(device, 900) as (pid,):
        monkeypatch.setattr("lmk.attachment.start_agent", start_and_kill)
        with attach(device, quiet_policy(), lease=timedelta(minutes=10)) as session:
            assert [each.victim.pid for each in session.reports(follow=False)] == [pid]
            # Whoever comes to it later begins with what comes later.
            assert list(connect_session(device).reports(follow=False)) == []


def test_a_requested_kill_takes_the_next_in_order_and_reports_the_callers_reason(
    device: Device, session: Session
) -> None:
    with apps(device, 700, 900, 800) as (front, last, middle):
        first = session.request_kill(800, reason=42)
        assert (first.outcome, first.victim_pid) == ("killed", last)
        report = next_report(session, last)
        assert (report.reason, report.kill_id) == (1042, first.kill_id)
        second = session.request_kill(800)
        assert (second.outcome, second.victim_pid) == ("killed", middle)
        assert next_report(session, middle).reason == 1000
        third = session.request_kill(800)
        assert (third.outcome, third.kill_id, third.victim_pid) == ("no_victim", 0, 0)
        assert device.run(f"kill -0 {front}").exit_code == 0


def test_a_requested_kill_spares_what_the_policy_protects(device: Device, session: Session) -> None:
    wanted = quiet_policy()
    wanted.protected_uids.add(first=_FIRST_UID, last=_FIRST_UID)
    session.set_policy(wanted)
    with apps(device, 950, 900) as (guarded, other):
        answer = session.request_kill(0)
        assert (answer.outcome, answer.victim_pid) == ("killed", other)
        assert device.run(f"kill -0 {guarded}").exit_code == 0


def test_a_requested_kill_is_held_to_dry_run_and_budget(device: Device, session: Session) -> None:
    wanted = quiet_policy()
    wanted.dry_run = True
    session.set_policy(wanted)
    with apps(device, 900, 800) as (last, other):
        answer = session.request_kill(800)
        assert (answer.outcome, answer.victim_pid) == ("dry_run", last)
        assert device.run(f"kill -0 {last} {other}").exit_code == 0
        wanted = quiet_policy()
        wanted.kills.max_per_minute = 1
        session.set_policy(wanted)
        assert session.request_kill(800).outcome == "killed"
        next_report(session, last)
        assert session.request_kill(800).outcome == "budget"
        assert device.run(f"kill -0 {other}").exit_code == 0
        assert session.status().budget_left == 0


@pytest.mark.parametrize(("floor", "reason"), [(-1001, 0), (1001, 0), (900, -1), (900, 1000)])
def test_nonsense_is_refused_before_anything_is_asked(
    session: Session, floor: int, reason: int
) -> None:
    with pytest.raises(UsageError, match="requested kill"):
        session.request_kill(floor, reason=reason)


def test_a_floor_below_0_needs_the_policys_leave(session: Session) -> None:
    with pytest.raises(UsageError, match="allow_negative_floor"):
        session.request_kill(-1)


def test_command_kills_pushes_and_says_what_differs(device: Device, session: Session) -> None:
    command = Command(device.serial)
    with apps(device, 900) as (pid,):
        answer = json.loads(command.run("kill", "--floor", "900", "--reason", "7", "--json"))
        assert (answer["outcome"], answer["pid"]) == ("killed", pid)
        assert next_report(session, pid).reason == 1007
    assert json.loads(command.run("kill", "--floor", "900", "--json", code=6))["pid"] == 0
    differs = json.loads(command.run("policy", "diff", "default", "--json"))
    assert {each["field"] for each in differs} == {"scarcity.available_below_pct", "only_uids"}
    command.run("policy", "push", "lmkd-highperf")
    assert session.status().policy == load("lmkd-highperf")
    assert json.loads(command.run("policy", "diff", "lmkd-highperf", "--json")) == []


def test_agent_and_host_agree_on_every_fields_range(session: Session) -> None:
    """What `lmk policy check` passes is never refused by the device, and the other way round."""
    kept = session.status().policy
    wrong = []
    for path, value in flat(kept):
        group, _, name = path.partition(".")
        if not name or isinstance(value, bool):
            continue
        for extreme in (-1001, -1, 0, 1, 100, 101, 1000, 1001, 1002, 60_001, 1_000_001, 2**32 - 1):
            changed = Policy()
            changed.CopyFrom(kept)
            try:
                setattr(getattr(changed, group), name, extreme)
            except ValueError:
                continue  # not a value of that type
            passed = check_policy(changed) == []
            try:
                session.set_policy(changed)
                taken = True
            except (UsageError, ProtocolError):  # an enum's -1 does not even decode
                taken = False
            if passed != taken:
                wrong.append((path, extreme, "host" if passed else "device"))
    session.set_policy(kept)
    assert wrong == []


@pytest.mark.virtual_only
def test_lmkds_properties_become_the_policy(device: Device) -> None:
    command = Command(device.serial)
    for name, value in _PROPERTIES.items():
        # ro.* can be set once: the second run of this test finds it set.
        device.run(f"setprop {name} {value}")
    policy = parse(command.run("policy", "pull"))
    assert policy.thrashing.thrashing_limit_pct == 45, "the override"
    assert policy.thrashing.thrashing_limit_critical_pct == 135
    assert policy.name == f"lmkd of {device.serial}"
    device.run("setprop persist.device_config.lmkd_native.thrashing_limit ''")
    text = command.run("policy", "pull")
    assert parse(text).thrashing.thrashing_limit_pct == 40
    assert "ro.lmk.use_minfree_levels=true (it chooses lmkd's old strategy" in text


@pytest.mark.virtual_only
def test_properties_of_nonsense_are_said_and_change_nothing(device: Device) -> None:
    command = Command(device.serial)
    nonsense = {
        "psi_partial_stall_ms": "7e1",
        "swap_util_max": "50 dry_run: true",
        "kill_timeout_ms": "9" * 60,
        "thrashing_limit_decay": "\x1b[31m10 % [",
        "swap_compression_ratio_div": "3",
    }
    prefix = "persist.device_config.lmkd_native."
    before = parse(command.run("policy", "pull"))
    try:
        for name, value in nonsense.items():
            device.run(f"setprop {prefix}{name} {shlex.quote(value)}")
        text = command.run("policy", "pull")
    finally:
        for name in nonsense:
            device.run(f"setprop {prefix}{name} ''")
    assert parse(text) == before
    for name in nonsense:
        assert f"{prefix}{name}=" in text
