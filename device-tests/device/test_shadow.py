# SPDX-License-Identifier: Apache-2.0
"""Shadow beside the killers that a device has, and kills by others in the stream."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from loaded import ASIDE_KB, FOLDER, loaded

from lmk.attachment import attach, detach
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.facts import gather
from lmk.policy import Policy, load
from lmk.proto.record_pb2 import OtherKill, Record
from lmk.report import Position, encode_record
from lmk.session import Session
from lmk.workload.eater import Eater

pytestmark = pytest.mark.usefixtures("detached_after")

_FIRST_UID, _APPS = 19_800, 3
_APP_MB = 40
_PATIENCE = timedelta(seconds=120)
_KIB = 1024


def policy() -> Policy:
    wanted = load("default")
    wanted.only_uids.add(first=_FIRST_UID, last=_FIRST_UID + _APPS)
    return wanted


@pytest.fixture
def session(device: Device) -> Session:
    """In normal mode: lmk kills."""
    return attach(device, policy(), lease=timedelta(minutes=10))


@pytest.fixture
def shadow(device_without_swap: Device) -> Iterator[Session]:
    """Where there is no swap, the kernel's OOM killer is soon at it."""
    session = attach(device_without_swap, policy(), lease=timedelta(minutes=10), dry_run=True)
    yield session
    session.detach()


def app(device: Device, index: int) -> Eater:
    return Eater(
        device,
        _APP_MB,
        adj=900 + 10 * index,
        uid=_FIRST_UID + index,
        name=f"com.example.shadow{index}",
    )


def records_until(
    session: Session, start: Position, enough: Callable[[list[Record]], bool]
) -> list[Record]:
    found: list[Record] = []
    with session.records(start) as stream:
        # Where nothing comes but heartbeats, this would go on for ever.
        alarm = threading.Timer(_PATIENCE.total_seconds(), stream.close)
        alarm.start()
        try:
            for record in stream:
                found.append(record)
                if enough(found):
                    return found
        finally:
            alarm.cancel()
    raise AssertionError(f"too few records: {found}")


def death_of(pid: int) -> Callable[[list[Record]], bool]:
    return lambda records: bool(others(records, pid))


def others(records: list[Record], *pids: int) -> list[OtherKill]:
    """What is said of the deaths of `pids`, in the order of the stream."""
    return [
        record.other_kill
        for record in records
        if record.HasField("other_kill") and record.other_kill.victim.pid in pids
    ]


def counters(session: Session) -> dict[str, int]:
    return {counter.name: counter.value for counter in session.status().counters}


