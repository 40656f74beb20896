# SPDX-License-Identifier: Apache-2.0
"""A policy is swapped under running decisions: each works with one of the two, never with both."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from loaded import FIRST_UID, PATIENCE, Loaded, calm_policy, loaded, raw, urgent_policy

from lmk.attachment import attach
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.errors import TransientError
from lmk.facts import gather
from lmk.policy import Policy
from lmk.proto.control_pb2 import Status
from lmk.proto.policy_pb2 import AppRule
from lmk.proto.record_pb2 import Signal
from lmk.session import Session
from lmk.workload.eater import Eater

#: Between the floors of the two policies.
ADJ = 920
SWAPS = 500
#: At most: the first mixture ends it. 20,000 take half a second in an emulated guest.
OVERWRITES = 2_000_000
#: By the host, one request each.
PUSHES = 60
NAME = "com.example.swapped"


def rehearsing() -> Policy:
    """Would kill whoever has :data:`ADJ`, and has limits of its own throughout."""
    policy = urgent_policy(floor=ADJ - 10)
    policy.dry_run = True
    policy.stall.psi_complete_stall_ms = 101
    policy.reclaim.direct_reclaim_threshold_ms = 102
    policy.thrashing.filecache_min_kb = 103
    policy.swap.swap_util_max_pct = 51
    policy.kills.max_per_minute = 0
    return policy


def in_earnest() -> Policy:
    """Kills, but nobody who has :data:`ADJ`."""
    policy = urgent_policy(floor=ADJ + 10)
    policy.stall.psi_complete_stall_ms = 201
    policy.reclaim.direct_reclaim_threshold_ms = 202
    policy.thrashing.filecache_min_kb = 203
    policy.swap.swap_util_max_pct = 61
    policy.kills.max_per_minute = 1_000
    return policy


@pytest.fixture(params=["", "assisted"], ids=["best_path", "assisted"])
def handlers(device: Device, request: pytest.FixtureRequest) -> Iterator[Loaded]:
    with loaded(device, path=request.param) as handlers:
        handlers.load(calm_policy())
        yield handlers


def test_no_decision_mixes_two_policies(handlers: Loaded) -> None:
    victim = handlers.start("hold", adj=ADJ)
    of_one, of_other, of_neither = handlers.policies(rehearsing(), in_earnest(), SWAPS)
    assert of_one > 0
    assert of_other > 0
    assert of_neither == 0
    # The floor of the one without its dry run would have been the end of it.
    assert handlers.alive(victim.pid)
    kills = handlers.kills()
    assert {kill["dry_run"] for kill in kills} == {True}
    assert {kill["verdict"]["floor"] for kill in kills} == {ADJ - 10}
    assert {kill["verdict"]["full_limit_us"] for kill in kills} == {101_000}


def test_a_policy_that_is_overwritten_is_mixed_with_the_one_before(handlers: Loaded) -> None:
    """What the test above looks for is there to be found, and would be."""
    _, _, of_neither = handlers.policies(rehearsing(), in_earnest(), OVERWRITES, in_place=True)
    assert of_neither > 0


@pytest.fixture
def session(device: Device) -> Iterator[Session]:
    policy = calm_policy()
    policy.dry_run = True
    policy.thrashing.filecache_min_kb = 303
    with attach(device, policy, lease=timedelta(minutes=10)) as session:
        yield session


def rehearsed(filecache_min_kb: int, *names: str) -> Policy:
    """Would kill only when asked to; a rule for each of `names`, in that order."""
    policy = calm_policy()
    policy.dry_run = True
    policy.timing.shadow_timeout_ms = 1
    policy.thrashing.filecache_min_kb = filecache_min_kb
    policy.rules.extend(AppRule(process=name, relaunch_cost_kb=1) for name in names)
    return policy


@contextmanager
def asking(root: Root, folder: str) -> Iterator[None]:
    """Kills are asked for one after the other, past the agent."""
    go = f"{folder}/asking"
    ask = f"while [ -e {go} ]; do {folder}/lmk-loader run vendor; done"
    root.run(f"touch {go}; setsid sh -c '{ask}' </dev/null >/dev/null 2>&1 & echo")
    try:
        yield
    finally:
        root.run(f"rm {go}")


def test_reports_are_of_one_policy_and_its_rules(
    device: Device, session: Session, root: Root
) -> None:
    turns = rehearsed(101, NAME, "nobody"), rehearsed(201, "nobody", NAME)
    with Eater(device, 4, adj=ADJ, uid=FIRST_UID, name=NAME) as eater:
        eater.await_phase("grown", PATIENCE)
        session.set_policy(turns[1])
        with asking(root, gather(root).directory):
            for push in range(PUSHES):
                session.set_policy(turns[push % 2])
        for policy in turns:
            session.set_policy(policy)
            asked(session)
    reports = session.reports(follow=False)
    found = {(filecache_limits(report.signals), report.victim.rule) for report in reports}
    assert found == {((101,), 1), ((201,), 2)}


def asked(session: Session) -> None:
    """One would-be kill is reported."""
    until = time.monotonic() + PATIENCE.total_seconds()
    while (answer := session.request_kill(0)).outcome != "dry_run":
        assert time.monotonic() < until, answer
    next(each for each in session.reports() if each.kill_id == answer.kill_id)


def filecache_limits(signals: Iterable[Signal]) -> tuple[int, ...]:
    """The limit of the policy, which every kernel tells; one, in a tuple."""
    return tuple(each.limit for each in signals if each.kind == Signal.FILE_CACHE_KB)


def test_a_new_agent_puts_in_force_what_it_goes_by(
    device: Device, session: Session, root: Root
) -> None:
    """The one before it may have died in the middle of a push."""
    before = session.status()
    folder = gather(root).directory
    device.push(raw(in_earnest()), f"{folder}/other.view")
    root.run(f"kill -STOP {before.guardian_pid}")
    root.run(f"kill -9 {before.agent_pid}")
    pushed = root.run(f"{folder}/lmk-loader policy {folder}/other.view; rm {folder}/other.view")
    assert pushed.exit_code == 0, pushed.error_text
    root.run(f"kill -CONT {before.guardian_pid}")
    after = await_status(session, before.agent_pid)
    assert after.policy == before.policy
    assert filecache_limits(after.signals) == filecache_limits(before.signals) == (303,)


def await_status(session: Session, agent_pid: int) -> Status:
    """Of the agent after `agent_pid`."""
    until = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            status = session.status()
        except TransientError:
            assert time.monotonic() < until
            continue
        if status.agent_pid != agent_pid:
            return status
        assert time.monotonic() < until
