# SPDX-License-Identifier: Apache-2.0
"""While lmkd is replaced a phone's own tools find what they look for: log, trace, properties.

The log daemon and ActivityManager are stand-ins (``stand_in``); the trace is the kernel's.
"""

from __future__ import annotations

from datetime import timedelta

import android_log
import pytest
from activity_manager import APP_UID, MINFREE_LEVELS, on_request
from conftest import connected
from killing import kill_9
from take_over_parts import property_of, replace, server, until

from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.virtual.stand_in import stand_in
from lmk.workload.eater import Eater

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only

_LOG, _TRACE = "/run/logd.log", "/sys/kernel/tracing"
_PATIENCE = timedelta(seconds=60)


@pytest.fixture(scope="module")
def log_daemon(lmkd_guest: str) -> None:
    with connected(lmkd_guest) as device:
        machine = device.run("uname -m").text.strip()
        device.push(stand_in("logd", machine), "/run/logd", mode=0o755)
        assert find_root(device).run(f"/run/logd --log {_LOG}").exit_code == 0


@pytest.fixture
def device(lmkd_device: Device) -> Device:
    return lmkd_device


def entries(root: Root) -> list[tuple[int, int, android_log.Line | android_log.Event]]:
    """uid and pid of who sent each, and what."""
    rows = [line.split() for line in root.run(f"cat {_LOG}").text.splitlines()]
    return [(int(row[0]), int(row[1]), android_log.read(bytes.fromhex(row[2]))) for row in rows]


def test_a_kill_is_in_the_log_and_in_the_trace(
    device: Device, root: Root, log_daemon: None
) -> None:
    root.run(f"echo > {_TRACE}/trace; echo 1 > {_TRACE}/tracing_on; : > {_LOG}")
    with Eater(device, 4, adj=900, uid=APP_UID, name="com.example.app") as eater:
        pid = eater.await_phase("grown", _PATIENCE).pid
        session = replace(device, on_request())
        agent = session.status().agent_pid
        answer = session.request_kill(900)
        assert (answer.outcome, answer.victim_pid) == ("killed", pid)
        found = until(lambda: entries(root) if len(entries(root)) >= 3 else None)
    assert {(uid, sender) for uid, sender, _ in found} == {(0, agent)}
    (kill, info, end) = (entry for _, _, entry in found)
    assert isinstance(kill, android_log.Line)
    beginning = f"Kill 'com.example.app' ({pid}), uid {APP_UID}, oom_score_adj 900 to free "
    assert (kill.tag, kill.text[: len(beginning)]) == ("lowmemorykiller", beginning)
    assert isinstance(info, android_log.Event)
    assert (info.tag, len(info.values)) == (10_195_355, 38)
    assert info.values[:3] == (pid, APP_UID, 900)
    # As the kernel has it: free memory, and the rss that the line says as well.
    assert 0 < info.values[6] < info.values[6] + info.values[7]
    assert f"to free {info.values[4]}kB rss, {info.values[29]}kB swap" in kill.text
    assert isinstance(end, android_log.Line)
    reaped = f"Process {pid} was reaped in ", f"process_mrelease {pid} failed: No such process"
    assert end.text.startswith(reaped)
    marks = root.run(f"grep -F 'N|{agent}|lowmemorykiller|lmk,{pid},' {_TRACE}/trace").text
    assert marks.strip().endswith(f"|lmk,{pid},{info.values[5]},900,{info.values[3]},0")
    assert len(marks.splitlines()) == 1


def test_the_properties_of_lmkd_are_set_and_set_again(device: Device, root: Root) -> None:
    names = ("sys.lmk.reportkills", "sys.lmk.minfree_levels")
    machine = device.run("uname -m").text.strip()
    device.push(stand_in("activity_manager", machine), "/run/am", mode=0o755)
    root.run("rm -f " + " ".join(f"/run/properties/{name}" for name in names))
    session = replace(device)
    assert until(lambda: property_of(root, names[0])) == "1"
    assert root.run("/run/am --log /run/am.log --send /run/am.fifo").exit_code == 0
    # The stand-in says it on each connection.
    assert until(lambda: property_of(root, names[1])) == MINFREE_LEVELS
    root.run("rm -f " + " ".join(f"/run/properties/{name}" for name in names))
    kill_9(root, session.status().agent_pid)
    until(lambda: server(root) == "lmk-agent")
    assert until(lambda: property_of(root, names[0])) == "1"
    assert until(lambda: property_of(root, names[1])) == MINFREE_LEVELS
