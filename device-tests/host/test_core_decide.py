# SPDX-License-Identifier: Apache-2.0
"""The decision core's verdicts: every reason just under, at and just over its limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from core_device import (
    CALM,
    NOBODY,
    PAGES_FOR_50,
    PAGES_FOR_51,
    PAGES_FOR_149,
    PAGES_FOR_150,
    SCARCE,
    SWAP_FREE_FOR_50,
    SWAP_FREE_FOR_51,
    WORST,
    decide,
    plain_policy,
)

from lmk.policy.core import Decider
from lmk.policy.model import Known, Level, Look, Sample, SignalBit
from lmk.proto.policy_pb2 import Policy
from lmk.proto.record_pb2 import Reason


@pytest.fixture
def policy() -> Policy:
    """Each reason with a floor of its own, and none of the refinements."""
    return plain_policy()


def test_a_calm_device_gives_no_reason_and_a_floor_nobody_reaches(policy: Policy) -> None:
    verdict = decide(policy, CALM)
    assert (verdict.reason, verdict.floor) == (Reason.REASON_NONE, NOBODY)
    assert verdict.breached == SignalBit.NONE


def test_scarce_memory_alone_is_no_reason(policy: Policy) -> None:
    verdict = decide(policy, SCARCE)
    assert verdict.reason == Reason.REASON_NONE
    assert verdict.breached == SignalBit.AVAILABLE


NONE = (Reason.REASON_NONE, NOBODY)
LOW_MEM = (Reason.REASON_LOW_MEM, 702)
SWAP = (Reason.REASON_LOW_MEM_AND_SWAP, 201)
SWAP_THRASHING = (Reason.REASON_LOW_SWAP_AND_THRASHING, 201)
UTIL = (Reason.REASON_LOW_MEM_AND_SWAP_UTIL, 102)
THRASHING = (Reason.REASON_LOW_MEM_AND_THRASHING, 201)
RECLAIM_THRASHING = (Reason.REASON_DIRECT_RECL_AND_THRASHING, 201)
STUCK = (Reason.REASON_DIRECT_RECL_STUCK, 104)
PARTIAL = (Reason.REASON_PARTIAL_STALL, 701)
COMPLETE = (Reason.REASON_NOT_RESPONDING, 101)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"free_kb": 4_001}, NONE),
        ({"free_kb": 4_000}, NONE),
        ({"free_kb": 3_999}, LOW_MEM),
        ({"psi_some_window_us": 99_999}, NONE),
        ({"psi_some_window_us": 100_000}, PARTIAL),
        ({"psi_some_window_us": 100_001}, PARTIAL),
        ({"psi_full_window_us": 699_999}, NONE),
        ({"psi_full_window_us": 700_000}, COMPLETE),
        ({"psi_full_window_us": 700_001}, COMPLETE),
        # Low swap looks at the high watermark (5,000), and at 10 % of 400,000 of swap.
        ({"free_kb": 4_999, "swap_free_kb": 40_001}, NONE),
        ({"free_kb": 4_999, "swap_free_kb": 40_000}, NONE),
        ({"free_kb": 4_999, "swap_free_kb": 39_999}, SWAP),
        ({"free_kb": 5_000, "swap_free_kb": 39_999}, NONE),
        # Low swap and thrashing: whatever the watermark.
        ({"swap_free_kb": 39_999, "refault_file": PAGES_FOR_50}, NONE),
        ({"swap_free_kb": 39_999, "refault_file": PAGES_FOR_51}, SWAP_THRASHING),
        ({"swap_free_kb": 40_000, "refault_file": PAGES_FOR_51}, NONE),
        # Swap utilisation: below the low watermark only.
        ({"free_kb": 3_999, "swap_free_kb": SWAP_FREE_FOR_50}, LOW_MEM),
        ({"free_kb": 3_999, "swap_free_kb": SWAP_FREE_FOR_51}, UTIL),
        ({"free_kb": 4_000, "swap_free_kb": SWAP_FREE_FOR_51}, NONE),
        # Thrashing below the low watermark, or while somebody is in direct reclaim.
        ({"free_kb": 3_999, "refault_file": PAGES_FOR_50}, LOW_MEM),
        ({"free_kb": 3_999, "refault_file": PAGES_FOR_51}, THRASHING),
        ({"free_kb": 4_000, "refault_file": PAGES_FOR_51}, NONE),
        ({"direct_reclaimers": 1, "refault_file": PAGES_FOR_50}, NONE),
        ({"direct_reclaimers": 1, "refault_file": PAGES_FOR_51}, RECLAIM_THRASHING),
        # Stuck in direct reclaim.
        ({"direct_reclaimers": 1, "reclaim_longest_us": 299_999}, NONE),
        ({"direct_reclaimers": 1, "reclaim_longest_us": 300_000}, NONE),
        ({"direct_reclaimers": 1, "reclaim_longest_us": 300_001}, STUCK),
        ({"direct_reclaimers": 0, "reclaim_longest_us": 300_001}, NONE),
    ],
)
def test_each_reason_holds_only_past_its_limit(
    policy: Policy, change: dict[str, Any], expected: tuple[int, int]
) -> None:
    verdict = decide(policy, replace(SCARCE, **change))
    assert (verdict.reason, verdict.floor) == expected


@pytest.mark.parametrize(
    ("free_kb", "expected"),
    [
        (2_999, (Reason.REASON_PRESSURE_AFTER_KILL, 103)),
        (3_000, LOW_MEM),
        (3_001, LOW_MEM),
    ],
)
def test_the_min_watermark_breached_after_a_kill_is_a_reason_of_its_own(
    policy: Policy, free_kb: int, expected: tuple[int, int]
) -> None:
    decider = Decider(policy)
    decider.evaluate(CALM)
    first = replace(SCARCE, free_kb=2_999)
    verdict = decider.evaluate(first)
    assert verdict.reason == Reason.REASON_LOW_MEM
    decider.end(first, verdict, killed=True)
    after = replace(first, free_kb=free_kb)
    verdict = decider.evaluate(after)
    assert (verdict.reason, verdict.floor) == expected
    decider.end(after, verdict)
    assert decider.evaluate(after).reason == Reason.REASON_LOW_MEM, "the first after a kill only"


@pytest.mark.parametrize(
    ("change", "floor"),
    [
        ({"swap_free_kb": 39_999, "refault_file": PAGES_FOR_51}, 201),
        ({"swap_free_kb": 39_999, "refault_file": PAGES_FOR_149}, 201),
        ({"swap_free_kb": 39_999, "refault_file": PAGES_FOR_150}, 105),
        ({"swap_free_kb": 39_999, "refault_file": PAGES_FOR_51, "free_kb": 3_000}, 201),
        ({"swap_free_kb": 39_999, "refault_file": PAGES_FOR_51, "free_kb": 2_999}, 105),
        ({"swap_free_kb": 39_999, "free_kb": 3_000}, 201),
        ({"swap_free_kb": 39_999, "free_kb": 2_999}, 105),
        # Thrashing with swap left: critical thrashing alone takes the protection away.
        ({"refault_file": PAGES_FOR_149, "free_kb": 2_999}, 201),
        ({"refault_file": PAGES_FOR_150, "free_kb": 3_999}, 105),
        ({"refault_file": PAGES_FOR_149, "direct_reclaimers": 1}, 201),
        ({"refault_file": PAGES_FOR_150, "direct_reclaimers": 1}, 105),
    ],
)
def test_perceptible_apps_lose_their_protection_only_when_it_is_critical(
    policy: Policy, change: dict[str, Any], floor: int
) -> None:
    assert decide(policy, replace(SCARCE, **change)).floor == floor


@pytest.mark.parametrize(("avg10_pct100", "floor"), [(3_999, 702), (4_000, 702), (4_001, 0)])
def test_a_critical_stall_takes_every_floor_down(
    policy: Policy, avg10_pct100: int, floor: int
) -> None:
    policy.stall.stall_limit_critical_pct = 40
    sample = replace(SCARCE, free_kb=3_999, full_avg10_pct100=avg10_pct100)
    assert decide(policy, sample).floor == floor
    policy.stall.stall_limit_critical_pct = 100
    assert decide(policy, replace(sample, full_avg10_pct100=10_000)).floor == 702, "100 is off"


def test_a_critical_stall_is_no_reason_by_itself_and_raises_no_floor(policy: Policy) -> None:
    policy.stall.stall_limit_critical_pct = 40
    stalled = replace(SCARCE, full_avg10_pct100=9_000)
    assert decide(policy, stalled).reason == Reason.REASON_NONE
    policy.low_mem.lowmem_min_oom_score = -100
    assert decide(policy, replace(stalled, free_kb=3_999)).floor == -100


def thrash_and_kill(decider: Decider) -> Sample:
    """A kill for thrashing; the sample that it was made for."""
    decider.evaluate(CALM)
    thrashing = replace(SCARCE, free_kb=3_999, refault_file=PAGES_FOR_51)
    verdict = decider.evaluate(thrashing)
    assert verdict.reason == Reason.REASON_LOW_MEM_AND_THRASHING
    decider.end(thrashing, verdict, killed=True)
    return thrashing


FILECACHE = (Reason.REASON_LOW_FILECACHE_AFTER_THRASHING, 202)


@pytest.mark.parametrize(
    ("file_kb", "expected"), [(60_001, NONE), (60_000, NONE), (59_999, FILECACHE)]
)
def test_little_file_cache_is_a_reason_after_a_kill_for_thrashing(
    policy: Policy, file_kb: int, expected: tuple[int, int]
) -> None:
    decider = Decider(policy)
    thrashing = thrash_and_kill(decider)
    verdict = decider.evaluate(replace(thrashing, free_kb=300_000, file_kb=file_kb))
    assert (verdict.reason, verdict.floor) == expected


def test_little_file_cache_is_none_before_a_kill_for_thrashing(policy: Policy) -> None:
    assert decide(policy, replace(SCARCE, file_kb=59_999)).reason == Reason.REASON_NONE


def test_file_cache_is_not_watched_any_more_once_there_was_enough(policy: Policy) -> None:
    decider = Decider(policy)
    thrashing = thrash_and_kill(decider)
    calm = replace(thrashing, free_kb=300_000)
    low = replace(calm, file_kb=59_999)
    assert decider.evaluate(low).reason == Reason.REASON_LOW_FILECACHE_AFTER_THRASHING
    assert decider.evaluate(low).reason == Reason.REASON_LOW_FILECACHE_AFTER_THRASHING
    assert decider.evaluate(replace(calm, file_kb=60_000)).reason == Reason.REASON_NONE
    assert decider.evaluate(low).reason == Reason.REASON_NONE


def test_a_reason_before_it_leaves_the_file_cache_watched(policy: Policy) -> None:
    """lmkd clears the flag only where it comes to look at the cache and finds enough."""
    decider = Decider(policy)
    thrashing = thrash_and_kill(decider)
    calm = replace(thrashing, free_kb=300_000)
    stuck = replace(calm, direct_reclaimers=1, reclaim_longest_us=300_001)
    assert decider.evaluate(stuck).reason == Reason.REASON_DIRECT_RECL_STUCK
    low = replace(calm, file_kb=59_999)
    assert decider.evaluate(low).reason == Reason.REASON_LOW_FILECACHE_AFTER_THRASHING


def test_the_first_reason_in_lmkds_order_gives_the_verdict(policy: Policy) -> None:
    """That of lmkd.cpp's __mp_event_psi(); those that share a floor in order of what tells them
    apart."""

    def worst(sample: Sample = WORST, *, settled: bool = True) -> int:
        decider = Decider(policy)
        thrashing = thrash_and_kill(decider)
        if settled:  # a look after the kill that leaves the file cache watched
            stuck = replace(thrashing, direct_reclaimers=1, reclaim_longest_us=300_001)
            decider.evaluate(replace(stuck, free_kb=300_000), look=Look.POLL)
        sample = replace(sample, refault_file=sample.refault_file + PAGES_FOR_51)
        return decider.evaluate(sample).reason

    assert worst(settled=False) == Reason.REASON_PRESSURE_AFTER_KILL
    policy.low_mem.pressure_after_kill_min_score = NOBODY
    assert worst() == Reason.REASON_NOT_RESPONDING
    policy.stall.complete_stall_min_score = NOBODY
    assert worst() == Reason.REASON_LOW_SWAP_AND_THRASHING
    calmer = replace(WORST, refault_file=0)
    assert worst(calmer) == Reason.REASON_LOW_MEM_AND_SWAP
    # Swap is in use, but not low.
    used = replace(WORST, swap_free_kb=SWAP_FREE_FOR_51)
    assert worst(used) == Reason.REASON_LOW_MEM_AND_SWAP_UTIL
    policy.swap.swap_util_min_score = NOBODY
    assert worst(used) == Reason.REASON_LOW_MEM_AND_THRASHING
    assert worst(replace(used, free_kb=300_000)) == Reason.REASON_DIRECT_RECL_AND_THRASHING
    used = replace(used, refault_file=0)
    assert worst(used) == Reason.REASON_DIRECT_RECL_STUCK
    policy.reclaim.direct_reclaim_min_score = NOBODY
    # From here on the look after the kill ends in LOW_FILECACHE or nothing.
    assert worst(used, settled=False) == Reason.REASON_LOW_FILECACHE_AFTER_THRASHING
    policy.thrashing.filecache_min_score = NOBODY
    assert worst(used) == Reason.REASON_PARTIAL_STALL
    policy.stall.partial_stall_min_score = NOBODY
    assert worst(used) == Reason.REASON_LOW_MEM
    policy.low_mem.lowmem_min_oom_score = NOBODY
    assert worst(used) == Reason.REASON_NONE


def test_what_was_not_measured_is_never_held_against_a_process(policy: Policy) -> None:
    worst = replace(
        SCARCE,
        free_kb=4_500,  # above low (no watermark reason), below high (low swap would look)
        swap_free_kb=0,
        psi_some_window_us=1_000_000,
        psi_full_window_us=1_000_000,
    )

    def reason(known: Known) -> int:
        return decide(policy, replace(worst, known=known)).reason

    assert reason(Known.AVAILABLE) == Reason.REASON_NONE
    assert reason(Known.AVAILABLE | Known.SWAP) == Reason.REASON_LOW_MEM_AND_SWAP
    assert reason(Known.AVAILABLE | Known.PSI) == Reason.REASON_NOT_RESPONDING


def test_without_mem_available_free_and_file_pages_stand_for_it(policy: Policy) -> None:
    sample = replace(SCARCE, known=Known.SWAP | Known.PSI, available_kb=0, free_kb=3_999)
    assert decide(policy, replace(sample, file_kb=76_001)).reason == Reason.REASON_NONE
    assert decide(policy, replace(sample, file_kb=76_000)).reason == Reason.REASON_LOW_MEM


# -- whose stall it is -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("foreground_us", "background_us", "some_us", "reason"),
    [
        # All of the reclaim is the foreground's: half as much again.
        (50_000, 0, 66_666, Reason.REASON_NONE),  # 99,999
        (50_000, 0, 66_667, Reason.REASON_PARTIAL_STALL),  # 100,000.5
        # All of it is the background's: half.
        (0, 50_000, 199_999, Reason.REASON_NONE),
        (0, 50_000, 200_000, Reason.REASON_PARTIAL_STALL),
        # Half and half: as it is.
        (50_000, 50_000, 99_999, Reason.REASON_NONE),
        (50_000, 50_000, 100_000, Reason.REASON_PARTIAL_STALL),
        # Nobody was seen in reclaim: as it is.
        (0, 0, 99_999, Reason.REASON_NONE),
        (0, 0, 100_000, Reason.REASON_PARTIAL_STALL),
    ],
)
def test_stall_counts_by_who_stalls(
    policy: Policy, foreground_us: int, background_us: int, some_us: int, reason: int
) -> None:
    policy.stall.foreground_weight_pct, policy.stall.background_weight_pct = 150, 50
    sample = replace(
        SCARCE,
        reclaim_foreground_us=foreground_us,
        reclaim_background_us=background_us,
        psi_some_window_us=some_us,
    )
    assert decide(policy, sample).reason == reason
    policy.stall.foreground_weight_pct = policy.stall.background_weight_pct = 100
    assert (decide(policy, sample).reason != 0) == (some_us >= 100_000)


def test_where_nobody_knows_who_stalls_it_counts_as_it_is(policy: Policy) -> None:
    policy.stall.background_weight_pct = 1
    sample = replace(SCARCE, psi_some_window_us=100_000, reclaim_background_us=9)
    assert decide(policy, sample).reason == Reason.REASON_NONE
    unknown = replace(sample, known=sample.known & ~Known.RECLAIM)
    assert decide(policy, unknown).reason == Reason.REASON_PARTIAL_STALL


# -- what a verdict says -----------------------------------------------------------------------


def test_a_verdict_says_every_limit_it_was_measured_against(policy: Policy) -> None:
    verdict = decide(policy, replace(SCARCE, refault_file=PAGES_FOR_50, cma_free_kb=1_000))
    assert verdict.free_kb == 299_000
    assert verdict.free_limit_kb == 4_000
    assert verdict.available_limit_kb == 80_000
    assert (verdict.swap_free_kb, verdict.swap_limit_kb) == (400_000, 40_000)
    assert verdict.some_limit_us == 100_000
    assert verdict.full_limit_us == 700_000
    assert verdict.reclaim_limit_us == 300_000
    assert verdict.filecache_limit_kb == 60_000
    assert (verdict.thrashing_pct, verdict.thrashing_limit_pct) == (50, 50)
    assert (verdict.swap_util_pct, verdict.swap_util_limit_pct) == (0, 50)


def test_a_verdict_says_every_signal_that_is_on_the_bad_side(policy: Policy) -> None:
    decider = Decider(policy)
    thrashing = thrash_and_kill(decider)
    stuck = replace(thrashing, direct_reclaimers=1, reclaim_longest_us=300_001)
    decider.evaluate(stuck)
    worst = replace(WORST, refault_file=PAGES_FOR_150 + PAGES_FOR_51, full_avg10_pct100=5_000)
    policy.stall.stall_limit_critical_pct = 40
    every = SignalBit.NONE
    for bit in SignalBit:
        every |= bit
    assert decider.evaluate(worst).breached == every


def test_levels_come_from_the_end_that_lmkd_counts_from(policy: Policy) -> None:
    levels = [
        decide(policy, replace(SCARCE, free_kb=free_kb)).level
        for free_kb in (5_000, 4_999, 4_000, 3_999, 3_000, 2_999)
    ]
    assert levels == [
        Level.NONE, Level.HIGH, Level.HIGH,
        Level.LOW, Level.LOW, Level.MIN,
    ]  # fmt: skip
