# SPDX-License-Identifier: Apache-2.0
"""lmkd replaced, and given back, on a device whose init keeps it as a critical service.

Whatever happens, exactly one killer is there at the end: the fixture sees to that.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from killing import kill_9
from take_over_parts import (
    MUTE,
    STUBBORN,
    Detaching,
    harmless,
    killers,
    lmkd_pid,
    noted,
    only,
    property_of,
    replace,
    said,
    said_since,
    until,
)

import lmk
from lmk.attachment import probe
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.errors import TransientError, UsageError
from lmk.facts import gather
from lmk.policy import load
from lmk.proto.record_pb2 import KillPath, Lifecycle
from lmk.report import Position
from lmk.virtual.services import LMKD_SOCKET
from lmk.workload.eater import Eater

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only

_DEADLINE_S = 90.0
#: Of the app that may die.
_UID = 19001


@pytest.fixture
def device(lmkd_device: Device) -> Device:
    return lmkd_device


def show(capsys: pytest.CaptureFixture[str], what: str, life: Lifecycle) -> None:
    """The figure, beside the test's name: nothing is asserted of how long a gap is."""
    killer = f"{life.killer_gap_ms} ms" if life.HasField("killer_gap_ms") else "unknown"
    empty = f"{life.socket_gap_ms} ms" if life.HasField("socket_gap_ms") else "unknown"
    with capsys.disabled():
        print(f"\n  {what}: without a killer {killer}, socket empty {empty}")


def test_lmkd_is_stopped_once_the_handlers_decide_and_back_before_they_go(
    device: Device, root: Root, capsys: pytest.CaptureFixture[str]
) -> None:
    before = lmkd_pid(root)
    session = replace(device)
    assert killers(root) == {"lmk"}
    assert property_of(root, "init.svc.lmkd") == "stopped"
    begun = said(session, session.hello.run)
    replaced = only(begun, Lifecycle.LMKD_REPLACED)
    stop = noted(root)[-1]
    assert (stop.event, stop.pid) == ("stop", before)
    assert only(begun, Lifecycle.SELF_TEST).time_ns < replaced.time_ns
    assert only(begun, Lifecycle.ATTACHED).time_ns < stop.time_ns < replaced.time_ns
    assert replaced.life.killer_gap_ms == 0
    show(capsys, "take-over", replaced.life)
    assert lmk.detach(device)
    start = noted(root)[-1]
    assert start.event == "start"
    assert killers(root) == {"lmkd"}
    ended = said_since(device, session.hello.run)
    restored = only(ended, Lifecycle.LMKD_RESTORED)
    assert only(ended, Lifecycle.DETACHED).time_ns < start.time_ns < restored.time_ns
    over = only(ended, Lifecycle.HANDLERS_ENDED)
    # Both killed for a moment: lmkd could before the handlers could no more.
    assert start.time_ns < over.life.lmkd_answered_ns < over.life.could_kill_until_ns
    assert restored.time_ns < over.time_ns
    assert over.life.killer_gap_ms == 0
    show(capsys, "give-back", restored.life)
    # Init was asked, every time: it has nothing to hold against a critical service.
    assert property_of(root, "lmk.test.restarts.lmkd") in ("", "0")


def test_the_handlers_stay_until_lmkd_answers(device: Device, root: Root) -> None:
    replace(device)
    root.run(f"touch {MUTE}")
    starts = len([event for event in noted(root) if event.event == "start"])
    with Detaching(device):
        until(lambda: len([e for e in noted(root) if e.event == "start"]) > starts)
        # It runs, and says nothing: whether it will ever kill is not known.
        assert "lmk" in killers(root)
        root.run(f"rm {MUTE}")
    assert killers(root) == {"lmkd"}


