# SPDX-License-Identifier: Apache-2.0
"""Rules for apps on a device: by uid, package and process name; who dies, who does not."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from test_cli_device import Command

from lmk.attachment import attach, detach
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.errors import UsageError
from lmk.facts import gather
from lmk.policy import Policy, load
from lmk.proto.control_pb2 import Status
from lmk.proto.policy_pb2 import AppRule
from lmk.proto.record_pb2 import KillReport
from lmk.session import Session
from lmk.workload.eater import Eater

pytestmark = pytest.mark.usefixtures("detached_after")

#: Uids of these tests' apps; nobody else may die. The same app ids, of another user, below.
_FIRST_UID, _APPS = 19_960, 10
_USER = 1_000_000
_PATIENCE = timedelta(seconds=120)
_NAME = "com.example.rules.app"
_DATA = "/data/system"


def policy(*rules: AppRule) -> Policy:
    """Nobody dies but by request, and only the apps of these tests could."""
    wanted = load("default")
    wanted.scarcity.available_below_pct = 0
    wanted.rest.pageout_min_score = 1001  # what an app takes stays what it was started with
    for user in (0, _USER):
        wanted.only_uids.add(first=user + _FIRST_UID, last=user + _FIRST_UID + _APPS - 1)
    wanted.rules.extend(rules)
    return wanted


def for_uid(uid: int, **effects: object) -> AppRule:
    rule = AppRule(**effects)  # type: ignore[arg-type]
    rule.uids.first = rule.uids.last = uid
    return rule


@pytest.fixture
def session(device: Device) -> Session:
    """Without rules; handlers that are there are taken over, not loaded again."""
    return attach(device, policy(), lease=timedelta(minutes=10))


@contextlib.contextmanager
def app(
    device: Device, adj: int, *, uid: int = _FIRST_UID, mb: int = 4, name: str = _NAME
) -> Iterator[int]:
    """An app that has its size; its pid."""
    with Eater(device, mb, adj=adj, uid=uid, name=name) as eater:
        yield eater.await_phase("grown", _PATIENCE).pid


def victim_of(session: Session, floor: int = 200) -> KillReport:
    """Who dies for a request with that floor."""
    answer = session.request_kill(floor)
    assert answer.outcome == "killed"
    report = next(each for each in session.reports(follow=True) if each.kill_id == answer.kill_id)
    assert report.victim.pid == answer.victim_pid
    return report


def nobody_dies(session: Session, floor: int) -> bool:
    return session.request_kill(floor).outcome == "no_victim"


def until(session: Session, holds: Callable[[Status], bool]) -> Status:
    """The status once it `holds`."""
    end = time.monotonic() + _PATIENCE.total_seconds()
    while not holds(found := session.status(candidates=True)):
        assert time.monotonic() < end, found.rules
    return found


def counts(*processes: int) -> Callable[[Status], bool]:
    return lambda status: [rule.processes for rule in status.rules] == list(processes)


# -- what a rule does --------------------------------------------------------------------------


def test_who_is_protected_lives_while_others_of_lower_adj_die(
    device: Device, session: Session
) -> None:
    session.set_policy(policy(for_uid(_FIRST_UID, protect=True)))
    with app(device, 950) as guarded, app(device, 300, uid=_FIRST_UID + 1) as other:
        report = victim_of(session)
        assert (report.victim.pid, report.victim.rule) == (other, 0)
        assert nobody_dies(session, 0)
        assert device.run(f"kill -0 {guarded}").exit_code == 0
        refused = {each.name: each.value for each in session.status().counters}
        assert refused["refused.rule"] > 0


def test_who_is_preferred_dies_first_and_keeps_its_own_adj(
    device: Device, session: Session
) -> None:
    session.set_policy(policy(for_uid(_FIRST_UID, prefer=True)))
    with app(device, 201) as preferred, app(device, 950, uid=_FIRST_UID + 1) as other:
        assert device.run(f"cat /proc/{preferred}/oom_score_adj").text.strip() == "201"
        # Also where the floor lets nobody of its own adj die.
        victim = victim_of(session, 951).victim
        assert (victim.pid, victim.oom_score_adj) == (preferred, 201)
        assert (victim.rule, victim.rule_match) == (1, f"uids {_FIRST_UID}")
        assert nobody_dies(session, 951)
        assert device.run(f"kill -0 {other}").exit_code == 0


def test_who_is_perceptible_is_not_preferred(device: Device, session: Session) -> None:
    session.set_policy(policy(for_uid(_FIRST_UID, prefer=True)))
    with app(device, 200) as perceptible, app(device, 201, uid=_FIRST_UID + 1) as other:
        report = victim_of(session)
        assert report.victim.pid == other
        assert [each.pid for each in report.candidates] == [perceptible]
        assert [each.rule for each in report.candidates] == [1]


def test_a_floor_spares_for_every_higher_one(device: Device, session: Session) -> None:
    session.set_policy(policy(for_uid(_FIRST_UID, floor_score=250)))
    with app(device, 999) as spared, app(device, 251, uid=_FIRST_UID + 1) as other:
        assert victim_of(session, 200).victim.pid == other
        assert nobody_dies(session, 251)
        victim = victim_of(session, 250).victim
        assert (victim.pid, victim.oom_score_adj, victim.rule) == (spared, 999, 1)


def test_a_weight_flips_the_order_of_two_of_one_adj(device: Device, session: Session) -> None:
    with (
        app(device, 900, mb=24) as large,
        app(device, 900, mb=8, uid=_FIRST_UID + 1) as small,
    ):
        assert next_to_die(session)[:2] == [large, small]
        session.set_policy(policy(for_uid(_FIRST_UID + 1, weight_pct=1000)))
        assert next_to_die(session)[:2] == [small, large]
        assert victim_of(session).victim.pid == small


def next_to_die(session: Session) -> list[int]:
    return [each.pid for each in session.status(candidates=True).candidates]


def test_what_a_relaunch_costs_spares_the_larger_of_two(device: Device, session: Session) -> None:
    with (
        app(device, 900, mb=24) as large,
        app(device, 900, mb=8, uid=_FIRST_UID + 1) as small,
    ):
        session.set_policy(policy(for_uid(_FIRST_UID, relaunch_cost_kb=8 * 1024)))
        assert next_to_die(session)[:2] == [large, small]
        session.set_policy(policy(for_uid(_FIRST_UID, relaunch_cost_kb=32 * 1024)))
        assert next_to_die(session)[:2] == [small, large]
        assert victim_of(session).victim.pid == small


# -- packages ----------------------------------------------------------------------------------


def replace_list(root: Root, *lines: str) -> None:
    """As the package manager does: another file in the place of the old one."""
    text = shlex.quote("".join(f"{line}\n" for line in lines))
    root.run(f"printf %s {text} >{_DATA}/packages.list.tmp")
    assert root.run(f"mv {_DATA}/packages.list.tmp {_DATA}/packages.list").exit_code == 0


def entry(package: str, uid: int) -> str:
    return f"{package} {uid} 0 /data/user/0/{package} default:targetSdkVersion=35 none 0 1 1 @null"


@pytest.fixture
def packages(root: Root) -> Iterator[Callable[..., None]]:
    """Puts a list of packages in place of the device's; a device with a real one is no place."""
    assert root.run(f"mkdir -p {_DATA}").exit_code == 0
    yield lambda *lines: replace_list(root, *lines)
    root.run(f"rm -f {_DATA}/packages.list")


