# SPDX-License-Identifier: Apache-2.0
"""lmkd's socket while it is replaced: whom a request must not touch, and who may not ask.

Boot, properties and monitoring are answered as lmkd does.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

import pytest
from activity_manager import (
    APP_UID,
    BOOT_COMPLETED,
    GETKILLCNT,
    MAIN_UID,
    PROCKILL,
    PROCPRIO,
    PROCPURGE,
    START_MONITORING,
    UPDATE_PROPS,
    ActivityManager,
    adj_of,
    app,
    await_adj,
    on_request,
)
from conftest import connected
from take_over_parts import replace, until

import lmk
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.session import Session
from lmk.virtual.stand_in import stand_in

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only

_KTHREADD = 2


@pytest.fixture(scope="module")
def device(lmkd_guest: str) -> Iterator[Device]:
    with connected(lmkd_guest) as device:
        yield device


@pytest.fixture(scope="module")
def root(device: Device) -> Root:
    return find_root(device)


@pytest.fixture(scope="module")
def session(device: Device) -> Iterator[Session]:
    """In lmkd's place; nobody dies but by request, and only this test's uid."""
    yield replace(device, on_request())
    lmk.detach(device)


@pytest.fixture(scope="module")
def connected_manager(device: Device, session: Session) -> Iterator[ActivityManager]:
    found = ActivityManager.started(device, "am-requests")
    found.await_server("lmk-agent")
    yield found
    found.end()


@pytest.fixture
def manager(connected_manager: ActivityManager) -> ActivityManager:
    """Nothing is registered."""
    connected_manager.send(PROCPURGE)
    connected_manager.kill_count()
    return connected_manager


def push(device: Device, name: str) -> str:
    device.push(stand_in(name, device.run("uname -m").text.strip()), f"/run/{name}", mode=0o755)
    return f"/run/{name}"


class Refused:
    """Requests that were refused since this was made, by why."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._before = self._count()

    def _count(self) -> Counter[str]:
        counters = self._session.status().lmkd_socket.refused
        return Counter({counter.name: counter.value for counter in counters})

    def since(self) -> dict[str, int]:
        return dict(self._count() - self._before)


def replies(manager: ActivityManager, command: int) -> int:
    """Asks, and gives what the reply says."""
    before = len(manager.packets(command))
    manager.send(command)
    (reply,) = until(lambda: manager.packets(command)[before:])
    asked, value = struct.unpack(">ii", reply)
    assert asked == command
    return int(value)


def test_boot_properties_and_monitoring_are_answered_as_by_lmkd(
    root: Root, session: Session, manager: ActivityManager
) -> None:
    policy, refused = session.status().policy, Refused(session)
    assert replies(manager, UPDATE_PROPS) == 0
    assert session.status().policy == policy
    root.run("setprop sys.boot_completed 0")
    assert replies(manager, BOOT_COMPLETED) == -1, "too early"
    root.run("setprop sys.boot_completed 1")
    # It is asked for again only after some time.
    first = until(lambda: replies(manager, BOOT_COMPLETED) + 1)
    assert first == 1, "0 once: it has begun"
    assert replies(manager, BOOT_COMPLETED) == 1, "already"
    manager.send(START_MONITORING)
    manager.kill_count()
    assert not manager.packets(START_MONITORING)
    assert not refused.since()


def test_only_live_processes_get_an_oom_score_adj(
    device: Device, root: Root, session: Session, manager: ActivityManager
) -> None:
    agent, refused = session.status().agent_pid, Refused(session)
    thread = int(root.run(f"ls /proc/{agent}/task | grep -vx {agent} | head -n 1").text)
    gone = int(root.run("sh -c 'echo $$'").text)
    kernel_adj = adj_of(root, _KTHREADD)
    for pid in (thread, _KTHREADD, gone):
        manager.send(PROCPRIO, pid, MAIN_UID, 900, 0)
    manager.kill_count()
    assert refused.since() == {"thread": 1, "kernel_thread": 1, "gone": 1}
    assert (adj_of(root, agent), adj_of(root, _KTHREADD)) == (-1000, kernel_adj)
    assert session.status().lmkd_socket.processes == 0


def test_other_users_may_not_ask(
    device: Device, root: Root, session: Session, manager: ActivityManager
) -> None:
    caller, refused = push(device, "lmkd_caller"), Refused(session)
    with app(device) as pid:
        prio = f"{PROCPRIO:x},{pid:x},{MAIN_UID:x},384"
        count = f"{GETKILLCNT:x},3e9,0"
        early = root.run(f"{caller} {APP_UID} early {prio}").text
        assert early == "refused: Permission denied\n"
        # A connection of root's, handed on: what counts is who sends.
        assert root.run(f"{caller} {APP_UID} late {prio} {count}").text == ""
        assert refused.since() == {"sender": 2}
        assert adj_of(root, pid) == 0
        reply = f"00000004{manager.kill_count():08x}\n"
        assert root.run(f"{caller} 1000 early {prio} {count}").text == reply
        assert adj_of(root, pid) == 900


def test_a_recycled_pid_is_another_process(
    device: Device, root: Root, session: Session, manager: ActivityManager
) -> None:
    recycled = push(device, "recycled")
    before, killed = len(manager.packets(PROCKILL)), manager.kill_count()
    with app(device) as pid:
        manager.send(PROCPRIO, pid, MAIN_UID, 900, 0)
        await_adj(root, pid, 900)
        root.run(f"kill -9 {pid}")
        until(lambda: root.run(f"{recycled} {pid} {APP_UID}").exit_code == 0)
        # Registered at 900 was the one that is gone.
        assert session.status().lmkd_socket.processes == 1
        assert session.request_kill(900).outcome == "no_victim"
        assert adj_of(root, pid) == 0
        assert manager.kill_count() == killed
        # By itself it is a victim like any other, and not of the uid that its pid was told with.
        answer = session.request_kill(0)
        assert (answer.outcome, answer.victim_pid) == ("killed", pid)
    (told,) = until(lambda: manager.packets(PROCKILL)[before:])
    assert struct.unpack(">iii", told[:12]) == (PROCKILL, pid, APP_UID)
    assert manager.kill_count() == killed + 1


def test_below_zero_nobody_dies(
    device: Device, root: Root, session: Session, manager: ActivityManager
) -> None:
    with app(device) as pid:
        manager.send(PROCPRIO, pid, MAIN_UID, -800, 0)
        await_adj(root, pid, -800)
        assert session.request_kill(0).outcome == "no_victim"
        assert adj_of(root, pid) == -800, "it lives"
