# SPDX-License-Identifier: Apache-2.0
"""lmkd's socket while it is replaced: ActivityManager is served, and comes back by itself.

It is a stand-in (``stand_in/activity_manager.c``) that connects, sends and reconnects as the real
one does.
"""

from __future__ import annotations

import struct

import pytest
from activity_manager import (
    MAIN_UID,
    PROCKILL,
    PROCPRIO,
    PROCREMOVE,
    STAT_KILL_OCCURRED,
    ActivityManager,
    adj_of,
    app,
    await_adj,
    on_request,
)
from killing import kill_9
from take_over_parts import killers, replace, until

import lmk
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.virtual.services import LMKD_SOCKET

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only


@pytest.fixture
def device(lmkd_device: Device) -> Device:
    return lmkd_device


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
            activity_manager.send(PROCPRIO, pid, MAIN_UID, adj, 0)
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
        activity_manager.send(PROCPRIO, pid, MAIN_UID, 900, 0)
        await_adj(root, pid, 900)
        answer = session.request_kill(900)
        assert (answer.outcome, answer.victim_pid) == ("killed", pid)
        (killed,) = until(lambda: activity_manager.packets(PROCKILL)[told:])
    assert len(killed) == length
    words = struct.unpack(f">{length // 4}i", killed)
    # By the uid that it was registered under, whatever it runs as.
    assert words[:3] == (PROCKILL, pid, MAIN_UID)
    if with_rss:
        assert words[3] > 0
    stat = activity_manager.await_packet(STAT_KILL_OCCURRED)
    uid, adj = struct.unpack_from(">ii", stat, 52)
    assert (uid, adj) == (MAIN_UID, 900)
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
        activity_manager.send(PROCPRIO, pid, MAIN_UID, 850, 0)
        await_adj(root, pid, 850)
