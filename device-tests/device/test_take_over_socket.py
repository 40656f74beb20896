# SPDX-License-Identifier: Apache-2.0
"""lmkd's socket while it is replaced: ActivityManager is served, and comes back by itself.

It is a stand-in (``stand_in/activity_manager.c``) that connects, sends and reconnects as the real
one does.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from conftest import connected
from killing import kill_9
from take_over_parts import killers, replace, server, until

import lmk
from lmk.bench.stand_in import stand_in
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.policy import Policy, load
from lmk.virtual.services import LMKD_SOCKET
from lmk.workload.eater import Eater

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only

_PROGRAM, _LOG, _SEND = "/run/activity_manager", "/run/activity_manager.log", "/run/am.send"
_PATIENCE = timedelta(seconds=60)
_UID, _MAIN_UID = 19001, 10123
PROCPRIO, PROCREMOVE, GETKILLCNT, PROCKILL, STAT_KILL_OCCURRED = 1, 2, 4, 6, 8


@pytest.fixture
def device(lmkd_device: Device) -> Device:
    return lmkd_device


@dataclass(frozen=True)
class Event:
    """What the stand-in wrote down: ``connected``, ``closed``, or ``got`` and what."""

    time_ns: int
    what: str
    packet: bytes


class ActivityManager:
    """The stand-in."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def events(self) -> list[Event]:
        rows = [line.split() for line in self._root.run(f"cat {_LOG}").text.splitlines()]
        return [Event(int(row[0]), row[1], bytes.fromhex("".join(row[2:]))) for row in rows]

    def count(self, what: str) -> int:
        return sum(event.what == what for event in self.events())

    def send(self, *words: int) -> None:
        line = " ".join(f"{word & 0xFFFFFFFF:x}" for word in words)
        assert self._root.run(f"echo {line} > {_SEND}").exit_code == 0

    def connected(self) -> bool:
        lines = [event.what for event in self.events() if event.what != "got"]
        return lines[-1:] == ["connected"]

    def await_server(self, program: str) -> None:
        """Until that program serves, and it has come to it."""
        until(lambda: server(self._root) == program and self.connected())

    def packets(self, command: int) -> list[bytes]:
        packets = [event.packet for event in self.events() if event.what == "got"]
        return [packet for packet in packets if struct.unpack_from(">i", packet)[0] == command]

    def await_packet(self, command: int) -> bytes:
        return until(lambda: self.packets(command))[-1]

    def kill_count(self) -> int:
        before = len(self.packets(GETKILLCNT))
        self.send(GETKILLCNT, 1001, 0)
        reply = until(lambda: self.packets(GETKILLCNT)[before:])[0]
        count: int = struct.unpack(">ii", reply)[1]
        return count


@pytest.fixture(scope="module")
def running_stand_in(lmkd_guest: str) -> None:
    with connected(lmkd_guest) as device:
        program = stand_in("activity_manager", device.run("uname -m").text.strip())
        device.push(program, _PROGRAM, mode=0o755)
        started = find_root(device).run(f"{_PROGRAM} --log {_LOG} --send {_SEND}")
        assert started.exit_code == 0


@pytest.fixture
def activity_manager(running_stand_in: None, root: Root) -> ActivityManager:
    stand_in = ActivityManager(root)
    stand_in.await_server("lmkd")
    return stand_in


def on_request() -> Policy:
    """Nobody dies but by request, and only this test's uid."""
    wanted = load("default")
    wanted.scarcity.available_below_pct = 0
    wanted.only_uids.add(first=_UID, last=_UID)
    return wanted


@contextlib.contextmanager
def app(device: Device) -> Iterator[int]:
    with Eater(device, 4, adj=0, uid=_UID, name="com.example.app") as eater:
        yield eater.await_phase("grown", _PATIENCE).pid


def adj_of(root: Root, pid: int) -> int:
    return int(root.run(f"cat /proc/{pid}/oom_score_adj").text)


def await_adj(root: Root, pid: int, adj: int) -> None:
    until(lambda: adj_of(root, pid) == adj)


def test_activity_manager_finds_lmk_in_lmkds_place_and_lmkd_again(
    device: Device, root: Root, activity_manager: ActivityManager
) -> None:
    replace(device)
    activity_manager.await_server("lmk-agent")
    look = root.run(f"stat -c '%F %a %u:%g' {LMKD_SOCKET}").text.strip()
    assert look == "socket 660 1000:1000"
    assert activity_manager.kill_count() == 0
    assert lmk.detach(device)
    activity_manager.await_server("lmkd")
    assert activity_manager.kill_count() == 0


def test_procprio_writes_oom_score_adj(
    device: Device, root: Root, activity_manager: ActivityManager
) -> None:
    with app(device) as pid:
        replace(device)
        activity_manager.await_server("lmk-agent")
        for adj in (900, 0, 701):
            activity_manager.send(PROCPRIO, pid, _MAIN_UID, adj, 0)
            await_adj(root, pid, adj)
        activity_manager.send(PROCREMOVE, pid)
        activity_manager.kill_count()
        assert adj_of(root, pid) == 701


@pytest.mark.parametrize(("length", "with_rss"), [(12, False), (16, True)])
def test_activity_manager_is_told_of_a_kill(
    device: Device,
    root: Root,
    activity_manager: ActivityManager,
    length: int,
    with_rss: bool,
) -> None:
    told = len(activity_manager.packets(PROCKILL))
    with app(device) as pid:
        session = lmk.attach(
            device, on_request(), lease=None, replace_lmkd=True, prockill_bytes=length
        ).keep()
        activity_manager.await_server("lmk-agent")
        activity_manager.send(PROCPRIO, pid, _MAIN_UID, 900, 0)
        await_adj(root, pid, 900)
        answer = session.request_kill(900)
        assert (answer.outcome, answer.victim_pid) == ("killed", pid)
        (killed,) = until(lambda: activity_manager.packets(PROCKILL)[told:])
    assert len(killed) == length
    words = struct.unpack(f">{length // 4}i", killed)
    # By the uid that it was registered under, whatever it runs as.
    assert words[:3] == (PROCKILL, pid, _MAIN_UID)
    if with_rss:
        assert words[3] > 0
    stat = activity_manager.await_packet(STAT_KILL_OCCURRED)
    uid, adj = struct.unpack_from(">ii", stat, 52)
    assert (uid, adj) == (_MAIN_UID, 900)
    assert stat[86:].rstrip(b"\0") == b"com.example.app"
    assert activity_manager.kill_count() == 1


def test_activity_manager_comes_back_to_a_new_agent(
    device: Device, root: Root, activity_manager: ActivityManager
) -> None:
    with app(device) as pid:
        session = replace(device)
        activity_manager.await_server("lmk-agent")
        connections = activity_manager.count("connected")
        kill_9(root, session.status().agent_pid)
        until(lambda: activity_manager.count("connected") > connections)
        activity_manager.await_server("lmk-agent")
        assert killers(root) == {"lmk"}
        activity_manager.send(PROCPRIO, pid, _MAIN_UID, 850, 0)
        await_adj(root, pid, 850)