def test_the_end_of_the_lease_starts_lmkd(device: Device, root: Root) -> None:
    session = replace(device, lease=timedelta(seconds=3))
    until(lambda: gather(root).session is None)
    assert killers(root) == {"lmkd"}
    records = said_since(device, session.hello.run)
    ended, restored = only(records, Lifecycle.LEASE_ENDED), only(records, Lifecycle.LMKD_RESTORED)
    assert ended.time_ns < noted(root)[-1].time_ns < restored.time_ns


def test_a_killed_agent_comes_back_and_lmkd_does_not(device: Device, root: Root) -> None:
    session = replace(device)
    pid = session.status().agent_pid
    kill_9(root, pid)
    until(lambda: (file := gather(root).session) is not None and file.agent_pid != pid)
    assert killers(root) == {"lmk"}
    assert session.status().agent_restarts == 1
    file = gather(root).session
    assert file is not None
    assert file.lmkd_replaced


def test_an_agent_lost_for_good_gives_the_device_back(
    device: Device, root: Root, capsys: pytest.CaptureFixture[str]
) -> None:
    session = replace(device)
    killed: set[int] = set()
    while (file := gather(root).session) is not None:
        if file.agent_pid not in killed and root.run(f"kill -9 {file.agent_pid}").exit_code == 0:
            killed.add(file.agent_pid)
    assert len(killed) == 4, "it was brought back three times"
    until(lambda: not gather(root).pinned)
    assert killers(root) == {"lmkd"}
    records = said_since(device, session.hello.run)
    only(records, Lifecycle.AGENT_LOST)
    restored = only(records, Lifecycle.LMKD_RESTORED)
    assert noted(root)[-1].time_ns < restored.time_ns
    over = only(records, Lifecycle.HANDLERS_ENDED).life
    # The handlers where they kill by themselves; else nobody did since the last agent's end.
    alone = session.hello.kill_path == KillPath.KILL_PATH_IN_KERNEL
    assert (over.lmkd_answered_ns < over.could_kill_until_ns) is alone
    show(capsys, "agent lost", over)
    show(capsys, "agent lost", restored.life)


def test_a_killed_guardian_comes_back_and_lmkd_does_not(device: Device, root: Root) -> None:
    session = replace(device)
    guardian = session.status().guardian_pid
    kill_9(root, guardian)
    until(lambda: session.status().guardian_pid != guardian)
    assert killers(root) == {"lmk"}
    assert lmk.detach(device)
    assert killers(root) == {"lmkd"}


def test_with_agent_and_guardian_dead_detach_starts_lmkd(device: Device, root: Root) -> None:
    session = replace(device)
    status = session.status()
    kill_9(root, status.guardian_pid, status.agent_pid)
    if session.hello.kill_path == KillPath.KILL_PATH_IN_KERNEL:
        assert killers(root) == {"lmk"}
        assert lmk.detach(device)
    else:
        until(lambda: not gather(root).pinned)
        assert not gather(root).lmkd_stopped
        assert not lmk.detach(device)
    assert killers(root) == {"lmkd"}
    records = said_since(device, session.hello.run)
    only(records, Lifecycle.LMKD_RESTORED)
    over = only(records, Lifecycle.HANDLERS_ENDED).life
    assert over.HasField("lmkd_answered_ns")
    assert not over.HasField("killer_gap_ms"), "nobody knows when they died"


def test_with_agent_and_guardian_dead_attach_replaces_lmkd_again(
    device: Device, root: Root
) -> None:
    first = replace(device).status()
    kill_9(root, first.guardian_pid, first.agent_pid)
    # On the assisted path lmkd is just being given back.
    second = replace(device)
    assert second.status().agent_pid != first.agent_pid
    assert killers(root) == {"lmk"}


