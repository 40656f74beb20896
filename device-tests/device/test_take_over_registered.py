# SPDX-License-Identifier: Apache-2.0
"""What ActivityManager says of a process over lmkd's socket is what the handlers go by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from activity_manager import (
    APP_UID,
    MAIN_UID,
    PROCPRIO,
    PROCPURGE,
    PROCREMOVE,
    ActivityManager,
    adj_of,
    on_request,
)
from killing import daemons, kill_9
from take_over_parts import replace, until

from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.policy import Policy
from lmk.proto.policy_pb2 import AppRule
from lmk.proto.record_pb2 import KillReport, Process
from lmk.report import Position
from lmk.session import Session
from lmk.virtual.stand_in import stand_in
from lmk.workload.eater import Eater

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only

_PATIENCE = timedelta(seconds=60)
_APP, _SERVICE = 0, 1
_FOR_LMKD_ONLY = 1


@pytest.fixture
def device(lmkd_device: Device) -> Device:
    return lmkd_device


def replaced(device: Device, activity_manager: ActivityManager, policy: Policy) -> Session:
    session = replace(device, policy)
    activity_manager.await_server("lmk-agent")
    return session


def protecting(uid: int) -> Policy:
    wanted = on_request()
    rule = AppRule(protect=True)
    rule.uids.first = rule.uids.last = uid
    wanted.rules.append(rule)
    return wanted


@contextmanager
def app(device: Device, name: str, adj: int) -> Iterator[int]:
    with Eater(device, 4, adj=adj, uid=APP_UID, name=name) as eater:
        yield eater.await_phase("grown", _PATIENCE).pid


def register(activity_manager: ActivityManager, *words: int) -> None:
    """PROCPRIO with these words, and done."""
    activity_manager.send(PROCPRIO, *words)
    activity_manager.kill_count()


def kills(session: Session) -> list[KillReport]:
    begin = Position(session.hello.boot_id, session.hello.run, 1)
    with session.records(begin, follow=False) as stream:
        return [record.kill for record in stream if record.HasField("kill")]


def next_victim(session: Session) -> Process:
    before = len(kills(session))
    answer = session.request_kill(0)
    assert answer.outcome == "killed"
    (killed,) = until(lambda: kills(session)[before:])
    assert killed.victim.pid == answer.victim_pid
    return killed.victim


def test_a_rule_for_a_uid_is_for_who_is_registered_under_it(
    device: Device, activity_manager: ActivityManager
) -> None:
    """As an isolated process is: it runs under a uid of its own, and is of its app's."""
    session = replaced(device, activity_manager, protecting(MAIN_UID))
    with app(device, "isolated", 0) as isolated, app(device, "other", 900) as other:
        register(activity_manager, isolated, MAIN_UID, 950, _APP)
        register(activity_manager, other, APP_UID, 900, _APP)
        victim = next_victim(session)
        assert (victim.pid, victim.uid, victim.service) == (other, APP_UID, False)
        assert session.request_kill(0).outcome == "no_victim"
        # No more than the kernel knows: its own uid is protected by nobody.
        activity_manager.send(PROCREMOVE, isolated)
        activity_manager.kill_count()
        victim = next_victim(session)
        assert (victim.pid, victim.uid, victim.oom_score_adj) == (isolated, APP_UID, 950)


def test_a_process_that_is_registered_again_as_what_it_runs_as_is_that(
    device: Device, activity_manager: ActivityManager
) -> None:
    session = replaced(device, activity_manager, protecting(MAIN_UID))
    with app(device, "isolated", 0) as pid:
        register(activity_manager, pid, MAIN_UID, 950, _APP)
        assert session.request_kill(0).outcome == "no_victim"
        register(activity_manager, pid, APP_UID, 950, _APP)
        assert next_victim(session).uid == APP_UID


def test_an_adj_for_lmkd_only_decides_who_dies(
    device: Device, root: Root, activity_manager: ActivityManager
) -> None:
    session = replaced(device, activity_manager, on_request())
    with app(device, "last", 900) as last, app(device, "first", 0) as first:
        # The other way round than /proc has it.
        register(activity_manager, last, APP_UID, 100, _APP, _FOR_LMKD_ONLY)
        register(activity_manager, first, APP_UID, 950, _SERVICE, _FOR_LMKD_ONLY)
        assert (adj_of(root, last), adj_of(root, first)) == (900, 0), "not written"
        assert session.request_kill(951).outcome == "no_victim"
        victim = next_victim(session)
        assert (victim.pid, victim.oom_score_adj) == (first, 950)
        assert victim.oom_score_adj_told
        assert victim.service
        assert session.request_kill(101).outcome == "no_victim", "it counts as 100"
        # Told with an adj that is written, it has that one and no other.
        register(activity_manager, last, APP_UID, 700, _APP, 0)
        victim = next_victim(session)
        assert (victim.pid, victim.oom_score_adj) == (last, 700)
        assert not victim.oom_score_adj_told


