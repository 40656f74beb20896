# SPDX-License-Identifier: Apache-2.0
"""Linux without Android's classes: rules by cgroup and unit, and the preset `linux`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from loaded import FOLDER
from test_cli_device import Command
from victim_programs import victims_program

from lmk.attachment import attach
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.policy import Policy, load
from lmk.proto.control_pb2 import Status
from lmk.proto.policy_pb2 import AppRule
from lmk.session import Session
from lmk.workload.eater import Eater

pytestmark = [pytest.mark.usefixtures("detached_after"), pytest.mark.virtual_only]

#: Uids of these tests' processes; nobody else may die.
_FIRST_UID, _UIDS = 19_980, 10
_PATIENCE = timedelta(seconds=120)
_MOUNT = "/sys/fs/cgroup"
_SSH = "/system.slice/ssh.service"
_LOGIN = "/user.slice/user-1000.slice/session-3.scope"
_PLAIN = "/system.slice/plain.service"
_USER_SSH = "/user.slice/user-1000.slice/user@1000.service/app.slice/ssh.service"


def ours(wanted: Policy, *rules: AppRule) -> Policy:
    wanted.only_uids.add(first=_FIRST_UID, last=_FIRST_UID + _UIDS - 1)
    wanted.rules.extend(rules)
    return wanted


def calm(*rules: AppRule) -> Policy:
    """Nobody dies but by request."""
    wanted = ours(load("linux"))
    wanted.scarcity.available_below_pct = 0
    wanted.scarcity.unless_thrashing = False
    del wanted.rules[:]
    wanted.rules.extend(rules)
    return wanted


@pytest.fixture
def session(device: Device) -> Session:
    return attach(device, calm(), lease=timedelta(minutes=10))


class Cgroups:
    """Those that a test makes; its processes in them have ended when they are removed."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._made: list[str] = []

    def make(self, path: str) -> None:
        names = path.strip("/").split("/")
        for end in range(1, len(names) + 1):
            above = "/" + "/".join(names[:end])
            if self._root.run(f"mkdir {_MOUNT}{above} 2>&1").exit_code == 0:
                self._made.append(above)
        assert self._root.run(f"[ -d {_MOUNT}{path} ]").exit_code == 0

    def move(self, pid: int, path: str) -> None:
        assert self._root.run(f"echo {pid} >{_MOUNT}{path}/cgroup.procs").exit_code == 0

    def remove(self, path: str) -> None:
        # -EBUSY until the last of who was in it is gone altogether.
        done = self._root.run(
            f"for i in $(seq 100); do rmdir {_MOUNT}{path} && exit 0; sleep 0.1; done; exit 1"
        )
        assert done.exit_code == 0, done.error_text
        self._made.remove(path)

    def remove_all(self) -> None:
        for path in reversed(list(self._made)):
            self.remove(path)


@pytest.fixture
def cgroups(root: Root) -> Iterator[Cgroups]:
    made = Cgroups(root)
    yield made
    made.remove_all()


@contextlib.contextmanager
def process(
    device: Device, cgroups: Cgroups, path: str = "", *, mb: int = 4, adj: int = 0, uid: int = 0
) -> Iterator[int]:
    """A process of that size in the cgroup `path`; its pid. `uid` counts from these tests'."""
    if path:
        cgroups.make(path)
    with Eater(device, mb, adj=adj, uid=_FIRST_UID + uid, name=f"victim{uid}") as eater:
        pid = eater.await_phase("grown", _PATIENCE).pid
        if path:
            cgroups.move(pid, path)
        yield pid


def counted(session: Session) -> list[int]:
    """How many processes each rule is for, at this moment."""
    return [rule.processes for rule in session.status(candidates=True).rules]


def next_to_die(session: Session) -> list[int]:
    return [each.pid for each in session.status(candidates=True).candidates]


def until(session: Session, holds: Callable[[Status], bool], within_s: float = 30) -> Status:
    """The status once it `holds`: long before the agent's look around, which is each minute."""
    end = time.monotonic() + within_s
    while not holds(found := session.status(candidates=True)):
        assert time.monotonic() < end, found.rules
    return found


def lives(device: Device, pid: int) -> bool:
    return device.run(f"kill -0 {pid}").exit_code == 0


# -- the preset --------------------------------------------------------------------------------