def test_with_agent_and_guardian_dead_handlers_kill_where_they_do_it_in_the_kernel(
    device: Device, root: Root
) -> None:
    """On the assisted path they would not: lmkd is back by itself."""
    wanted = load("default")
    wanted.only_uids.add(first=_UID, last=_UID)
    first = replace(device, wanted)
    status = first.status()
    kill_9(root, status.guardian_pid, status.agent_pid)
    if first.hello.kill_path != KillPath.KILL_PATH_IN_KERNEL:
        until(lambda: not gather(root).pinned)
        assert killers(root) == {"lmkd"}
        return
    with Eater(device, 60_000, adj=900, uid=_UID, floor_mb=0, name="greedy") as eater:
        pid = eater.await_phase("killed", timedelta(seconds=_DEADLINE_S)).pid
    second = replace(device)
    begin = Position(second.hello.boot_id, first.hello.run, 1)
    with second.records(begin, follow=False) as stream:
        records = list(stream)
    by_lmk = [each.kill.victim.pid for each in records if each.HasField("kill")]
    assert by_lmk == [pid]


def test_attach_without_replacing_gives_a_replaced_lmkd_back(device: Device, root: Root) -> None:
    replace(device)
    with lmk.attach(device, harmless(), dry_run=True):
        assert gather(root).pinned, "in shadow beside it"
        assert killers(root) == {"lmkd"}


def test_an_lmkd_that_will_not_stop_goes_on_and_nothing_is_attached(
    device: Device, root: Root
) -> None:
    root.run(f"touch {STUBBORN}")
    before = lmkd_pid(root)
    with pytest.raises(TransientError, match=rf"lmkd, pid {before}, did not end within"):
        replace(device)
    assert noted(root)[-1].event == "refused", "it was told to"
    facts = gather(root)
    assert facts.session is None
    assert not facts.pinned
    assert not facts.lmkd_stopped
    assert lmkd_pid(root) == before
    # Should it end after all, it is wanted again.
    root.run(f"rm {STUBBORN}; kill {before}")
    until(lambda: lmkd_pid(root) not in (0, before) and killers(root) == {"lmkd"})


def test_an_lmkd_that_somebody_starts_gets_the_device_back(device: Device, root: Root) -> None:
    session = replace(device)
    assert root.run("setprop ctl.start lmkd").exit_code == 0
    until(lambda: gather(root).session is None and not gather(root).pinned)
    assert killers(root) == {"lmkd"}
    records = said_since(device, session.hello.run)
    returned = only(records, Lifecycle.LMKD_RETURNED)
    assert returned.time_ns < only(records, Lifecycle.LMKD_RESTORED).time_ns


def test_a_dry_run_in_lmkds_place_is_refused(device: Device, root: Root) -> None:
    session = replace(device)
    shadow = harmless()
    shadow.dry_run = True
    with pytest.raises(UsageError, match="lmkd is replaced"):
        session.set_policy(shadow)
    assert not session.status().policy.dry_run
    assert killers(root) == {"lmk"}


def test_doctor_says_that_it_can_be_replaced(device: Device) -> None:
    lmkd = probe(device).values["replace_lmkd"]
    assert lmkd["possible"]
    assert lmkd["state"] == "running"
    assert "critical" in lmkd["notes"][0]


def test_init_starts_a_service_again_that_ended_by_itself_and_counts(root: Root) -> None:
    def count() -> int:
        return int(property_of(root, "lmk.test.restarts.lmkd") or 0)

    before, counted = lmkd_pid(root), count()
    root.run(f"kill -9 {before}")
    until(lambda: lmkd_pid(root) not in (0, before) and killers(root) == {"lmkd"})
    assert count() == counted + 1


def test_the_socket_of_a_service_is_systems_and_goes_with_it(root: Root) -> None:
    look = f"stat -c '%F %a %u:%g' {LMKD_SOCKET}"
    assert root.run(look).text.strip() == "socket 660 1000:1000"
    root.run("setprop ctl.stop lmkd")
    until(lambda: property_of(root, "init.svc.lmkd") == "stopped")
    assert root.run(look).exit_code != 0
    assert root.run("setprop ctl.start nobody").exit_code != 0
    root.run("setprop ctl.start lmkd")
