# SPDX-License-Identifier: Apache-2.0
"""When a look is an evaluation: all the time, or on PSI events and polls as in lmkd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lmk.policy.core import Decider
from lmk.policy.model import Known, Look, Sample
from lmk.policy.text import preset
from lmk.proto.policy_pb2 import Evaluate, Policy
from lmk.proto.record_pb2 import Reason

_MS = 1_000_000
CALM = Sample(
    time_ns=50_000 * _MS, total_kb=800_000, free_kb=100_000, wmark_min_kb=3_000,
    wmark_low_kb=4_000, wmark_high_kb=5_000, swap_total_kb=400_000, swap_free_kb=400_000,
    file_kb=100_000, inactive_file_kb=400_000, anon_lru_kb=100_000, refault_file=1,
)  # fmt: skip
#: `some` and `full` stall of the window at lmkd's triggers.
PARTIAL: dict[str, Any] = {"psi_some_window_us": 70_000}
COMPLETE: dict[str, Any] = {"psi_full_window_us": 700_000}
LOW_SWAP: dict[str, Any] = {"swap_free_kb": 39_999}
DIRECT: dict[str, Any] = {"direct_reclaimers": 1}


@pytest.fixture
def policy() -> Policy:
    return preset("lmkd-highperf")


class Clock:
    """Looks at a device, milliseconds apart; which of them were evaluations."""

    def __init__(self, policy: Policy) -> None:
        self.decider = Decider(policy)
        self.now_ns = CALM.time_ns

    def look(self, after_ms: int, *, kill: bool = False, **changes: Any) -> Look:
        self.now_ns += after_ms * _MS
        sample = replace(CALM, time_ns=self.now_ns, **changes)
        verdict = self.decider.evaluate(sample)
        look = self.decider.look
        self.decider.end(sample, verdict, killed=kill)
        return look


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"psi_some_window_us": 69_999}, Look.NONE),
        ({"psi_some_window_us": 70_000}, Look.PARTIAL),
        ({"psi_some_window_us": 70_001}, Look.PARTIAL),
        ({"psi_full_window_us": 699_999}, Look.NONE),
        ({"psi_full_window_us": 700_000}, Look.COMPLETE),
        ({**PARTIAL, **COMPLETE}, Look.COMPLETE),
    ],
)
def test_stall_at_its_limit_is_an_event(
    policy: Policy, changes: dict[str, Any], expected: Look
) -> None:
    assert Clock(policy).look(0, **changes) is expected


def test_without_psi_there_is_no_event(policy: Policy) -> None:
    assert Clock(policy).look(0, known=Known.SWAP, **PARTIAL, **COMPLETE) is Look.NONE


def test_a_kind_of_event_comes_once_in_a_window(policy: Policy) -> None:
    clock = Clock(policy)
    assert clock.look(0, **PARTIAL) is Look.PARTIAL
    assert clock.look(50, **PARTIAL) is Look.NONE, "no poll is due yet either"
    assert clock.look(50, **PARTIAL) is Look.POLL
    assert clock.look(899, **PARTIAL) is Look.POLL
    assert clock.look(1, **PARTIAL) is Look.PARTIAL, "1,000 ms after the first"


def test_polls_come_every_100_ms_for_a_window_after_an_event(policy: Policy) -> None:
    clock = Clock(policy)
    clock.look(0, **PARTIAL)
    seen = [clock.look(10) for _ in range(120)]
    polls = [10 * (index + 1) for index, look in enumerate(seen) if look is Look.POLL]
    assert polls == [100, 200, 300, 400, 500, 600, 700, 800, 900]
    assert set(seen) == {Look.POLL, Look.NONE}


def test_polls_come_every_10_ms_while_swap_is_low(policy: Policy) -> None:
    clock = Clock(policy)
    clock.look(0, **PARTIAL, **LOW_SWAP)
    assert [clock.look(5, **LOW_SWAP) for _ in range(4)] == [
        Look.NONE, Look.POLL, Look.NONE, Look.POLL,
    ]  # fmt: skip


def test_direct_reclaim_prolongs_the_polls_and_quiet_ends_them(policy: Policy) -> None:
    clock = Clock(policy)
    clock.look(0, **PARTIAL)
    assert clock.look(900, **DIRECT) is Look.POLL
    assert clock.look(900) is Look.POLL, "1,800 ms after the event"
    assert clock.look(200) is Look.NONE, "2,000: a window after the last direct reclaim"
    assert clock.look(100) is Look.NONE


def test_the_next_look_after_a_kill_is_a_poll_and_polls_go_on_for_a_window(
    policy: Policy,
) -> None:
    """The gate is closed until the victim has ended: this is lmkd's look at its pidfd's end."""
    clock = Clock(policy)
    low: dict[str, Any] = {"free_kb": 3_999}
    assert clock.look(0, **PARTIAL, **low, kill=True) is Look.PARTIAL
    assert clock.look(3, **low, kill=True) is Look.POLL
    assert clock.look(3, **low) is Look.POLL
    assert clock.look(99, **low) is Look.NONE
    assert clock.look(1, **low) is Look.POLL


def test_a_lower_event_is_not_heard_while_a_higher_one_is_dealt_with(policy: Policy) -> None:
    clock = Clock(policy)
    assert clock.look(0, **COMPLETE) is Look.COMPLETE
    assert clock.look(10, **PARTIAL) is Look.NONE
    assert clock.look(100) is Look.POLL, "ends it"
    assert clock.look(899, **PARTIAL) is Look.NONE, "this window has had its event"
    assert clock.look(1, **PARTIAL) is Look.PARTIAL


def test_other_windows_and_limits_are_taken_as_they_are(policy: Policy) -> None:
    """Windows below 1 s, which a kernel's own trigger refuses."""
    policy.stall.psi_window_size_ms, policy.stall.psi_partial_stall_ms = 100, 10
    policy.timing.poll_long_ms = 20
    clock = Clock(policy)
    assert clock.look(0, psi_some_window_us=10_000) is Look.PARTIAL
    assert [clock.look(20, psi_some_window_us=10_000) for _ in range(6)] == [
        *[Look.POLL] * 4, Look.PARTIAL, Look.POLL,
    ]  # fmt: skip


def test_continuous_evaluation_never_skips_a_look(policy: Policy) -> None:
    policy.timing.evaluate = Evaluate.EVALUATE_CONTINUOUSLY
    clock = Clock(policy)
    assert [clock.look(1) for _ in range(3)] == [Look.POLL] * 3
    assert clock.look(1, **PARTIAL) is Look.PARTIAL
    assert clock.look(1, **COMPLETE) is Look.COMPLETE
    assert clock.look(1, **PARTIAL) is Look.PARTIAL


def test_a_device_that_stalls_is_not_responding_only_at_the_event(policy: Policy) -> None:
    clock = Clock(policy)
    stalled = replace(CALM, time_ns=clock.now_ns, **COMPLETE, **DIRECT)
    assert clock.decider.evaluate(stalled).reason == Reason.REASON_NOT_RESPONDING
    again = replace(stalled, time_ns=stalled.time_ns + 100 * _MS)
    assert clock.decider.evaluate(again).reason == Reason.REASON_NONE
