# SPDX-License-Identifier: Apache-2.0
"""lmkd's socket while it is replaced: kills are told when they are made, or later, and once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from activity_manager import (
    APP_UID,
    PROCKILL,
    STAT_KILL_OCCURRED,
    ActivityManager,
    app,
    on_request,
)
from killing import kill_9
from take_over_parts import replace, server, until

from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.policy import Policy, load
from lmk.proto.record_pb2 import KillPath, KillReport
from lmk.report import Position
from lmk.session import Session
from lmk.virtual.stand_in import stand_in
from lmk.workload.eater import Eater

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only

_PATIENCE = timedelta(seconds=120)
#: A slow machine takes long to fill the memory of its guest.
_PRESSURE = timedelta(minutes=10)


@pytest.fixture
def device(lmkd_device: Device) -> Device:
    return lmkd_device


@contextmanager
def manager(device: Device, name: str) -> Iterator[ActivityManager]:
    """One that comes to the socket of lmk."""
    found = ActivityManager.started(device, name)
    try:
        found.await_server("lmk-agent")
        yield found
    finally:
        found.end()


def reports(session: Session, run: int) -> list[KillReport]:
    with session.records(Position(session.hello.boot_id, run, 1), follow=False) as stream:
        return [record.kill for record in stream if record.HasField("kill")]


def test_a_kill_is_told_when_the_signal_is_sent(device: Device, root: Root) -> None:
    wanted = on_request()
    # Until then the record waits for the victim's end.
    wanted.timing.kill_timeout_ms = 60_000
    device.push(stand_in("hold", device.run("uname -m").text.strip()), "/run/hold", mode=0o755)
    session = replace(device, wanted)
    with manager(device, "am-signal") as found, app(device) as pid:
        # It cannot end before ActivityManager knows.
        text = f"got {PROCKILL:08x}{pid:08x}"
        assert root.run(f"/run/hold {pid} {found.log} '{text}'").exit_code == 0
        answer = session.request_kill(0)
        assert (answer.outcome, answer.victim_pid) == ("killed", pid)
        (report,) = until(lambda: reports(session, session.hello.run))
        (heard,) = [event for event in found.events() if event.packet[:4] == b"\0\0\0\6"]
        assert report.times.signalled_ns < heard.time_ns < report.times.exited_ns
        assert found.kill_count() == 1
        assert found.kills() == [(pid, APP_UID)]
        assert len(found.packets(STAT_KILL_OCCURRED)) == 1


def test_a_kill_that_nobody_heard_of_is_told_once_also_by_a_later_agent(
    device: Device, root: Root
) -> None:
    session = replace(device, on_request())
    with app(device) as pid:
        assert session.request_kill(0).victim_pid == pid
        until(lambda: reports(session, session.hello.run))
    kill_9(root, session.status().agent_pid)
    until(lambda: server(root) == "lmk-agent")
    with manager(device, "am-later") as found:
        until(lambda: found.kills())
        assert session.status().lmkd_socket.kills_told_later == 1
        connections = found.count("connected")
        kill_9(root, session.status().agent_pid)
        until(lambda: found.count("connected") > connections)
        found.kill_count()
        assert found.kills() == [(pid, APP_UID)]
        assert len(found.packets(STAT_KILL_OCCURRED)) == 1


def under_pressure() -> Policy:
    """Of this test's uid all may die, and for want of memory."""
    wanted = load("default")
    wanted.only_uids.add(first=APP_UID, last=APP_UID)
    return wanted


def killed_by_handlers(device: Device, root: Root) -> int:
    """The pid of an app that died under pressure."""
    total_mb = int(root.run("grep MemTotal /proc/meminfo | tr -dc 0-9").text) // 1024
    with Eater(device, 48, adj=900, uid=APP_UID) as eater:
        pid = eater.await_phase("grown", _PATIENCE).pid
        with Eater(device, 2 * total_mb, adj=0, rate_mb_per_s=400, floor_mb=0, name="presser"):
            gone = root.run(f"while [ -d /proc/{pid} ]; do sleep 0.05; done", timeout=_PRESSURE)
            assert gone.exit_code == 0
    return pid


@pytest.mark.timeout(1200)
def test_kills_without_an_agent_are_told_by_the_next(device: Device, root: Root) -> None:
    session = replace(device, under_pressure())
    if session.hello.kill_path != KillPath.KILL_PATH_IN_KERNEL:
        pytest.skip("here nobody kills without an agent")
    with manager(device, "am-absent") as found:
        status = session.status()
        # The guardian would bring the agent back before anybody has to die.
        root.run(f"kill -STOP {status.guardian_pid} && kill -9 {status.agent_pid}")
        pids = [killed_by_handlers(device, root)]
        root.run(f"kill -CONT {status.guardian_pid}")
        until(lambda: len(found.kills()) >= len(pids))
        found.kill_count()
        assert found.kills() == [(pid, APP_UID) for pid in pids]
        # Agent and guardian: the handlers go on until somebody attaches.
        status = session.status()
        kill_9(root, status.guardian_pid, status.agent_pid)
        pids.append(killed_by_handlers(device, root))
        replace(device, on_request())
        until(lambda: len(found.kills()) >= len(pids))
        found.await_server("lmk-agent")
        found.kill_count()
        assert found.kills() == [(pid, APP_UID) for pid in pids]
