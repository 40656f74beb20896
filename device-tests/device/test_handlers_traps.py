# SPDX-License-Identifier: Apache-2.0
"""The traps of a killer in the kernel, each on a real kernel, with no agent to help."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loaded import ASIDE_KB, FIRST_UID, LAST_UID, Loaded, calm_policy, loaded, urgent_policy

from lmk.device.interface import Device


@pytest.fixture
def handlers(device: Device) -> Iterator[Loaded]:
    with loaded(device) as handlers:
        handlers.load(calm_policy())
        yield handlers


def load_unwatched(handlers: Loaded) -> None:
    """Load so that only what the test asks for is done: the next tick is in an hour."""
    policy = calm_policy()
    policy.timing.pressure_interval_ms = policy.timing.idle_interval_ms = 3_600_000
    handlers.load(policy, drive=False)


def test_highest_adj_dies_first_then_the_largest(handlers: Loaded) -> None:
    low = handlers.start("hold", adj=900, mb=32)
    small = handlers.start("hold", adj=950, mb=8)
    large = handlers.start("hold", adj=950, mb=16)
    handlers.set_policy(urgent_policy())
    order = [kill["victim"]["pid"] for kill in handlers.kills(3)]
    assert order == [large.pid, small.pid, low.pid]


def test_report_names_the_next_candidates_in_order(handlers: Loaded) -> None:
    victims = [handlers.start("hold", adj=adj).pid for adj in (990, 960, 930)]
    handlers.set_policy(urgent_policy())
    first = handlers.kills()[0]
    assert first["victim"]["pid"] == victims[0]
    assert [candidate["pid"] for candidate in first["candidates"]] == victims[1:]
    assert first["processes_eligible"] == 3


def test_victim_is_never_below_the_floor(handlers: Loaded) -> None:
    spared = handlers.start("hold", adj=899, mb=32)
    victim = handlers.start("hold", adj=900, mb=4)
    handlers.set_policy(urgent_policy(floor=900))
    handlers.await_death(victim.pid)
    handlers.wait_for("memory_back")
    handlers.wait_for_outcome("no_victim", 3)
    assert handlers.alive(spared.pid)
    assert len(handlers.kills()) == 1


def test_process_dies_whose_leader_has_exited(handlers: Loaded) -> None:
    victim = handlers.start("leaderless", adj=950)
    handlers.set_policy(urgent_policy())
    kill = handlers.kills()[0]
    assert kill["victim"]["pid"] == victim.pid
    assert kill["victim"]["tid"] != victim.pid, "the leader is a zombie: a thread is signalled"
    assert kill["victim"]["anon_kb"] >= 8 * 1024
    handlers.await_death(victim.pid)
    handlers.wait_for("exited", pid=victim.pid)
    handlers.wait_for("memory_back", pid=victim.pid)


def test_processes_that_share_memory_die_together(handlers: Loaded) -> None:
    victim = handlers.start("shared", adj=950, more=str(FIRST_UID + 1))
    handlers.set_policy(urgent_policy())
    kill = handlers.kills()[0]
    assert kill["sharers"] == 1
    handlers.await_death(victim.pid)
    handlers.await_death(victim.second)
    handlers.wait_for("memory_back")
    assert len(handlers.kills()) == 1, "one kill: one address space"


def test_no_sharer_dies_when_one_of_them_may_not(handlers: Loaded) -> None:
    spared = handlers.start("shared", adj=990, mb=32, more=str(LAST_UID + 1))
    next_best = handlers.start("hold", adj=910)
    handlers.set_policy(urgent_policy())
    assert handlers.kills()[0]["victim"]["pid"] == next_best.pid
    handlers.wait_for("memory_back")
    assert handlers.alive(spared.pid)
    assert handlers.alive(spared.second)
    assert handlers.counters()["refusal"]["sharer"] > 0


def test_many_cpus_deciding_at_once_kill_one(handlers: Loaded) -> None:
    load_unwatched(handlers)
    policy = urgent_policy()
    policy.timing.retry_ms = policy.timing.kill_timeout_ms = 60_000
    # Stuck victims give nothing back meanwhile: the gate stays shut for who comes late.
    victims = [handlers.start("stuck", adj=950) for _ in range(3)]
    handlers.set_policy(policy)
    outcomes = handlers.race(16)
    assert sum(outcomes.values()) == 16
    assert outcomes["killed"] == 1
    assert outcomes["pending"] + outcomes["claimed"] == 15
    assert len(handlers.kills()) == 1
    handlers.root.run("kill -9 " + " ".join(str(victim.second) for victim in victims))
    handlers.await_death(handlers.kills()[0]["victim"]["pid"])


def test_no_second_victim_while_the_first_gives_memory_back(handlers: Loaded) -> None:
    policy = urgent_policy()
    policy.timing.retry_ms = policy.timing.kill_timeout_ms = 60_000
    # The first cannot exit before it is let; the others are as fit to die as ever.
    stuck = handlers.start("stuck", adj=990, mb=48)
    others = [handlers.start("hold", adj=950, mb=mb).pid for mb in (32, 16)]
    handlers.set_policy(policy)
    assert handlers.kills()[0]["victim"]["pid"] == stuck.pid
    handlers.wait_for_outcome("pending", 5)
    assert all(handlers.alive(pid) for pid in others)
    assert len(handlers.kills()) == 1
    handlers.root.run(f"kill -9 {stuck.second}")
    handlers.wait_for("memory_back", 3)
    gate = 0
    for event in handlers.events():
        if event["type"] == "kill":
            assert not gate
            gate = event["kill_id"]
        elif event["type"] == "memory_back":
            assert gate == event["kill_id"]
            gate = 0
    assert [kill["victim"]["pid"] for kill in handlers.kills()] == [stuck.pid, *others]


def test_dead_but_unreaped_process_is_not_chosen(handlers: Loaded) -> None:
    parent = handlers.start("zombie", adj=990)
    victim = handlers.start("hold", adj=1000)
    handlers.set_policy(urgent_policy(floor=995))
    assert handlers.kills()[0]["victim"]["pid"] == victim.pid
    handlers.wait_for("memory_back")
    handlers.set_policy(urgent_policy(floor=980))
    assert handlers.kills(2)[1]["victim"]["pid"] == parent.pid


def test_init_of_a_namespace_is_not_chosen(handlers: Loaded) -> None:
    # It ignores a SIGKILL that is not forced, and BPF's is not: rc 0 and nothing happens.
    command = handlers.start_namespace(adj=1000)
    victim = handlers.start("hold", adj=950)
    handlers.set_policy(urgent_policy())
    assert handlers.kills()[0]["victim"]["pid"] == victim.pid
    assert handlers.alive(command)
    assert handlers.counters()["refusal"]["init"] > 0


def test_oom_score_adj_minus_1000_is_never_chosen(handlers: Loaded) -> None:
    policy = urgent_policy(floor=-1000)
    policy.allow_negative_floor = True
    spared = handlers.start("hold", adj=-1000, mb=32)
    victim = handlers.start("hold", adj=-999)
    handlers.set_policy(policy)
    assert handlers.kills()[0]["victim"]["pid"] == victim.pid
    handlers.wait_for("memory_back")
    assert handlers.alive(spared.pid)
    assert handlers.counters()["refusal"]["adj_never"] > 0


def test_negative_floor_needs_the_override(handlers: Loaded) -> None:
    spared = handlers.start("hold", adj=-5)
    handlers.set_policy(urgent_policy(floor=-10))
    handlers.wait_for_outcome("no_victim", 3)
    assert handlers.alive(spared.pid)


def test_protected_process_is_spared_and_its_recycled_pid_is_not(handlers: Loaded) -> None:
    spared = handlers.start("hold", adj=990, mb=32)
    handlers.loader(f"protect {spared.pid}")
    victim = handlers.start("hold", adj=950)
    handlers.set_policy(urgent_policy())
    assert handlers.kills()[0]["victim"]["pid"] == victim.pid
    handlers.wait_for("memory_back")
    handlers.set_policy(calm_policy())
    handlers.root.run(f"kill -9 {spared.pid}")
    handlers.await_death(spared.pid)
    recycled = handlers.start_with_pid(spared.pid, adj=990)
    handlers.set_policy(urgent_policy())
    assert handlers.kills(2)[1]["victim"]["pid"] == recycled.pid == spared.pid


def test_new_process_with_a_victims_pid_is_not_taken_for_it(handlers: Loaded) -> None:
    victim = handlers.start("hold", adj=950)
    handlers.set_policy(urgent_policy())
    kill = handlers.kills()[0]
    handlers.wait_for("memory_back")
    handlers.await_death(victim.pid)
    other = handlers.start_with_pid(victim.pid, adj=0)
    start_ns = kill["victim"]["start_ns"]
    measured = handlers.call("measure", f"--pid {other.pid} --start-ns {start_ns}")
    assert measured["left_kb"] == 0
    handlers.root.run(f"kill -9 {other.pid}")
    handlers.await_death(other.pid)
    assert len([event for event in handlers.events() if event["type"] == "exited"]) == 1


def test_victim_that_does_not_exit_is_signalled_again_then_given_up(handlers: Loaded) -> None:
    policy = urgent_policy()
    policy.timing.retry_ms = 200
    policy.timing.kill_timeout_ms = 1500
    stuck = handlers.start("stuck", adj=990, mb=16)
    waiting = handlers.start("hold", adj=950)
    handlers.set_policy(policy)
    first = handlers.kills()[0]
    assert first["victim"]["pid"] == stuck.pid
    retries = handlers.wait_for("retry", 2, pid=stuck.pid)
    assert [retry["attempts"] for retry in retries[:2]] == [2, 3]
    second = handlers.kills(2)[1]
    assert second["victim"]["pid"] == waiting.pid, "given up on: somebody else, not it again"
    assert second["gated_ns"] >= 1_000_000_000
    counters = handlers.counters()["outcome"]
    assert counters["retried"] >= 2
    assert counters["timeout"] == 1
    assert counters["pending"] > 0
    handlers.root.run(f"kill -9 {stuck.second}")
    handlers.wait_for("exited", pid=stuck.pid)
    handlers.wait_for("memory_back", pid=stuck.pid)


def test_dry_run_reports_and_spares(handlers: Loaded) -> None:
    policy = urgent_policy()
    policy.dry_run = True
    spared = handlers.start("hold", adj=950)
    handlers.set_policy(policy)
    kill = handlers.kills()[0]
    assert kill["dry_run"]
    assert kill["victim"]["pid"] == spared.pid
    assert kill["signalled_ns"] == 0
    assert handlers.alive(spared.pid)
    assert handlers.counters()["outcome"]["killed"] == 0


def test_status_kills_nobody(handlers: Loaded) -> None:
    load_unwatched(handlers)
    spared = handlers.start("hold", adj=950)
    handlers.set_policy(urgent_policy())
    status = handlers.status()
    assert [candidate["pid"] for candidate in status["candidates"]] == [spared.pid]
    assert handlers.alive(spared.pid)
    assert handlers.counters()["outcome"]["killed"] == 0


def test_follows_a_kill_to_the_memory(handlers: Loaded) -> None:
    victim = handlers.start("hold", adj=950, mb=64)
    handlers.set_policy(urgent_policy())
    kill = handlers.kills()[0]
    exited = handlers.wait_for("exited", pid=victim.pid)[0]
    back = handlers.wait_for("memory_back", pid=victim.pid)[0]
    assert kill["kill_id"] == exited["kill_id"] == back["kill_id"]
    assert kill["seen_ns"] <= kill["decided_ns"] <= kill["signalled_ns"] <= back["time_ns"]
    assert kill["signalled_ns"] <= exited["time_ns"]
    assert back["left_kb"] < 64
    assert kill["victim"]["anon_kb"] + kill["victim"]["swap_kb"] >= 64 * 1024 - ASIDE_KB
    kinds = [
        event["type"] for event in handlers.events() if event["type"] not in ("pressure", "look")
    ]
    # Which end is first is the kernel's: sched_process_exit is after exit_mmap up to 6.12.
    assert kinds == ["kill", *sorted(("exited", "memory_back"), key=kinds.index)]


def test_unload_leaves_nothing_and_takes_leftovers(handlers: Loaded) -> None:
    assert any(path.endswith("programs/lmk_call") for path in handlers.pinned())
    handlers.loader("unload")
    assert handlers.pinned() == []
    handlers.loader("unload")
    handlers.load(calm_policy())
    handlers.remove_pins("links", "programs")
    handlers.loader("unload")
    assert handlers.pinned() == []


def test_second_load_is_refused_and_harms_nothing(handlers: Loaded) -> None:
    before = handlers.pinned()
    assert handlers.try_load(calm_policy()) == 4
    assert handlers.pinned() == before
    assert handlers.status()["result"] == 0


def test_object_that_the_kernel_refuses_leaves_nothing(handlers: Loaded) -> None:
    handlers.loader("unload")
    assert handlers.try_load(calm_policy(), damaged=True) in (2, 3)
    assert handlers.pinned() == []
