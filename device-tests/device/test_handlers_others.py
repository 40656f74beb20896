# SPDX-License-Identifier: Apache-2.0
"""The handlers in shadow, and what they say of kills that are not theirs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from loaded import ASIDE_KB, FIRST_UID, PATIENCE, Loaded, calm_policy, loaded, urgent_policy

from lmk.device.interface import Device
from lmk.policy import Policy
from lmk.proto.record_pb2 import OtherKill

_GROUP = "/sys/fs/cgroup/lmk-others-test"
_MB = 1024


@pytest.fixture
def handlers(device: Device) -> Iterator[Loaded]:
    with loaded(device) as handlers:
        handlers.load(calm_policy())
        yield handlers


def told(handlers: Loaded, pid: int) -> dict[str, Any]:
    """The event about the death of `pid`."""
    until = time.monotonic() + PATIENCE.total_seconds()
    while True:
        for event in handlers.events_of("other"):
            if event["victim"]["pid"] == pid:
                return event
        assert time.monotonic() < until, f"nothing about {pid}: {handlers.counters()}"


def others(handlers: Loaded, *pids: int) -> list[int]:
    """Those of `pids` that are said to have been killed by somebody else."""
    # What is told of this one, which dies after them, was told after theirs.
    last = handlers.start("hold", adj=900)
    handlers.root.run(f"kill -9 {last.pid}")
    told(handlers, last.pid)
    found = [event["victim"]["pid"] for event in handlers.events_of("other")]
    return [pid for pid in found if pid in pids]


# -- kills by others ---------------------------------------------------------------------------


def test_a_kill_by_a_process_says_who_sent_it_and_what_the_victim_had(handlers: Loaded) -> None:
    victim = handlers.start("hold", adj=907, mb=24)
    killer = handlers.root.run(f"echo $$; kill -9 {victim.pid}").text
    event = told(handlers, victim.pid)
    assert event["cause"] == OtherKill.PROCESS
    assert event["sender_pid"] == int(killer)
    assert event["sender_uid"] == 0
    assert event["sender_comm"] == "sh"
    assert event["victim"]["uid"] == FIRST_UID
    assert event["victim"]["adj"] == 907
    assert event["victim"]["comm"] == "victims"
    held_kb = event["victim"]["anon_kb"] + event["victim"]["swap_kb"]
    assert 24 * _MB - ASIDE_KB <= held_kb < 24 * _MB * 1.2
    assert 0 < event["victim"]["start_ns"] < event["signalled_ns"] <= event["time_ns"]
    assert handlers.counters()["other_kills"] >= 1


def test_a_process_that_kills_itself_is_its_own_sender(handlers: Loaded) -> None:
    pid = int(handlers.root.run("sh -c 'echo $$; kill -9 $$'").text.split()[0])
    event = told(handlers, pid)
    assert (event["cause"], event["sender_pid"]) == (OtherKill.PROCESS, pid)


def test_who_dies_of_another_signal_or_exits_is_no_kill(handlers: Loaded) -> None:
    terminated = handlers.start("hold", adj=900)
    handlers.root.run(f"kill -15 {terminated.pid}")
    handlers.await_death(terminated.pid)
    left = int(handlers.root.run("sh -c 'echo $$; exit 9'").text)
    assert others(handlers, terminated.pid, left) == []


def test_a_victim_whose_leader_has_exited_is_told_once(handlers: Loaded) -> None:
    victim = handlers.start("leaderless", adj=900)
    handlers.root.run(f"kill -9 {victim.pid}")
    handlers.await_death(victim.pid)
    assert others(handlers, victim.pid) == [victim.pid]


def test_threads_that_exit_at_once_are_one_death(handlers: Loaded) -> None:
    pids = [handlers.start("leaving", adj=900, mb=1).pid for _ in range(12)]
    handlers.root.run("kill -9 " + " ".join(map(str, pids)))
    for pid in pids:
        told(handlers, pid)
    assert sorted(others(handlers, *pids)) == sorted(pids)


def test_deaths_that_the_kernel_skipped_at_the_exit_are_told_when_they_are_reaped(
    handlers: Loaded,
) -> None:
    """Exits that preempt another exit's program on the same CPU: some of so many always do."""
    for _ in range(5):
        preempting = handlers.start("exits", adj=0, more="60", until="done")
        said = handlers.root.run(f"cat {preempting.output}").text.splitlines()
        pids = [int(line.split()[1]) for line in said if line.startswith("killed ")]
        assert len(pids) >= 60
        for pid in pids:
            told(handlers, pid)
        assert sorted(others(handlers, *pids)) == sorted(pids)


