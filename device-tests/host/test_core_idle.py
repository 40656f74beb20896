# SPDX-License-Identifier: Apache-2.0
"""When nothing is decided, whatever is amiss: memory is not scarce, lmkd's early out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from core_device import (
    CALM,
    PAGES_FOR_50,
    PAGES_FOR_51,
    SCARCE,
    WORST,
    decide,
    plain_policy,
)

from lmk.policy.core import Decider
from lmk.policy.model import Known, Look
from lmk.proto.policy_pb2 import Policy
from lmk.proto.record_pb2 import Reason


@pytest.fixture
def policy() -> Policy:
    """Each reason with a floor of its own, and none of the refinements."""
    return plain_policy()


@pytest.mark.parametrize("available_kb", [80_000, 80_001, 400_000])
def test_no_reason_holds_while_memory_is_not_scarce(policy: Policy, available_kb: int) -> None:
    everything_else = replace(WORST, available_kb=available_kb)
    assert decide(policy, everything_else).reason == Reason.REASON_NONE
    assert decide(policy, replace(everything_else, available_kb=79_999)).reason != 0


# -- what is not spared ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"free_kb": 3_999, "refault_file": PAGES_FOR_50}, Reason.REASON_NONE),
        ({"free_kb": 3_999, "refault_file": PAGES_FOR_51}, Reason.REASON_LOW_MEM_AND_THRASHING),
        ({"free_kb": 3_999, "psi_full_window_us": 699_999}, Reason.REASON_NONE),
        ({"free_kb": 3_999, "psi_full_window_us": 700_000}, Reason.REASON_NOT_RESPONDING),
        # Stall of some, and a breached watermark, still have to wait for memory to be scarce.
        ({"psi_some_window_us": 900_000}, Reason.REASON_NONE),
        ({"free_kb": 100}, Reason.REASON_NONE),
    ],
)
def test_thrashing_and_full_stall_are_reasons_while_memory_is_not_scarce(
    policy: Policy, change: dict[str, Any], reason: int
) -> None:
    plenty = replace(CALM, time_ns=SCARCE.time_ns, **change)
    assert decide(policy, plenty).reason == Reason.REASON_NONE
    policy.scarcity.unless_thrashing = True
    assert decide(policy, plenty).reason == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"free_kb": 79_999}, Reason.REASON_NOT_RESPONDING),
        ({"free_kb": 80_000}, Reason.REASON_NONE),
        # Pages that only movable allocations may have do not lie free.
        ({"free_kb": 80_000, "cma_free_kb": 1}, Reason.REASON_NOT_RESPONDING),
        # kswapd goes on to its high watermark, and a good way beyond it.
        ({"free_kb": 80_000, "wmark_high_kb": 40_000}, Reason.REASON_NONE),
        ({"free_kb": 80_000, "wmark_high_kb": 40_001}, Reason.REASON_NOT_RESPONDING),
        ({"free_kb": 79_999, "wmark_high_kb": 39_999}, Reason.REASON_NOT_RESPONDING),
        (
            {"free_kb": 90_000, "wmark_high_kb": 40_000, "protection_kb": 5_001},
            Reason.REASON_NOT_RESPONDING,
        ),
        # What is scarce stays so, whatever lies free.
        ({"free_kb": 90_000, "available_kb": 79_999}, Reason.REASON_NOT_RESPONDING),
    ],
)
def test_nobody_dies_for_what_went_before_while_as_much_as_is_scarce_lies_free(
    policy: Policy, change: dict[str, Any], reason: int
) -> None:
    policy.scarcity.unless_thrashing = True
    stalled = replace(
        CALM,
        time_ns=SCARCE.time_ns,
        psi_some_window_us=900_000,
        psi_full_window_us=900_000,
        refault_file=PAGES_FOR_51,
        **change,
    )
    assert decide(policy, stalled).reason == reason


# -- lmkd's early out --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, Reason.REASON_NONE),
        ({"kswapd_awake": True}, Reason.REASON_LOW_MEM),
        ({"direct_reclaimers": 1}, Reason.REASON_LOW_MEM),
        ({"refault_file": 1}, Reason.REASON_LOW_MEM),
        ({"refault_anon": 1}, Reason.REASON_NONE),
    ],
)
def test_nobody_reclaims_and_nothing_came_back_nothing_is_decided(
    policy: Policy, change: dict[str, Any], reason: int
) -> None:
    sample = replace(SCARCE, free_kb=3_999, **change)
    policy.timing.early_out = True
    assert decide(policy, sample).reason == reason
    policy.timing.early_out = False
    assert decide(policy, sample).reason == Reason.REASON_LOW_MEM


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, Reason.REASON_NONE),
        ({"pgscan_kswapd": 1}, Reason.REASON_LOW_MEM),
        ({"pgscan_direct": 1}, Reason.REASON_LOW_MEM),
        ({"pgrefill": 1}, Reason.REASON_LOW_MEM),
    ],
)
def test_without_tracepoints_what_was_scanned_says_who_reclaims(
    policy: Policy, change: dict[str, Any], reason: int
) -> None:
    policy.timing.early_out = True
    known = Known.ALL & ~Known.RECLAIM & ~Known.COMPRESSION
    sample = replace(SCARCE, free_kb=3_999, known=known, **change)
    assert decide(policy, sample, before=replace(CALM, known=known)).reason == reason


def test_a_look_that_is_no_evaluation_gives_no_reason(policy: Policy) -> None:
    decider = Decider(policy)
    decider.evaluate(CALM)
    assert decider.evaluate(WORST, look=Look.NONE).reason == Reason.REASON_NONE
    assert decider.evaluate(WORST, look=Look.POLL).reason != Reason.REASON_NONE