def command(serial: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "import lmk.cli; lmk.cli.main()", *arguments],
        env={**os.environ, "ANDROID_SERIAL": serial},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shadow_beside_the_kernels_oom_killer(
    shadow: Session, device_without_swap: Device, device_serial: str, tmp_path: Path
) -> None:
    """Real pressure that nobody relieves but the kernel, when there is nothing left at all."""
    device, start = device_without_swap, shadow.start
    total_kb = int(device.run("grep MemTotal /proc/meminfo | tr -dc 0-9").text)
    with contextlib.ExitStack() as stack:
        pids = [
            stack.enter_context(app(device, index)).await_phase("grown", _PATIENCE).pid
            for index in range(_APPS)
        ]
        presser = stack.enter_context(
            Eater(
                device, 2 * total_kb // _KIB, adj=0, rate_mb_per_s=400, floor_mb=0, name="presser"
            )
        )
        presser_pid = presser.await_phase("grow", _PATIENCE).pid
        records = records_until(shadow, start, death_of(presser_pid))
    deaths = others(records, *pids, presser_pid)
    # The kernel took them in the order of their adj, and the one who wants it all at the end.
    assert [death.victim.pid for death in deaths] == [*pids[::-1], presser_pid]
    for death in deaths:
        assert death.cause == OtherKill.KERNEL_OOM
        assert death.signalled_ns <= death.exited_ns
        assert death.sender.comm
    for index, death in zip(range(_APPS - 1, -1, -1), deaths, strict=False):
        assert death.victim.name == f"com.example.shadow{index}"
        assert death.victim.uid == _FIRST_UID + index
        held_kb = death.victim.anon_kb + death.victim.swap_kb
        assert _APP_MB * _KIB - ASIDE_KB <= held_kb < _APP_MB * _KIB * 1.2
    verdicts = [record.kill for record in records if record.HasField("kill")]
    assert verdicts
    assert all(verdict.dry_run for verdict in verdicts)
    # It would have begun with the same one, and before the kernel had to.
    assert verdicts[0].victim.pid == pids[-1]
    assert verdicts[0].times.decided_ns < deaths[0].signalled_ns
    counted = counters(shadow)
    assert counted["outcome.killed"] == 0
    assert counted["outcome.dry_run"] == len(verdicts)
    assert counted["other_kills"] >= len(deaths)
    assert shadow.status().hello.dry_run
    compared = compare_by_command(device_serial, records, tmp_path)
    first = compared["pairs"][0]
    assert first["match"] == "same_victim"
    assert first["verdict"]["pid"] == first["kill"]["pid"] == pids[-1]
    assert first["kill"]["cause"] == "KERNEL_OOM"
    assert first["earlier_ms"] > 0
    assert compared["summary"]["kills"] == len(deaths)


def compare_by_command(serial: str, records: list[Record], tmp_path: Path) -> dict[str, Any]:
    capture = tmp_path / "shadow.pb"
    capture.write_bytes(b"".join(map(encode_record, records)))
    assert "kernel OOM" in command(serial, "report", str(capture))
    assert "same victim" in command(serial, "report", "compare", str(capture))
    compared: dict[str, Any] = json.loads(
        command(serial, "report", "compare", "--json", str(capture))
    )
    return compared


def test_attach_shadow_is_said_by_status_and_hello(device: Device, device_serial: str) -> None:
    detach(device)
    command(device_serial, "attach", "--shadow", "--lease", "5m")
    assert "(shadow: nobody is killed)" in command(device_serial, "status")
    assert json.loads(command(device_serial, "status", "--json"))["hello"]["dry_run"] is True


def test_a_users_kill_is_reported_as_the_users(
    session: Session, device: Device, root: Root, device_serial: str
) -> None:
    start = session.start
    with app(device, 1) as eater:
        pid = eater.await_phase("grown", _PATIENCE).pid
        shell = int(root.run(f"echo $$; kill -9 {pid}").text)
        (death,) = others(records_until(session, start, death_of(pid)), pid)
    assert death.cause == OtherKill.PROCESS
    assert (death.sender.pid, death.sender.uid) == (shell, 0)
    assert death.sender.comm == "sh"
    assert death.victim.oom_score_adj == 910
    assert counters(session)["outcome.killed"] == 0
    table = command(device_serial, "stream", "--from", "start", "--no-follow")
    line = next(line for line in table.splitlines() if str(pid) in line)
    assert "by a process" in line
    # By its whole name, where it lived for long enough to be asked.
    assert "by sh" in line or "by /bin/sh" in line
    lines = command(device_serial, "stream", "--from", "start", "--no-follow", "--format", "jsonl")
    told = [json.loads(line).get("other_kill") for line in lines.splitlines()]
    assert pid in [one["victim"]["pid"] for one in told if one]


def test_sender_is_called_what_it_was_when_it_killed(
    session: Session, device: Device, root: Root
) -> None:
    start = session.start
    with app(device, 1) as eater:
        pid = eater.await_phase("grown", _PATIENCE).pid
        shell = f"sh -c 'kill -9 {pid}; exec sleep 600' >/dev/null 2>&1 & echo $!"
        sender = int(root.run(shell).text)
        (death,) = others(records_until(session, start, death_of(pid)), pid)
    root.run(f"kill -9 {sender}")
    assert (death.sender.pid, death.sender.comm, death.sender.name) == (sender, "sh", "sh")