def test_a_kill_by_the_kernel_is_no_kill_by_a_process(handlers: Loaded) -> None:
    loop = "ulimit -t 1; echo $$; while :; do :; done"
    pid = int(handlers.root.run(f"sh -c '{loop}'").text.split()[0])
    assert told(handlers, pid)["cause"] == OtherKill.KERNEL


def test_who_has_a_cgroup_killed_is_its_sender(handlers: Loaded) -> None:
    handlers.root.run(f"mkdir -p {_GROUP}")
    try:
        if handlers.root.run(f"[ -e {_GROUP}/cgroup.kill ]").exit_code:
            pytest.skip("no cgroup.kill here")
        victim = handlers.start("hold", adj=900, cgroup=_GROUP)
        writer = handlers.root.run(f"echo $$; echo 1 >{_GROUP}/cgroup.kill").text
        event = told(handlers, victim.pid)
        assert (event["cause"], event["sender_pid"]) == (OtherKill.PROCESS, int(writer))
    finally:
        handlers.root.run(f"sleep 0.2; rmdir {_GROUP}")


def test_what_the_handlers_kill_themselves_is_no_kill_by_others(handlers: Loaded) -> None:
    victim = handlers.start("hold", adj=950, mb=16)
    sharing = handlers.start("shared", adj=990, mb=32, more=str(FIRST_UID + 1))
    handlers.set_policy(urgent_policy())
    for pid in (sharing.pid, sharing.second, victim.pid):
        handlers.await_death(pid)
    handlers.set_policy(calm_policy())
    assert others(handlers, sharing.pid, sharing.second, victim.pid) == []


def test_a_flood_of_others_leaves_room_for_kills_of_our_own(handlers: Loaded) -> None:
    loop = "i=0; while [ $i -lt 800 ]; do sh -c 'kill -9 $$'; i=$((i+1)); done 2>/dev/null"
    handlers.root.run(loop, timeout=PATIENCE * 5)
    counters = handlers.counters()
    assert counters["other_kills"] >= 800
    assert 0 < counters["ring_lost"] < counters["other_kills"]
    victim = handlers.start("hold", adj=950)
    handlers.set_policy(urgent_policy())
    handlers.await_death(victim.pid)
    assert [event["victim"]["pid"] for event in handlers.kills()] == [victim.pid]


# -- shadow ------------------------------------------------------------------------------------


def shadow(policy: Policy, *, timeout_ms: int = 300_000) -> Policy:
    policy.dry_run = True
    policy.timing.shadow_timeout_ms = timeout_ms
    return policy


def victims_of(handlers: Loaded) -> list[int]:
    assert all(event["dry_run"] for event in handlers.events_of("kill"))
    return [event["victim"]["pid"] for event in handlers.events_of("kill")]


def test_a_verdict_is_said_once_while_its_victim_lives_and_memory_is_short(
    handlers: Loaded,
) -> None:
    first = handlers.start("hold", adj=950)
    second = handlers.start("hold", adj=940)
    handlers.set_policy(shadow(urgent_policy()))
    handlers.kills()
    handlers.wait_for_outcome("pending", 30)
    assert victims_of(handlers) == [first.pid]
    # Somebody else kills it: the next one in order is next.
    handlers.root.run(f"kill -9 {first.pid}")
    handlers.kills(2)
    handlers.wait_for_outcome("pending", 30)
    assert victims_of(handlers) == [first.pid, second.pid]
    assert told(handlers, first.pid)["cause"] == OtherKill.PROCESS
    assert handlers.alive(second.pid)
    assert handlers.counters()["outcome"]["killed"] == 0


def test_a_verdict_whose_victim_lives_on_is_said_again_after_the_timeout(
    handlers: Loaded,
) -> None:
    victim = handlers.start("hold", adj=950)
    handlers.set_policy(shadow(urgent_policy(), timeout_ms=1500))
    one, two = handlers.kills(2)[:2]
    assert one["victim"]["pid"] == two["victim"]["pid"] == victim.pid
    assert two["decided_ns"] - one["decided_ns"] >= 1_500_000_000
    assert handlers.alive(victim.pid)


def test_memory_that_recovers_by_itself_ends_a_verdict(handlers: Loaded) -> None:
    victim = handlers.start("hold", adj=950)
    handlers.set_policy(shadow(urgent_policy()))
    handlers.kills()
    handlers.set_policy(shadow(calm_policy()))
    until = time.monotonic() + PATIENCE.total_seconds()
    while handlers.status()["pending_pid"]:
        assert time.monotonic() < until, "the gate stays closed"
    handlers.set_policy(shadow(urgent_policy()))
    handlers.kills(2)
    assert victims_of(handlers)[:2] == [victim.pid] * 2