@pytest.mark.virtual_only
def test_a_package_that_is_installed_later_gets_its_rule(
    device: Device, session: Session, packages: Callable[..., None]
) -> None:
    packages(entry("com.example.other", _FIRST_UID + 1))
    # A longer name that begins alike, and a shorter one, are others.
    rules = (
        AppRule(package=_NAME, protect=True),
        AppRule(package="com.example.othe", protect=True),
        AppRule(package="com.example.other", prefer=True),
    )
    session.set_policy(policy(*rules))
    with app(device, 950) as ruled, app(device, 900, uid=_FIRST_UID + 1):
        found = session.status(candidates=True)
        assert [each.HasField("app_id") for each in found.rules] == [False, False, True]
        assert [each.processes for each in found.rules] == [0, 0, 1]
        packages(
            entry(f"{_NAME}.more", _FIRST_UID + 2),
            "x" * 20_000,
            entry(_NAME, _FIRST_UID),
            entry("com.example.other", _FIRST_UID + 1),
        )
        found = until(session, counts(1, 0, 1))
        assert found.rules[0].app_id == _FIRST_UID
        assert victim_of(session).victim.rule_match == "package com.example.other"
        assert nobody_dies(session, 200), "the protected one is all that is left"
        # And is taken from it when the package goes.
        packages(entry("com.example.other", _FIRST_UID + 1))
        until(session, counts(0, 0, 0))
        assert victim_of(session).victim.pid == ruled