def test_nobodys_word_makes_a_victim_of_who_is_never_killed(
    device: Device, activity_manager: ActivityManager
) -> None:
    session = replaced(device, activity_manager, on_request())
    with app(device, "never", -1000) as pid:
        register(activity_manager, pid, APP_UID, 950, _APP, _FOR_LMKD_ONLY)
        assert session.request_kill(0).outcome == "no_victim"


def rename(root: Root, pid: int, name: str) -> None:
    """As an app names itself once it was forked; the name is as long as the one before."""
    # Field 48: where its arguments begin.
    begin = int(root.run(f"cat /proc/{pid}/stat").text.rpartition(")")[2].split()[45])
    write = f"dd of=/proc/{pid}/mem bs=1 seek={begin} conv=notrunc"
    assert root.run(f"printf {name} | {write}").exit_code == 0
    assert root.run(f"cat /proc/{pid}/cmdline").text.startswith(name)


def test_a_name_is_known_as_soon_as_a_process_is_registered(
    device: Device, root: Root, activity_manager: ActivityManager
) -> None:
    """Also where no adj is written, which the handlers would see, and where it had another one."""
    wanted = on_request()
    wanted.rules.append(AppRule(process="com.example.named", floor_score=940))
    with app(device, "com.example.prior", 0) as pid:
        session = replaced(device, activity_manager, wanted)
        rename(root, pid, "com.example.named")
        register(activity_manager, pid, APP_UID, 950, _APP, _FOR_LMKD_ONLY)
        assert session.request_kill(941).outcome == "no_victim"
        victim = next_victim(session)
    assert (victim.pid, victim.name, victim.rule) == (pid, "com.example.named", 1)


def test_what_was_said_outlives_the_agent_and_not_a_purge(
    device: Device, root: Root, activity_manager: ActivityManager
) -> None:
    session = replaced(device, activity_manager, protecting(MAIN_UID))
    single = ActivityManager.started(device, "am-registered")
    try:
        single.await_server("lmk-agent")
        with app(device, "isolated", 900) as isolated:
            register(single, isolated, MAIN_UID, 950, _APP, _FOR_LMKD_ONLY)
            single.end()
            before = session.status()
            # Nobody comes to the new agent, who would purge what the last one knew.
            activity_manager.end()
            kill_9(root, before.agent_pid)
            until(lambda: daemons(root)[1] != before.agent_pid)
            assert session.status().lmkd_socket.processes == 1
            assert session.request_kill(0).outcome == "no_victim"
            ActivityManager.started(device, "activity_manager")
            activity_manager.await_server("lmk-agent")
            # It has purged, as ActivityManager does whenever it comes.
            activity_manager.kill_count()
            assert session.status().lmkd_socket.processes == 0
            victim = next_victim(session)
            assert (victim.pid, victim.uid, victim.oom_score_adj) == (isolated, APP_UID, 900)
    finally:
        root.run("kill -9 $(pidof am-registered)")


def test_what_was_said_stays_when_its_client_goes_until_somebody_purges(
    device: Device, root: Root, activity_manager: ActivityManager
) -> None:
    session = replaced(device, activity_manager, protecting(MAIN_UID))
    single = ActivityManager.started(device, "am-registered")
    single.await_server("lmk-agent")
    with app(device, "isolated", 900) as isolated:
        register(single, isolated, MAIN_UID, 900, _APP)
        single.end()
        assert session.request_kill(0).outcome == "no_victim"
        until(lambda: session.status().lmkd_socket.clients == 1)
        activity_manager.send(PROCPURGE)
        activity_manager.kill_count()
        assert next_victim(session).uid == APP_UID


def test_a_recycled_pid_does_not_inherit_what_was_said(
    device: Device, root: Root, activity_manager: ActivityManager
) -> None:
    session = replaced(device, activity_manager, protecting(MAIN_UID))
    program = stand_in("recycled", device.run("uname -m").text.strip())
    device.push(program, "/run/recycled", mode=0o755)
    with app(device, "gone", 900) as pid:
        register(activity_manager, pid, MAIN_UID, 950, _SERVICE, _FOR_LMKD_ONLY)
        root.run(f"kill -9 {pid}")
        until(lambda: root.run(f"/run/recycled {pid} {APP_UID}").exit_code == 0)
        victim = next_victim(session)
    assert (victim.pid, victim.uid, victim.oom_score_adj) == (pid, APP_UID, 0)
    assert not victim.service
    assert not victim.oom_score_adj_told