@pytest.mark.parametrize("ruled", [True, False])
def test_under_pressure_the_largest_dies_that_the_preset_does_not_protect(
    device: Device, cgroups: Cgroups, ruled: bool
) -> None:
    policy = ours(load("linux"))
    if not ruled:
        del policy.rules[:]
    session = attach(device, policy, lease=timedelta(minutes=10))
    with (
        process(device, cgroups, _SSH, mb=90) as ssh,
        process(device, cgroups, _LOGIN, mb=80, uid=1) as login,
        process(device, cgroups, _USER_SSH, mb=60, uid=2) as large,
        process(device, cgroups, _PLAIN, mb=20, uid=3) as small,
    ):
        expected = [large, small] if ruled else [ssh, login]
        reports = session.reports(follow=True)
        # Root's, and so no victim itself.
        with Eater(device, 60_000, rate_mb_per_s=80, adj=-1000, floor_mb=0, name="presses"):
            died = [next(reports).victim for _ in expected]
        assert [victim.pid for victim in died] == expected
        assert {victim.oom_score_adj for victim in died} == {0}
        assert lives(device, ssh) is lives(device, login) is ruled


def test_a_unit_with_a_higher_adj_dies_before_larger_ones(
    device: Device, session: Session, cgroups: Cgroups
) -> None:
    with (
        process(device, cgroups, mb=24) as large,
        process(device, cgroups, mb=8, adj=500, uid=1) as spendable,
        process(device, cgroups, mb=8, uid=2) as small,
    ):
        assert next_to_die(session) == [spendable, large, small]
        assert session.request_kill(0).victim_pid == spendable


# -- whom a rule is for ------------------------------------------------------------------------


def test_who_is_moved_is_known_at_once(device: Device, session: Session, cgroups: Cgroups) -> None:
    cgroups.make(_SSH)
    cgroups.make(_PLAIN)
    session.set_policy(calm(AppRule(cgroup=_SSH, protect=True)))
    with process(device, cgroups, _PLAIN) as moved:
        assert counted(session) == [0]
        cgroups.move(moved, _SSH)
        assert counted(session) == [1]
        assert session.request_kill(0).outcome == "no_victim"
        assert lives(device, moved)
        cgroups.move(moved, _PLAIN)
        assert counted(session) == [0]
        assert session.request_kill(0).victim_pid == moved


def test_who_is_forked_and_a_cgroup_below_are_known_at_once(
    session: Session, cgroups: Cgroups, root: Root
) -> None:
    cgroups.make(_SSH)
    session.set_policy(calm(AppRule(cgroup=_SSH, protect=True)))
    procs = f"{_MOUNT}{_SSH}/cgroup.procs"
    root.run(f"(echo 0 >{procs}; exec setsid sh -c 'sleep 300 & sleep 300; :') >/dev/null 2>&1 &")
    try:
        until(session, lambda _: counted(session) == [3])
        # Of itself the agent does not look for a minute, nor does it look below what it knows.
        cgroups.make(f"{_SSH}/below/it")
        one = root.run(f"head -n 1 {procs}").text.strip()
        cgroups.move(int(one), f"{_SSH}/below/it")
        assert counted(session) == [3]
    finally:
        root.run(f"kill -9 $(cat {procs} {_MOUNT}{_SSH}/below/it/cgroup.procs)")


def test_a_process_whose_main_thread_has_ended_is_where_the_others_are(
    device: Device, session: Session, cgroups: Cgroups, root: Root
) -> None:
    cgroups.make(_SSH)
    session.set_policy(calm(AppRule(cgroup=_SSH, protect=True)))
    device.push(victims_program(session.hello.abi), f"{FOLDER}/victims", mode=0o755)
    said = f"{FOLDER}/said"
    root.run(
        f"setsid {FOLDER}/victims leaderless {_FIRST_UID} 0 8 </dev/null >{said} 2>&1 & "
        f"until grep -q ready {said}; do sleep 0.1; done"
    )
    pid = int(root.run(f"sed -n 's/.*ready \\([0-9]*\\).*/\\1/p' {said}").text)
    try:
        assert counted(session) == [0]
        cgroups.move(pid, _SSH)
        assert counted(session) == [1]
        assert session.request_kill(0).outcome == "no_victim"
    finally:
        root.run(f"kill -9 {pid}; rm -r {FOLDER}")


