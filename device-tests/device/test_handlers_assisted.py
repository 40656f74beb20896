# SPDX-License-Identifier: Apache-2.0
"""The assisted path, step by step: what user space can get wrong between choice and signal.

Loaded on any kernel, whatever path is its best: the handlers are the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from loaded import PATIENCE, Answer, Loaded, calm_policy, loaded, urgent_policy

from lmk.device.interface import Device
from lmk.policy import Policy

#: enum lmk_op, enum lmk_outcome
_RUN, _WALKED, _CONFIRM, _SIGNALLED = 0, 7, 8, 9
_KILLED, _CLAIMED, _NO_VICTIM, _WALK, _PROPOSED = 1, 3, 5, 100, 101
_EPERM, _ESRCH, _ESTALE = 1, 3, 116


def unwatched(policy: Policy) -> Policy:
    """Nothing is done but what the test asks for: the next look is in an hour."""
    policy.timing.pressure_interval_ms = policy.timing.idle_interval_ms = 3_600_000
    policy.timing.retry_ms = policy.timing.kill_timeout_ms = 60_000
    return policy


@pytest.fixture
def handlers(device: Device) -> Iterator[Loaded]:
    with loaded(device, path="assisted") as handlers:
        report = handlers.load(unwatched(calm_policy()), drive=False)
        assert report["kill_path"] == "assisted"
        yield handlers


def proposed(handlers: Loaded) -> Answer:
    """The handlers' choice; the walk that it takes on old kernels is the loader's to make."""
    handlers.set_policy(unwatched(urgent_policy()))
    answer = handlers.ask(_RUN)
    if answer.outcome == _WALK:
        pytest.skip("this kernel's walk is tied to the thread that asked for it")
    assert answer.outcome == _PROPOSED
    assert answer.token
    return answer


def test_whoever_is_proposed_lives_until_user_space_has_signalled(handlers: Loaded) -> None:
    victim = handlers.start("hold", adj=950)
    answer = proposed(handlers)
    assert answer.victim_pid == victim.pid
    assert handlers.ask(_CONFIRM, victim.pid, answer.token).result == 0
    assert handlers.alive(victim.pid)
    assert handlers.kills(0) == []
    handlers.root.run(f"kill -9 {victim.pid}")
    done = handlers.ask(_SIGNALLED, token=answer.token, kill_id=answer.kill_id)
    assert (done.outcome, done.token) == (_KILLED, 0)
    kill = handlers.kills()[0]
    assert (kill["kill_id"], kill["path"]) == (answer.kill_id, 1)
    assert kill["seen_ns"] <= kill["decided_ns"] <= kill["signalled_ns"]


def test_an_exit_before_the_word_of_the_signal_is_told_after_the_kill(handlers: Loaded) -> None:
    victim = handlers.start("hold", adj=950)
    answer = proposed(handlers)
    handlers.root.run(f"kill -9 {victim.pid}")
    handlers.await_death(victim.pid)
    until = time.monotonic() + PATIENCE.total_seconds()
    while handlers.counters()["mm_exits_seen"] < 1:
        assert time.monotonic() < until
    assert [event for event in handlers.events() if event["type"] not in ("pressure", "look")] == []
    handlers.ask(_SIGNALLED, token=answer.token, kill_id=answer.kill_id)
    handlers.wait_for("memory_back")
    kinds = [
        event["type"] for event in handlers.events() if event["type"] not in ("pressure", "look")
    ]
    assert kinds[0] == "kill"
    assert sorted(kinds[1:]) == ["exited", "memory_back"]
    # The times are of the exit, not of the telling.
    kill = handlers.kills()[0]
    assert all(
        event["time_ns"] <= kill["time_ns"]
        for event in handlers.events()
        if event["type"] in ("exited", "memory_back")
    )


def test_a_pid_recycled_before_the_signal_is_not_confirmed(handlers: Loaded) -> None:
    chosen = handlers.start("hold", adj=990, mb=16)
    next_best = handlers.start("hold", adj=950)
    answer = proposed(handlers)
    handlers.root.run(f"kill -9 {chosen.pid}")
    handlers.await_death(chosen.pid)
    other = handlers.start_with_pid(chosen.pid, adj=1000)
    assert handlers.ask(_CONFIRM, chosen.pid, answer.token).result == -_ESTALE
    again = handlers.ask(
        _SIGNALLED, token=answer.token, kill_id=answer.kill_id, kill_result=-_ESTALE
    )
    assert (again.outcome, again.victim_pid) == (_PROPOSED, next_best.pid)
    assert handlers.alive(other.pid)
    assert handlers.counters()["outcome"]["stale"] == 1


def test_who_became_more_important_before_the_signal_is_not_confirmed(handlers: Loaded) -> None:
    chosen = handlers.start("hold", adj=990)
    answer = proposed(handlers)
    handlers.root.run(f"echo 0 >/proc/{chosen.pid}/oom_score_adj")
    assert handlers.ask(_CONFIRM, chosen.pid, answer.token).result == -_EPERM
    done = handlers.ask(
        _SIGNALLED, token=answer.token, kill_id=answer.kill_id, kill_result=-_ESTALE
    )
    assert done.outcome == _NO_VICTIM
    # Nobody was hit, so the gate is open and the ring has nothing.
    assert handlers.status()["pending_pid"] == 0
    assert handlers.kills(0) == []


def test_nobody_else_is_confirmed(handlers: Loaded) -> None:
    handlers.start("hold", adj=990)
    bystander = handlers.start("hold", adj=950)
    answer = proposed(handlers)
    assert handlers.ask(_CONFIRM, bystander.pid, answer.token).result == -_ESTALE
    assert handlers.ask(_CONFIRM, 1, answer.token).result < 0
    assert handlers.ask(_CONFIRM, answer.victim_pid, answer.token + 1).result == -_ESTALE


def test_while_one_carries_out_a_proposal_nobody_else_decides(handlers: Loaded) -> None:
    victims = [handlers.start("hold", adj=950, mb=mb) for mb in (16, 8)]
    policy = unwatched(urgent_policy())
    answer = proposed(handlers)
    assert handlers.ask(_RUN).outcome == _CLAIMED
    assert handlers.ask(_WALKED, token=answer.token + 1).outcome == _CLAIMED
    policy.timing.retry_ms = 100
    handlers.set_policy(policy)
    # Nobody signals: after a second the claim breaks, and the same process is proposed again.
    until = time.monotonic() + PATIENCE.total_seconds()
    while (outcome := handlers.call("run")["outcome"]) != "retried" and not handlers.kills(0):
        assert time.monotonic() < until, outcome
    handlers.await_death(victims[0].pid)
    (kill,) = handlers.kills()
    assert (kill["victim"]["pid"], kill["kill_id"]) == (victims[0].pid, answer.kill_id)