@pytest.mark.virtual_only
def test_a_rule_waits_where_there_is_no_list_at_all(
    device: Device, session: Session, root: Root
) -> None:
    root.run(f"rm -rf {_DATA}")
    session.set_policy(policy(AppRule(package=_NAME, protect=True)))
    with app(device, 950) as ruled:
        assert not session.status().rules[0].HasField("app_id")
        assert victim_of(session).victim.pid == ruled


@pytest.mark.virtual_only
def test_a_package_is_the_same_for_every_user(
    device: Device, session: Session, packages: Callable[..., None]
) -> None:
    packages(entry(_NAME, _FIRST_UID))
    session.set_policy(policy(AppRule(package=_NAME, protect=True)))
    with (
        app(device, 950, uid=_USER + _FIRST_UID) as ruled,
        app(device, 900, uid=_USER + _FIRST_UID + 1) as other,
    ):
        until(session, counts(1))
        assert victim_of(session).victim.pid == other
        assert nobody_dies(session, 200)
        assert device.run(f"kill -0 {ruled}").exit_code == 0


# -- names of processes ------------------------------------------------------------------------


def test_a_process_that_comes_later_is_known_by_its_name(device: Device, session: Session) -> None:
    session.set_policy(policy(AppRule(process=_NAME, protect=True)))
    assert counts(0)(session.status(candidates=True))
    with (
        app(device, 950) as ruled,
        app(device, 900, uid=_FIRST_UID + 1, name=f"{_NAME}:remote") as other,
    ):
        until(session, counts(1))
        assert victim_of(session).victim.pid == other
        assert nobody_dies(session, 200)
        assert device.run(f"kill -0 {ruled}").exit_code == 0


def test_a_program_is_known_as_soon_as_it_is_executed(
    device: Device, session: Session, root: Root
) -> None:
    program = "/data/local/tmp/lmk-rules/sleep"
    root.run(f"mkdir -p {program.rpartition('/')[0]} && ln -sf $(readlink -f /bin/sleep) {program}")
    session.set_policy(policy(AppRule(process=program, prefer=True)))
    pid = root.run(f"setsid {program} 300 </dev/null >/dev/null 2>&1 & echo $!").text.strip()
    try:
        until(session, counts(1))
    finally:
        root.run(f"kill -9 {pid}; rm -r {program.rpartition('/')[0]}")
    # Who is gone counts no more, though the entry may still be there.
    until(session, counts(0))


def test_of_two_rules_for_a_process_the_first_counts(device: Device, session: Session) -> None:
    named, by_uid = AppRule(process=_NAME, protect=True), for_uid(_FIRST_UID, prefer=True)
    with app(device, 900):
        session.set_policy(policy(named, by_uid))
        until(session, counts(1, 0))
        assert nobody_dies(session, 200)
        session.set_policy(policy(by_uid, named))
        until(session, counts(1, 0))
        assert victim_of(session).victim.rule_match == f"uids {_FIRST_UID}"


# -- policies come and go ----------------------------------------------------------------------


def test_rules_are_swapped_with_the_policy(device: Device, session: Session) -> None:
    other_name = f"{_NAME}.other"
    with (
        app(device, 900) as one,
        app(device, 900, uid=_FIRST_UID + 1, name=other_name) as other,
    ):
        names = {one: _NAME, other: other_name}
        for preferred in (one, other) * 5:
            session.set_policy(
                policy(
                    AppRule(process=names[preferred], prefer=True),
                    AppRule(process=_NAME, floor_score=800),
                    AppRule(process=other_name, floor_score=800),
                )
            )
            # With the very reply: no look around, no minute.
            assert next_to_die(session)[0] == preferred
        session.set_policy(policy())
        assert [each.rule for each in session.status(candidates=True).candidates] == [0, 0]