def test_a_login_that_comes_later_gets_its_rule(
    device: Device, session: Session, cgroups: Cgroups
) -> None:
    session.set_policy(calm(AppRule(unit="session-*.scope", protect=True)))
    with process(device, cgroups, _LOGIN) as first:
        until(session, lambda status: status.rules[0].processes == 1)
        assert session.request_kill(0).outcome == "no_victim"
        assert lives(device, first)
    cgroups.remove(_LOGIN)
    # Another directory of the same name is another cgroup.
    with (
        process(device, cgroups, _LOGIN),
        process(device, cgroups, f"{_LOGIN}-not", uid=1) as other,
    ):
        until(session, lambda status: status.rules[0].processes == 1)
        assert session.request_kill(0).victim_pid == other


def test_a_unit_is_a_name_anywhere_and_a_cgroup_a_path(
    device: Device, session: Session, cgroups: Cgroups
) -> None:
    with (
        process(device, cgroups, _SSH),
        process(device, cgroups, _USER_SSH, uid=1),
        process(device, cgroups, _PLAIN, uid=2),
        process(device, cgroups, uid=3),
    ):
        for rule, count in (
            (AppRule(unit="ssh.service"), 2),
            (AppRule(unit="s*h.service"), 2),
            (AppRule(unit="system.slice"), 2),
            (AppRule(unit="ssh"), 0),
            (AppRule(cgroup=_SSH), 1),
            (AppRule(cgroup="/system.slice"), 2),
            (AppRule(cgroup="/system.slice/*"), 2),
            (AppRule(cgroup="/*/*/user@*.service"), 1),
            (AppRule(cgroup="/*/ssh.service"), 1),
            (AppRule(cgroup="/ssh.service"), 0),
            (AppRule(cgroup="/system.slic"), 0),
        ):
            rule.protect = True
            session.set_policy(calm(rule))
            # With the very reply.
            assert counted(session) == [count], rule


def test_the_first_rule_counts_whatever_its_kind_and_depth(
    device: Device, session: Session, cgroups: Cgroups
) -> None:
    rules = {
        "outer": AppRule(cgroup="/system.slice", floor_score=100),
        "inner": AppRule(unit="ssh.service", protect=True),
        "other": AppRule(cgroup="/system.slice/s*", weight_pct=50),
        "uid": AppRule(weight_pct=200),
    }
    rules["uid"].uids.first = rules["uid"].uids.last = _FIRST_UID
    with process(device, cgroups, _SSH, adj=300):
        for first in rules:
            rest = [rules[name] for name in rules if name != first]
            session.set_policy(calm(rules[first], *rest))
            assert counted(session) == [1, 0, 0, 0], first


def test_cgroups_that_come_and_go_leave_room_for_others(
    device: Device, session: Session, cgroups: Cgroups, root: Root
) -> None:
    session.set_policy(calm(AppRule(cgroup=_SSH, protect=True), AppRule(unit="a*", protect=True)))
    # Six times a hundred, each for long enough to be found: more than the handlers' map holds.
    root.run(
        f"cd {_MOUNT}; for batch in 1 2 3 4 5 6; do "
        "for i in $(seq 100); do mkdir a$i; done; sleep 0.5; "
        "for i in $(seq 100); do rmdir a$i; done; done",
        timeout=_PATIENCE,
    )
    with process(device, cgroups, _SSH):
        until(session, lambda status: [each.processes for each in status.rules] == [1, 0])


def test_commands_name_cgroups_and_units(
    device: Device, session: Session, cgroups: Cgroups
) -> None:
    command = Command(device.serial)
    session.set_policy(
        calm(AppRule(cgroup=_SSH, weight_pct=50), AppRule(unit="plain.service", weight_pct=50))
    )
    with process(device, cgroups, _SSH), process(device, cgroups, _PLAIN, uid=1):
        text = command.run("status")
        assert f"cgroup {_SSH}" in text
        assert "unit plain.service" in text
        answer = session.request_kill(0)
        report = next(
            each for each in session.reports(follow=True) if each.kill_id == answer.kill_id
        )
        told = [report.victim.rule_match, *(each.rule_match for each in report.candidates)]
        assert sorted(told) == [f"cgroup {_SSH}", "unit plain.service"]
