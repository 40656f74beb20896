# SPDX-License-Identifier: Apache-2.0
"""A device for the decision core's tests: calm, scarce, at its worst; and a plain policy for it."""

from __future__ import annotations

from dataclasses import replace

from lmk.policy.core import Decider
from lmk.policy.model import Sample, Verdict
from lmk.policy.text import preset
from lmk.proto.policy_pb2 import Policy, Watermark

NOBODY = 1001
SECOND = 1_000_000_000

#: A device with nothing wrong, in KiB: 800 MB, plenty available, swap empty.
CALM = Sample(
    time_ns=10 * SECOND,
    total_kb=800_000,
    free_kb=300_000,
    available_kb=400_000,
    wmark_min_kb=3_000,
    wmark_low_kb=4_000,
    wmark_high_kb=5_000,
    swap_total_kb=400_000,
    swap_free_kb=400_000,
    file_kb=200_000,
    anon_lru_kb=100_000,
)
#: Half a second later memory is scarce (79,999 of 800,000 is under 10 %), nothing else is wrong.
SCARCE = replace(CALM, time_ns=CALM.time_ns + SECOND // 2, available_kb=79_999)

#: Pages of 4 KiB that came back, in percent of 200,000 KiB of file LRU (and a page, as lmkd).
PAGES_FOR_50, PAGES_FOR_51 = 25_500, 25_501
PAGES_FOR_149, PAGES_FOR_150 = 75_001, 75_002
#: Free swap with which 50 and 51 % of what is swapped or could be are swapped.
SWAP_FREE_FOR_50, SWAP_FREE_FOR_51 = 295_919, 295_918
#: All that can be wrong at once.
WORST = replace(
    SCARCE,
    free_kb=0,
    swap_free_kb=0,
    psi_some_window_us=1_000_000,
    psi_full_window_us=1_000_000,
    refault_file=PAGES_FOR_150,
    direct_reclaimers=3,
    reclaim_longest_us=400_000,
    file_kb=0,
)


def plain_policy() -> Policy:
    """Each reason with a floor of its own, and none of the refinements."""
    chosen = preset("default")
    chosen.scarcity.available_below_pct = 10
    chosen.scarcity.unless_thrashing = False
    chosen.stall.since_kill = False
    chosen.low_mem.horizon_ms = 0
    chosen.stall.psi_partial_stall_ms, chosen.stall.partial_stall_min_score = 100, 701
    chosen.stall.psi_complete_stall_ms, chosen.stall.complete_stall_min_score = 700, 101
    chosen.stall.stall_limit_critical_pct = 100
    chosen.swap.swap_free_low_percentage = 10
    chosen.swap.low_swap_level = Watermark.WATERMARK_HIGH
    chosen.swap.swap_util_max_pct, chosen.swap.swap_util_min_score = 50, 102
    chosen.swap.measure_compression = False
    chosen.thrashing.thrashing_limit_pct = 50
    chosen.thrashing.thrashing_limit_decay_pct = 20
    chosen.thrashing.thrashing_limit_critical_pct = 150
    chosen.thrashing.count_anon_refaults = False
    chosen.thrashing.filecache_min_kb, chosen.thrashing.filecache_min_score = 60_000, 202
    chosen.low_mem.level = Watermark.WATERMARK_LOW
    chosen.low_mem.lowmem_min_oom_score = 702
    chosen.low_mem.pressure_after_kill_min_score = 103
    chosen.low_mem.watermark_per_zone = False
    chosen.reclaim.direct_reclaim_threshold_ms, chosen.reclaim.direct_reclaim_min_score = 300, 104
    chosen.floors.perceptible_min_score, chosen.floors.critical_min_score = 201, 105
    return chosen


def decide(policy: Policy, sample: Sample, *, before: Sample = CALM) -> Verdict:
    """The verdict on `sample`, on a device that was as `before` half a second ago."""
    decider = Decider(policy)
    decider.evaluate(before)
    return decider.evaluate(sample)