@pytest.mark.virtual_only
def test_rules_hold_from_the_start_and_outlive_the_agent(
    device: Device, root: Root, packages: Callable[..., None]
) -> None:
    packages(entry("com.example.guarded", _FIRST_UID))
    rules = (
        AppRule(package="com.example.guarded", protect=True),
        AppRule(process=f"{_NAME}.named", protect=True),
    )
    with (
        app(device, 950),
        app(device, 950, uid=_FIRST_UID + 1, name=f"{_NAME}.named"),
        app(device, 900, uid=_FIRST_UID + 2),
        app(device, 900, uid=_FIRST_UID + 3),
    ):
        detach(device)
        session = attach(device, policy(*rules), lease=timedelta(minutes=10))
        before = session.status(candidates=True)
        assert counts(1, 1)(before)
        assert victim_of(session).victim.rule == 0
        assert root.run(f"kill -9 {before.agent_pid}").exit_code == 0
        end = time.monotonic() + _PATIENCE.total_seconds()
        while (facts := gather(root)).session is None or (
            facts.session.agent_pid == before.agent_pid
        ):
            assert time.monotonic() < end, "the guardian did not bring the agent back"
        assert counts(1, 1)(session.status(candidates=True))
        assert victim_of(session).victim.rule == 0
        assert nobody_dies(session, 200)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (AppRule(protect=True), "rules[1]: one of uids, package, process, cgroup, unit is needed"),
        (AppRule(process="one"), "rules[1]: changes nothing"),
        (AppRule(package="", protect=True), "rules[1]: package is empty"),
        (AppRule(cgroup="", protect=True), "rules[1]: cgroup is no path"),
        (AppRule(cgroup="/", protect=True), "rules[1]: cgroup is no path"),
        (AppRule(cgroup="a", protect=True), "rules[1]: cgroup is no path"),
        (AppRule(cgroup="/a/", protect=True), "rules[1]: cgroup is no path"),
        (AppRule(cgroup="/a/../b", protect=True), "rules[1]: cgroup is no path"),
        (AppRule(cgroup="/a" * 17, protect=True), "rules[1]: cgroup is no path"),
        (AppRule(unit="", protect=True), "rules[1]: unit is not one name"),
        (AppRule(unit="/a", protect=True), "rules[1]: unit is not one name"),
        (AppRule(process="one", floor_score=1000), "rules[1].floor_score: 1000 is not within"),
        (AppRule(process="one", weight_pct=1001), "rules[1].weight_pct: 1001 is not within"),
    ],
)
def test_the_agent_refuses_what_cannot_be_meant(
    session: Session, rule: AppRule, words: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        session.set_policy(policy(AppRule(process="good", protect=True), rule))
    assert not session.status().rules, "the policy in force stays"


def test_as_many_and_as_long_rules_as_there_may_be_are_taken(session: Session) -> None:
    rules = [AppRule(package=f"{n:127}".replace(" ", "x"), floor_score=-999) for n in range(8)]
    rules += [AppRule(unit=f"{n:127}".replace(" ", "x"), floor_score=-999) for n in range(4)]
    rules += [AppRule(cgroup=f"/a/..b/{'*' * 119}{n}", floor_score=-999) for n in range(3)]
    rules += [AppRule(cgroup="/a" * 16, floor_score=-999)]
    for rule in rules:
        rule.weight_pct, rule.relaunch_cost_kb = 1000, 2**32 - 1
    session.set_policy(policy(*rules))
    assert list(session.status().policy.rules) == rules


def test_commands_show_rules(device: Device, session: Session) -> None:
    command = Command(device.serial)
    session.set_policy(policy(AppRule(process=_NAME, prefer=True, weight_pct=50)))
    with app(device, 300):
        until(session, counts(1))
        status = json.loads(command.run("status", "--json"))
        assert status["rules"] == [{"processes": 1}]
        assert status["candidates"][0]["rule_match"] == f"process {_NAME}"
        text = command.run("status")
        assert f"process {_NAME}" in text
        assert "dies first unless it is perceptible" in text
    differs = json.loads(command.run("policy", "diff", "default", "--json"))
    assert differs[-1]["field"] == "rules"
    command.run("policy", "push", "default")
    assert not session.status().rules
