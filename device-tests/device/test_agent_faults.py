# SPDX-License-Identifier: Apache-2.0
"""The agent on a device when things go wrong, and what it may cost when they do not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import pytest
from killing import kill_9

from lmk.attachment import attach, detach
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.errors import UsageError
from lmk.facts import gather
from lmk.policy import Policy, load
from lmk.proto.record_pb2 import Lifecycle, Lost, Record
from lmk.report import Position
from lmk.session import Session

pytestmark = pytest.mark.usefixtures("detached_after")

_PINS = "/sys/fs/bpf/lmk"
_DEADLINE_S = 60.0
T = TypeVar("T")


@pytest.fixture
def session(device: Device) -> Session:
    """Of this test's policy; handlers that are there are taken over, not loaded again."""
    return attach(device, dry_policy(), lease=timedelta(minutes=10))


def dry_policy() -> Policy:
    wanted = load("default")
    wanted.dry_run = True
    return wanted


def until(condition: Callable[[], T | None]) -> T:
    end = time.monotonic() + _DEADLINE_S
    while (found := condition()) is None:
        assert time.monotonic() < end, "did not happen in time"
    return found


def nothing_is_left(root: Root) -> bool:
    facts = gather(root)
    return facts.session is None and not facts.pinned


def kinds(session: Session, run: int = 0) -> list[int]:
    """What happened since `run` began (default: since the session's)."""
    start = Position(session.hello.boot_id, run or session.hello.run, 1)
    with session.records(start, follow=False) as stream:
        return [record.lifecycle.kind for record in stream if record.HasField("lifecycle")]


def test_a_killed_agent_comes_back_onto_the_same_handlers(session: Session, root: Root) -> None:
    before = session.status()
    ids = root.run(f"ls -i {_PINS}/links {_PINS}/maps").text
    kill_9(root, before.agent_pid)

    def returned() -> int | None:
        facts = gather(root)
        if facts.session is None or facts.session.agent_pid == before.agent_pid:
            return None
        return facts.session.agent_pid

    assert until(returned)
    assert root.run(f"ls -i {_PINS}/links {_PINS}/maps").text == ids
    after = session.status()
    assert after.agent_restarts == before.agent_restarts + 1
    assert after.policy == before.policy
    assert Lifecycle.RESUMED in kinds(session)


def test_agent_and_guardian_killed_leave_pins_that_detach_removes(
    session: Session, device: Device, root: Root
) -> None:
    status = session.status()
    kill_9(root, status.guardian_pid, status.agent_pid)
    assert gather(root).pinned
    assert detach(device)
    assert nothing_is_left(root)
    assert not detach(device)


def test_agent_and_guardian_killed_leave_pins_that_attach_replaces(
    session: Session, device: Device, root: Root
) -> None:
    status = session.status()
    kill_9(root, status.guardian_pid, status.agent_pid)
    again = attach(device, dry_policy())
    assert again.hello.run > session.hello.run
    assert again.status().agent_pid != status.agent_pid
    # What the dead one recorded is still there.
    said = kinds(again, session.hello.run)
    assert said[0] in (Lifecycle.ATTACHED, Lifecycle.RESUMED)
    assert said.count(Lifecycle.ATTACHED) >= 1


def test_the_end_of_the_lease_gives_the_device_back(device: Device, root: Root) -> None:
    detach(device)
    session = attach(device, dry_policy(), lease=timedelta(seconds=2))
    until(lambda: True if nothing_is_left(root) else None)
    assert root.run(f"[ -d {_PINS} ]").exit_code != 0
    said = kinds(attach(device, dry_policy()), session.hello.run)
    assert said.index(Lifecycle.LEASE_ENDED) < said.index(Lifecycle.ATTACHED, 1)


def test_the_daemons_cannot_be_killed_for_memory(session: Session, root: Root) -> None:
    status = session.status()
    for pid in (status.agent_pid, status.guardian_pid):
        assert root.run(f"cat /proc/{pid}/oom_score_adj").text.strip() == "-1000"
        assert int(field(root, pid, "VmLck").split()[0]) > 0


def field(root: Root, pid: int, name: str) -> str:
    return root.run(f"grep {name}: /proc/{pid}/status").text.partition(":")[2].strip()


def test_the_agent_is_small(session: Session, root: Root) -> None:
    for _ in range(3):
        assert kinds(session)
    pid = session.status(candidates=True).agent_pid
    assert int(field(root, pid, "VmRSS").split()[0]) <= 2048
    assert int(field(root, pid, "RssAnon").split()[0]) <= 512
    assert int(root.run(f"ls /proc/{pid}/fd | wc -l").text) <= 48