def test_kills_of_lmk_are_not_reported_as_others(session: Session, device: Device) -> None:
    start = session.start
    total_kb = int(device.run("grep MemTotal /proc/meminfo | tr -dc 0-9").text)
    with app(device, 0) as eater:
        pid = eater.await_phase("grown", _PATIENCE).pid
        with Eater(
            device, 2 * total_kb // _KIB, adj=0, rate_mb_per_s=400, floor_mb=0, name="press"
        ):
            records = records_until(
                session,
                start,
                lambda found: any(one.kill.victim.pid == pid for one in found),
            )
    assert others(records, pid) == []


def test_the_agents_own_death_is_reported_by_the_next(
    session: Session, device: Device, root: Root
) -> None:
    before = session.status()
    root.run(f"kill -9 {before.agent_pid}")
    end = time.monotonic() + _PATIENCE.total_seconds()
    while (facts := gather(root)).session is None or facts.session.agent_pid == before.agent_pid:
        assert time.monotonic() < end, "the guardian did not bring the agent back"
    assert session.status().agent_pid != before.agent_pid
    start = Position(before.hello.boot_id, before.hello.run + 1, 1)
    records = records_until(session, start, death_of(before.agent_pid))
    (death,) = others(records, before.agent_pid)
    assert death.victim.comm == "lmk-agent"
    assert death.cause == OtherKill.PROCESS


def test_kills_while_nobody_served_the_handlers_are_reported_by_the_next_attach(
    session: Session, device: Device, root: Root
) -> None:
    before = session.status()
    both = f"{before.guardian_pid} {before.agent_pid}"
    with app(device, 2) as eater:
        pid = eater.await_phase("grown", _PATIENCE).pid
        root.run(f"kill -STOP {both}; kill -9 {both}; kill -9 {pid}")
        eater.await_phase("killed", _PATIENCE)
        again = attach(device, policy())
        start = Position(again.hello.boot_id, before.hello.run + 1, 1)
        dead = [pid, before.agent_pid, before.guardian_pid]
        records = records_until(again, start, lambda found: len(others(found, *dead)) == 3)
    found = others(records, *dead)
    assert sorted(death.victim.pid for death in found) == sorted(dead)
    assert all(death.cause == OtherKill.PROCESS for death in found)


@pytest.mark.virtual_only
def test_a_kill_by_lmkd_is_reported_as_lmkds(device: Device, root: Root) -> None:
    detach(device)
    fifo = "/run/lmkd-of-a-test"
    with loaded(device) as victims, app(device, 0) as eater:
        # A program of the tests in lmkd's place: known by its path and parent, not by its name.
        # /system/bin is a link to /bin there; meanwhile it is a folder of links.
        root.run(
            "mkdir /system/new; ln -s /bin/* /system/new; rm -f /system/new/lmkd;"
            f" cp {FOLDER}/victims /system/new/lmkd; mkfifo {fifo};"
            " mv /system/bin /system/old; mv /system/new /system/bin"
        )
        try:
            root.run(f"setsid /system/bin/lmkd kills 0 -900 1 {fifo} </dev/null >/dev/null 2>&1 &")
            lmkd = victims.newest("lmkd")
            pid = eater.await_phase("grown", _PATIENCE).pid
            session = attach(device, policy(), dry_run=True)
            root.run(f"echo {pid} >{fifo}")
            (death,) = others(records_until(session, session.start, death_of(pid)), pid)
            assert death.cause == OtherKill.LMKD
            assert death.sender.pid == lmkd
            assert death.sender.name == "/system/bin/lmkd"
        finally:
            root.run(
                f"killall -9 lmkd; mv /system/bin /system/new; mv /system/old /system/bin;"
                f" rm -r /system/new {fifo}"
            )
