# SPDX-License-Identifier: Apache-2.0
"""Stall counts from when the memory of the last kill was back, where the policy says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lmk.policy.core import Decider
from lmk.policy.model import Look, Sample
from lmk.policy.text import preset
from lmk.proto.policy_pb2 import Evaluate, Policy
from lmk.proto.record_pb2 import Reason

_MS = 1_000_000
#: Scarce, and 100 ms of `some` stall in the window: as much as the policy bears.
STALLED = Sample(
    time_ns=5_000 * _MS, total_kb=1_000_000, free_kb=400_000, available_kb=10_000,
    wmark_min_kb=3_000, wmark_low_kb=4_000, wmark_high_kb=5_000, swap_total_kb=400_000,
    swap_free_kb=400_000, file_kb=100_000, anon_lru_kb=100_000,
    psi_some_counted_us=7_100_000, psi_some_window_us=100_000,
    psi_full_counted_us=3_700_000, psi_full_window_us=0,
)  # fmt: skip


@pytest.fixture
def policy() -> Policy:
    """100 ms of some stall, 700 ms of full stall."""
    chosen = preset("default")
    chosen.stall.psi_partial_stall_ms, chosen.stall.psi_complete_stall_ms = 100, 700
    chosen.stall.since_kill = True
    return chosen


def after_a_kill(policy: Policy, kind: str, *, since_us: int) -> tuple[Decider, Sample]:
    """A device that has stalled by `since_us` since the memory of a kill for stall was back."""
    stalled = (
        replace(STALLED, psi_some_window_us=900_000)
        if kind == "some"
        else replace(STALLED, psi_full_window_us=900_000)
    )
    decider = Decider(policy)
    verdict = decider.evaluate(stalled)
    assert verdict.reason in (Reason.REASON_PARTIAL_STALL, Reason.REASON_NOT_RESPONDING)
    decider.end(stalled, verdict, killed=True)
    # The memory comes back, and more stall with it: the window still holds all of it.
    back = replace(stalled, time_ns=stalled.time_ns + 80 * _MS)
    back = _stalled_more(back, kind, 60_000)
    verdict = decider.evaluate(back)
    decider.end(back, verdict)
    assert (verdict.reason == Reason.REASON_NONE) == policy.stall.since_kill
    return decider, _stalled_more(replace(back, time_ns=back.time_ns + 200 * _MS), kind, since_us)


def _stalled_more(sample: Sample, kind: str, us: int) -> Sample:
    if kind == "some":
        return replace(sample, psi_some_counted_us=sample.psi_some_counted_us + us)
    return replace(sample, psi_full_counted_us=sample.psi_full_counted_us + us)


@pytest.mark.parametrize(
    ("kind", "since_us", "reason"),
    [
        ("some", 99_999, Reason.REASON_NONE),
        ("some", 100_000, Reason.REASON_PARTIAL_STALL),
        ("some", 100_001, Reason.REASON_PARTIAL_STALL),
        ("full", 699_999, Reason.REASON_NONE),
        ("full", 700_000, Reason.REASON_NOT_RESPONDING),
        ("full", 700_001, Reason.REASON_NOT_RESPONDING),
    ],
)
def test_only_new_stall_is_a_reason_for_the_next_kill(
    policy: Policy, kind: str, since_us: int, reason: int
) -> None:
    if kind == "full":
        policy.stall.partial_stall_min_score = 1001
    decider, sample = after_a_kill(policy, kind, since_us=since_us)
    verdict = decider.evaluate(sample)
    assert verdict.reason == reason
    # A report gives the stall that was counted.
    assert (verdict.some_us if kind == "some" else verdict.full_us) == since_us


def test_without_the_option_stall_counts_for_the_whole_window(policy: Policy) -> None:
    policy.stall.since_kill = False
    decider, sample = after_a_kill(policy, "some", since_us=0)
    assert decider.evaluate(sample).reason == Reason.REASON_PARTIAL_STALL


def test_new_stall_never_counts_for_more_than_the_window_holds(policy: Policy) -> None:
    decider, sample = after_a_kill(policy, "some", since_us=5_000_000)
    later = replace(sample, psi_some_window_us=99_999)
    assert decider.evaluate(later).reason == Reason.REASON_NONE


def test_before_the_first_kill_the_window_counts(policy: Policy) -> None:
    assert Decider(policy).evaluate(STALLED).reason == Reason.REASON_PARTIAL_STALL


@pytest.mark.parametrize(("since_kill", "look"), [(True, Look.NONE), (False, Look.PARTIAL)])
def test_an_event_is_not_due_for_old_stall(policy: Policy, since_kill: bool, look: Look) -> None:
    policy.timing.evaluate = Evaluate.EVALUATE_ON_PSI_EVENTS
    policy.stall.since_kill = since_kill
    decider = Decider(policy)
    decider.end(STALLED, decider.evaluate(STALLED), killed=True)
    assert decider.look is Look.PARTIAL
    back = replace(STALLED, time_ns=STALLED.time_ns + 80 * _MS)
    decider.end(back, decider.evaluate(back))
    # A window after the event the next one may be told, and the polls after the first are over.
    decider.evaluate(replace(back, time_ns=STALLED.time_ns + 1_000 * _MS))
    assert decider.look is look