def test_an_idle_agent_hardly_wakes(session: Session, root: Root) -> None:
    pid = session.status().agent_pid
    count = f"cat /proc/{pid}/task/*/status | grep ctxt | tr -dc '0-9\\n'"
    switches = [
        sum(int(line) for line in root.run(f"sleep {pause}; {count}").text.split())
        for pause in (3, 20)
    ]
    assert switches[1] - switches[0] <= 2 * 20


def test_adbd_is_protected_by_what_it_is_not_by_its_name(session: Session, root: Root) -> None:
    adbd = root.run(
        "for p in /proc/[0-9]*; do case $(readlink $p/exe) in "
        "*/platform-tools/adbd|*/bin/adbd|/sbin/adbd) echo ${p#/proc/};; esac; done"
    ).text.split()
    imposter = root.run(
        "cp $(readlink -f /proc/self/exe) /data/local/tmp/adbd; "
        "(exec -a sleep /data/local/tmp/adbd 600) </dev/null >/dev/null 2>&1 & echo $!"
    ).text.strip()
    try:
        named = f"until [ $(cat /proc/{imposter}/comm) = adbd ]; do sleep 0.1; done"
        assert root.run(named).exit_code == 0
        status = session.status()
        wanted = {status.agent_pid, status.guardian_pid, *map(int, adbd)}
        assert protected(root) == wanted
    finally:
        root.run(f"kill {imposter}; rm -f /data/local/tmp/adbd")


def protected(root: Root) -> set[int]:
    """Keys of the protected map."""
    shown = root.run(f"{gather(root).directory}/lmk-agent self-test")
    assert shown.exit_code == 0, shown.error_text
    return set(json.loads(shown.text)["protected"])


def test_a_policy_that_contradicts_itself_is_refused_by_the_agent_too(session: Session) -> None:
    wanted = dry_policy()
    wanted.stall.psi_partial_stall_ms = wanted.stall.psi_window_size_ms + 1
    with pytest.raises(UsageError, match="psi_partial_stall_ms"):
        session.set_policy(wanted)
    assert session.status().policy == dry_policy()


def test_a_policy_change_is_recorded(session: Session) -> None:
    wanted = dry_policy()
    wanted.name = "other"
    session.set_policy(wanted)
    assert session.status().hello.policy_name == "other"
    assert Lifecycle.POLICY_CHANGED in kinds(session)


def test_handlers_that_do_not_load_leave_nothing(
    session: Session, device: Device, root: Root
) -> None:
    detach(device)
    directory = gather(root).directory
    run = (
        f"cd {directory} && head -c 4096 lmk.bpf.o > broken.o && "
        f"./lmk-agent start --dir {directory} --policy policy.pb "
        "--object broken.o --assisted broken.o"
    )
    result = root.run(run)
    assert result.exit_code in (2, 3)
    assert "not loaded" in result.error_text.splitlines()[-1]
    assert nothing_is_left(root)


def test_a_second_agent_is_refused_and_told_who(session: Session, root: Root) -> None:
    directory = gather(root).directory
    result = root.run(
        f"{directory}/lmk-agent start --dir {directory} --policy {directory}/policy.pb"
    )
    assert result.exit_code == 2
    assert f"agent pid {session.status().agent_pid}" in result.error_text


def test_a_full_disk_costs_the_oldest_records(session: Session, device: Device, root: Root) -> None:
    directory = gather(root).directory
    small = f"{directory}/full"
    root.run(
        f"umask 077; mkdir -p {small}/spool && "
        f"mount -t tmpfs -o size=256k,mode=700 none {small}/spool"
    )
    try:
        agent = f"{directory}/lmk-agent"
        filled = root.run(f"{agent} --spool-fill 2000 --full --dir {small}")
        assert filled.exit_code == 0, filled.error_text
        assert root.run(f"{agent} serve --dir {small}").exit_code == 0
        records = everything(device, root, small)
        seqs = [record.seq for record in records if record.HasField("kill")]
        assert seqs
        assert seqs[-1] == 2000
        assert seqs == list(range(seqs[0], 2001))
        losses = [record.lost for record in records if record.HasField("lost")]
        assert [(lost.where, lost.count) for lost in losses] == [(Lost.SPOOL, seqs[0] - 1)]
    finally:
        root.run(f"{directory}/lmk-agent stop --dir {small}; umount {small}/spool; rm -r {small}")


def everything(device: Device, root: Root, directory: str) -> list[Record]:
    """All records of the agent that serves `directory`."""
    from lmk.control import open_records, parse_session_file
    from lmk.report.wire import StreamParser

    session = parse_session_file(root.run(f"cat {directory}/session").text, directory)
    parser, records = StreamParser(), list[Record]()
    with open_records(device, session, Position(run=1, seq=1), follow=False) as stream:
        while data := stream.read(1 << 20, timedelta(seconds=30)):
            records += parser.feed(data)
    return records
