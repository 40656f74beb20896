# SPDX-License-Identifier: Apache-2.0
"""Windows that are met once in a million runs, opened on purpose: see victims/traps.bpf.c."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loaded import Loaded, Victim, calm_policy, loaded, urgent_policy

from lmk.device.interface import Device
from lmk.policy import Policy

pytestmark = pytest.mark.in_kernel

#: enum trap
_BUSY, _TWICE, _CHOOSE, _KILL_CHOSEN, _STRIKE = 100, 101, 102, 103, 104
_EPERM = 1


def unwatched(policy: Policy) -> Policy:
    """Nothing is done but what the test asks for: the next tick is in an hour."""
    policy.timing.pressure_interval_ms = policy.timing.idle_interval_ms = 3_600_000
    policy.timing.retry_ms = policy.timing.kill_timeout_ms = 60_000
    return policy


@pytest.fixture
def handlers(device: Device) -> Iterator[Loaded]:
    with loaded(device, traps=True) as handlers:
        handlers.load(unwatched(calm_policy()))
        yield handlers


def test_a_busy_kill_call_hits_nobody_and_the_next_run_kills_one(handlers: Loaded) -> None:
    first, second = (handlers.start("hold", adj=950, mb=mb).pid for mb in (16, 8))
    handlers.set_policy(unwatched(urgent_policy()))
    assert handlers.trap(_BUSY, pid=second) == (0, "busy", first)
    assert handlers.alive(first)
    assert handlers.alive(second)
    assert handlers.kills(0) == []
    # Nothing is pending, so the gate is open, and the same process is still the one to die.
    answer = handlers.call("run")
    assert (answer["outcome"], answer["victim_pid"]) == ("killed", first)
    handlers.await_death(first)
    assert handlers.alive(second)
    assert len(handlers.kills()) == 1


def test_a_signal_not_yet_delivered_is_a_kill_under_way(handlers: Loaded) -> None:
    first, second = (handlers.start("hold", adj=950, mb=mb).pid for mb in (16, 8))
    handlers.set_policy(unwatched(urgent_policy()))
    names = list(handlers.counters()["outcome"])
    result, outcome, victim = handlers.trap(_TWICE)
    assert (names[result], outcome, victim) == ("killed", "pending", first)
    handlers.await_death(first)
    assert handlers.alive(second)
    assert len(handlers.kills()) == 1


def test_a_pid_recycled_between_choice_and_kill_is_let_be(handlers: Loaded) -> None:
    chosen = handlers.start("hold", adj=990, mb=16)
    next_best = handlers.start("hold", adj=950)
    handlers.set_policy(unwatched(urgent_policy()))
    assert handlers.trap(_CHOOSE) == (0, "killed", chosen.pid)
    handlers.root.run(f"kill -9 {chosen.pid}")
    handlers.await_death(chosen.pid)
    other = handlers.start_with_pid(chosen.pid, adj=1000)
    before = handlers.counters()["outcome"]["stale"]
    assert handlers.trap(_KILL_CHOSEN)[1:] == ("killed", next_best.pid)
    assert handlers.counters()["outcome"]["stale"] == before + 1
    handlers.await_death(next_best.pid)
    assert handlers.alive(other.pid)


def test_who_became_more_important_between_choice_and_kill_lives(handlers: Loaded) -> None:
    chosen = handlers.start("hold", adj=990, mb=16)
    next_best = handlers.start("hold", adj=950)
    handlers.set_policy(unwatched(urgent_policy(floor=900)))
    assert handlers.trap(_CHOOSE) == (0, "killed", chosen.pid)
    handlers.root.run(f"echo 0 >/proc/{chosen.pid}/oom_score_adj")
    assert handlers.trap(_KILL_CHOSEN)[1:] == ("killed", next_best.pid)
    handlers.await_death(next_best.pid)
    assert handlers.alive(chosen.pid)


def test_who_died_between_choice_and_kill_is_passed_over(handlers: Loaded) -> None:
    chosen = handlers.start("hold", adj=990, mb=16)
    next_best = handlers.start("hold", adj=950)
    handlers.set_policy(unwatched(urgent_policy()))
    assert handlers.trap(_CHOOSE) == (0, "killed", chosen.pid)
    handlers.root.run(f"kill -9 {chosen.pid}")
    handlers.await_death(chosen.pid)
    assert handlers.trap(_KILL_CHOSEN)[1:] == ("killed", next_best.pid)
    handlers.await_death(next_best.pid)


def leave(handlers: Loaded, victim: Victim) -> None:
    """Have the leader exit; another thread lives on and holds the memory."""
    handlers.root.run(f"kill -USR1 {victim.pid}")
    handlers.said(victim.output, "left")


def test_a_leader_that_exits_between_choice_and_kill_saves_nobody(handlers: Loaded) -> None:
    chosen = handlers.start("leaving", adj=990, mb=16)
    next_best = handlers.start("hold", adj=950)
    handlers.set_policy(unwatched(urgent_policy()))
    assert handlers.trap(_CHOOSE) == (0, "killed", chosen.pid)
    leave(handlers, chosen)
    assert handlers.trap(_KILL_CHOSEN)[1:] == ("killed", chosen.pid)
    handlers.wait_for("memory_back", pid=chosen.pid)
    assert handlers.alive(next_best.pid)


def test_a_signal_that_an_exiting_thread_refuses_hits_nobody(handlers: Loaded) -> None:
    chosen = handlers.start("leaving", adj=990, mb=16)
    handlers.set_policy(unwatched(urgent_policy()))
    assert handlers.trap(_CHOOSE) == (0, "killed", chosen.pid)
    leave(handlers, chosen)
    assert handlers.trap(_STRIKE) == (-_EPERM, "refused", chosen.pid)
    threads = f"grep -h State: /proc/{chosen.pid}/task/*/status"
    assert sorted(handlers.root.run(threads).text.split()[1::3]) == ["S", "Z"]
    # Nothing is pending: the next decision takes the thread that is left.
    answer = handlers.call("run")
    assert (answer["outcome"], answer["victim_pid"]) == ("killed", chosen.pid)
    handlers.wait_for("memory_back", pid=chosen.pid)
