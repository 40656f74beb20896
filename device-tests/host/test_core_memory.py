# SPDX-License-Identifier: Apache-2.0
"""How much memory there is: watermarks, zones, swap that memory can hold, swap in use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lmk.policy.core import Decider
from lmk.policy.model import Known, Level, Sample, SignalBit, Verdict
from lmk.policy.text import preset
from lmk.proto.policy_pb2 import Policy

SAMPLE = Sample(
    time_ns=10_000_000_000,
    total_kb=800_000,
    free_kb=100_000,
    available_kb=0,
    wmark_min_kb=3_000,
    wmark_low_kb=4_000,
    wmark_high_kb=5_000,
    swap_total_kb=400_000,
    swap_free_kb=400_000,
    file_kb=60_000,
    inactive_file_kb=20_000,
    anon_lru_kb=90_000,
    shmem_kb=10_000,
)


@pytest.fixture
def policy() -> Policy:
    """As lmkd: watermarks summed over the zones, swap as far as memory can hold it."""
    return preset("lmkd-highperf")


def measured(policy: Policy, sample: Sample) -> Verdict:
    return Decider(policy).evaluate(sample)


@pytest.mark.parametrize(
    ("free_kb", "level"),
    [
        (5_000, Level.NONE),
        (4_999, Level.HIGH),
        (4_000, Level.HIGH),
        (3_999, Level.LOW),
        (3_000, Level.LOW),
        (2_999, Level.MIN),
    ],
)
def test_level_is_the_lowest_watermark_that_free_memory_is_below(
    policy: Policy, free_kb: int, level: Level
) -> None:
    assert measured(policy, replace(SAMPLE, free_kb=free_kb)).level is level


@pytest.mark.parametrize(
    ("change", "level"),
    [
        ({"free_kb": 5_000, "cma_free_kb": 1}, Level.HIGH),
        ({"free_kb": 6_000, "cma_free_kb": 1_000}, Level.NONE),
        ({"free_kb": 1_000, "cma_free_kb": 2_000}, Level.MIN),
        ({"free_kb": 5_000, "protection_kb": 1}, Level.HIGH),
        ({"free_kb": 5_700, "protection_kb": 700}, Level.NONE),
        ({"free_kb": 5_699, "protection_kb": 700}, Level.HIGH),
    ],
)
def test_cma_pages_are_not_free_and_protected_ones_are_not_for_everybody(
    policy: Policy, change: dict[str, Any], level: Level
) -> None:
    assert measured(policy, replace(SAMPLE, **change)).level is level


def test_free_memory_in_one_zone_does_not_make_up_for_the_others(policy: Policy) -> None:
    """The sum is above every mark; the zone that serves most allocations is below `low`."""
    sample = replace(SAMPLE, zones_below=Level.LOW)
    assert measured(policy, sample).level is Level.NONE
    policy.low_mem.watermark_per_zone = True
    assert measured(policy, sample).level is Level.LOW
    assert measured(policy, replace(SAMPLE, free_kb=0)).level is Level.NONE, "the zones alone"


# -- swap --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "div", "free_kb", "inactive_kb", "swap_free_kb", "expected"),
    [
        (1, 1, 100_000, 20_000, 400_000, 120_000),
        (1, 1, 100_000, 20_000, 119_999, 119_999),
        (2, 1, 100_000, 20_000, 400_000, 240_000),
        (5, 2, 100_000, 20_000, 400_000, 300_000),
        (0, 1, 0, 0, 400_000, 400_000),  # 0: whatever swap is free counts as free
        (3, 0, 10_000, 0, 400_000, 30_000),  # a divisor of nothing is none
    ],
)
def test_free_swap_is_what_memory_can_hold_when_compressed(
    policy: Policy,
    ratio: int,
    div: int,
    free_kb: int,
    inactive_kb: int,
    swap_free_kb: int,
    expected: int,
) -> None:
    policy.swap.swap_compression_ratio, policy.swap.swap_compression_ratio_div = ratio, div
    sample = replace(
        SAMPLE, free_kb=free_kb, inactive_file_kb=inactive_kb, swap_free_kb=swap_free_kb
    )
    assert measured(policy, sample).swap_free_kb == expected


@pytest.mark.parametrize(("compression_pct", "expected"), [(300, 360_000), (100, 120_000)])
def test_a_measured_compression_takes_the_place_of_the_assumed(
    policy: Policy, compression_pct: int, expected: int
) -> None:
    sample = replace(SAMPLE, compression_pct=compression_pct, known=Known.ALL)
    assert measured(policy, sample).swap_free_kb == 120_000, "only where the policy says so"
    policy.swap.measure_compression = True
    assert measured(policy, sample).swap_free_kb == expected
    unknown = replace(sample, known=Known.ALL & ~Known.COMPRESSION)
    assert measured(policy, unknown).swap_free_kb == 120_000, "nothing swapped yet: as assumed"


def test_relaxed_available_memory_counts_all_clean_cache_and_what_compression_saves(
    policy: Policy,
) -> None:
    """100,000 free + 60,000 file - 5,000 dirty + 90,000 anon x (3 - 1) / 3, times 3."""
    policy.swap.swap_compression_ratio = 3
    policy.low_mem.relaxed_available_memory = True
    sample = replace(SAMPLE, dirty_kb=5_000, swap_total_kb=4_000_000, swap_free_kb=4_000_000)
    assert measured(policy, sample).swap_free_kb == (155_000 + 60_000) * 3
    assert measured(policy, replace(sample, dirty_kb=9_000_000)).swap_free_kb == 60_000 * 3
    policy.swap.swap_compression_ratio = 1  # nothing saved: lmkd's own reckoning
    assert measured(policy, sample).swap_free_kb == 120_000


@pytest.mark.parametrize(
    ("swap_free_kb", "low"), [(40_001, False), (40_000, False), (39_999, True)]
)
def test_swap_is_low_under_its_share(policy: Policy, swap_free_kb: int, low: bool) -> None:
    verdict = measured(policy, replace(SAMPLE, swap_free_kb=swap_free_kb))
    assert verdict.swap_limit_kb == 40_000
    assert bool(verdict.breached & SignalBit.SWAP) is low


def test_a_device_without_swap_has_low_swap_only_where_the_policy_says_so(policy: Policy) -> None:
    none = replace(SAMPLE, swap_total_kb=0, swap_free_kb=0)
    assert not measured(policy, none).breached & SignalBit.SWAP
    policy.swap.no_swap_is_low = True
    assert measured(policy, none).breached & SignalBit.SWAP
    unknown = replace(none, known=Known.ALL & ~Known.SWAP)
    assert not measured(policy, unknown).breached & SignalBit.SWAP


@pytest.mark.parametrize(
    ("swap_free_kb", "expected"),
    [
        (400_000, 0),
        (300_000, 50),  # 100,000 of 90,000 anon + 10,000 shmem + 100,000
        (299_999, 50),
        (292_000, 51),  # 108,000 of 208,000 = 51.9
        (0, 80),
    ],
)
def test_swap_utilisation_is_what_is_swapped_of_what_could_be(
    policy: Policy, swap_free_kb: int, expected: int
) -> None:
    policy.swap.swap_compression_ratio = 0
    assert measured(policy, replace(SAMPLE, swap_free_kb=swap_free_kb)).swap_util_pct == expected


def test_nothing_to_swap_is_no_utilisation(policy: Policy) -> None:
    sample = replace(SAMPLE, swap_total_kb=0, swap_free_kb=0, anon_lru_kb=0, shmem_kb=0)
    assert measured(policy, sample).swap_util_pct == 0
