# SPDX-License-Identifier: Apache-2.0
"""The decision core's verdicts: every reason just under, at and just over its limit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lmk.policy import core
from lmk.policy.core import Known, Sample, SignalBit
from lmk.policy.text import preset
from lmk.proto.policy_pb2 import Policy, Watermark
from lmk.proto.record_pb2 import Reason

NO_FLOOR = 1001

#: A device with nothing wrong, in KiB: 800 MB, plenty available, swap empty.
CALM = Sample(
    total_kb=800_000,
    free_kb=300_000,
    available_kb=400_000,
    wmark_min_kb=3_000,
    wmark_low_kb=4_000,
    wmark_high_kb=5_000,
    swap_total_kb=400_000,
    swap_free_kb=400_000,
)


@pytest.fixture
def policy() -> Policy:
    chosen = preset("default")
    chosen.scarcity.available_below_pct = 10
    chosen.full_stall.stall_ms, chosen.full_stall.min_oom_score_adj = 700, 100
    chosen.some_stall.stall_ms, chosen.some_stall.min_oom_score_adj = 100, 701
    chosen.low_swap.level = Watermark.WATERMARK_HIGH
    chosen.low_swap.swap_free_low_pct, chosen.low_swap.min_oom_score_adj = 10, 201
    chosen.watermark.level, chosen.watermark.min_oom_score_adj = Watermark.WATERMARK_LOW, 702
    return chosen


#: Memory is scarce (79,999 of 800,000 is under 10 %), nothing else is wrong.
SCARCE = replace(CALM, available_kb=79_999)


def test_a_calm_device_gives_no_reason_and_a_floor_nobody_reaches(policy: Policy) -> None:
    verdict = core.decide(policy, CALM)
    assert (verdict.reason, verdict.floor) == (Reason.REASON_NONE, NO_FLOOR)
    assert verdict.breached == SignalBit.NONE


def test_scarce_memory_alone_is_no_reason(policy: Policy) -> None:
    verdict = core.decide(policy, SCARCE)
    assert verdict.reason == Reason.REASON_NONE
    assert verdict.breached == SignalBit.AVAILABLE


@pytest.mark.parametrize(
    ("change", "reason", "floor"),
    [
        ({"free_kb": 4_001}, Reason.REASON_NONE, NO_FLOOR),
        ({"free_kb": 4_000}, Reason.REASON_NONE, NO_FLOOR),
        ({"free_kb": 3_999}, Reason.REASON_LOW_MEM, 702),
        ({"psi_some_window_us": 99_999}, Reason.REASON_NONE, NO_FLOOR),
        ({"psi_some_window_us": 100_000}, Reason.REASON_PARTIAL_STALL, 701),
        ({"psi_some_window_us": 100_001}, Reason.REASON_PARTIAL_STALL, 701),
        ({"psi_full_window_us": 699_999}, Reason.REASON_NONE, NO_FLOOR),
        ({"psi_full_window_us": 700_000}, Reason.REASON_NOT_RESPONDING, 100),
        ({"psi_full_window_us": 700_001}, Reason.REASON_NOT_RESPONDING, 100),
        # Low swap looks at the high watermark (5,000), and at 10 % of 400,000 of swap.
        ({"free_kb": 4_999, "swap_free_kb": 40_001}, Reason.REASON_NONE, NO_FLOOR),
        ({"free_kb": 4_999, "swap_free_kb": 40_000}, Reason.REASON_NONE, NO_FLOOR),
        ({"free_kb": 4_999, "swap_free_kb": 39_999}, Reason.REASON_LOW_MEM_AND_SWAP, 201),
        ({"free_kb": 5_000, "swap_free_kb": 39_999}, Reason.REASON_NONE, NO_FLOOR),
    ],
)
def test_each_reason_holds_only_past_its_limit(
    policy: Policy, change: dict[str, int], reason: int, floor: int
) -> None:
    verdict = core.decide(policy, replace(SCARCE, **change))  # type: ignore[arg-type]
    assert (verdict.reason, verdict.floor) == (reason, floor)


@pytest.mark.parametrize("available_kb", [80_000, 80_001, 400_000])
def test_no_reason_holds_while_memory_is_not_scarce(policy: Policy, available_kb: int) -> None:
    everything_else = replace(
        CALM,
        available_kb=available_kb,
        free_kb=0,
        swap_free_kb=0,
        psi_some_window_us=1_000_000,
        psi_full_window_us=1_000_000,
    )
    assert core.decide(policy, everything_else).reason == Reason.REASON_NONE
    assert core.decide(policy, replace(everything_else, available_kb=79_999)).reason != 0


def test_the_most_urgent_reason_gives_the_verdict(policy: Policy) -> None:
    worst = replace(
        SCARCE,
        free_kb=0,
        swap_free_kb=0,
        psi_some_window_us=1_000_000,
        psi_full_window_us=1_000_000,
    )
    order = []
    for name in ("full_stall", "low_swap", "some_stall", "watermark"):
        order.append(core.decide(policy, worst).reason)
        getattr(policy, name).enabled = False
    assert order == [
        Reason.REASON_NOT_RESPONDING,
        Reason.REASON_LOW_MEM_AND_SWAP,
        Reason.REASON_PARTIAL_STALL,
        Reason.REASON_LOW_MEM,
    ]
    assert core.decide(policy, worst).reason == Reason.REASON_NONE


@pytest.mark.parametrize(
    ("level", "limit_kb"),
    [
        (Watermark.WATERMARK_MIN, 3_000),
        (Watermark.WATERMARK_LOW, 4_000),
        (Watermark.WATERMARK_HIGH, 5_000),
    ],
)
def test_the_watermark_level_picks_the_mark(
    policy: Policy, level: Watermark.ValueType, limit_kb: int
) -> None:
    policy.watermark.level = level
    assert core.decide(policy, replace(SCARCE, free_kb=limit_kb)).reason == Reason.REASON_NONE
    assert (
        core.decide(policy, replace(SCARCE, free_kb=limit_kb - 1)).reason == Reason.REASON_LOW_MEM
    )


def test_no_swap_at_all_is_low_swap(policy: Policy) -> None:
    swapless = replace(SCARCE, free_kb=4_999, swap_total_kb=0, swap_free_kb=0)
    assert core.decide(policy, swapless).reason == Reason.REASON_LOW_MEM_AND_SWAP


def test_what_was_not_measured_is_never_held_against_a_process(policy: Policy) -> None:
    worst = replace(
        SCARCE,
        free_kb=4_500,  # above low (no watermark reason), below high (low swap would look)
        swap_free_kb=0,
        psi_some_window_us=1_000_000,
        psi_full_window_us=1_000_000,
    )
    assert core.decide(policy, replace(worst, known=Known.AVAILABLE)).reason == Reason.REASON_NONE
    with_swap = replace(worst, known=Known.AVAILABLE | Known.SWAP)
    assert core.decide(policy, with_swap).reason == Reason.REASON_LOW_MEM_AND_SWAP
    with_psi = replace(worst, known=Known.AVAILABLE | Known.PSI)
    assert core.decide(policy, with_psi).reason == Reason.REASON_NOT_RESPONDING


def test_without_mem_available_free_and_file_pages_stand_for_it(policy: Policy) -> None:
    sample = replace(SCARCE, known=Known.SWAP | Known.PSI, available_kb=0, free_kb=3_999)
    assert core.decide(policy, replace(sample, file_kb=76_001)).reason == Reason.REASON_NONE
    assert core.decide(policy, replace(sample, file_kb=76_000)).reason == Reason.REASON_LOW_MEM


def test_a_verdict_says_every_limit_it_was_measured_against(policy: Policy) -> None:
    verdict = core.decide(policy, SCARCE)
    assert verdict.free_limit_kb == 5_000
    assert verdict.available_limit_kb == 80_000
    assert verdict.swap_limit_kb == 40_000
    assert verdict.some_limit_us == 100_000
    assert verdict.full_limit_us == 700_000
