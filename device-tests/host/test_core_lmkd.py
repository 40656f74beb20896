# SPDX-License-Identifier: Apache-2.0
"""lmkd's presets against lmkd's own rules: on a recording, and on rows worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lmkd_reference import Limits, Lmkd, Outcome, Reading, read_samples

from lmk.policy import core
from lmk.policy.core import Decider
from lmk.policy.model import Known, Look, Process, Sample
from lmk.policy.text import preset
from lmk.proto.policy_pb2 import Policy
from lmk.proto.record_pb2 import Reason

BURST = read_samples(Path(__file__).parents[1] / "samples/burst.csv")
LIMITS = {
    "lmkd-highperf": Limits(),
    "lmkd-lowram": Limits(
        thrashing_limit=30, thrashing_limit_decay=50, thrashing_limit_critical=90
    ),
}
_MS = 1_000_000


def sample_of(reading: Reading) -> Sample:
    """What the handlers would have measured where lmkd read this; without tracepoints."""
    return Sample(
        time_ns=reading.ms * _MS,
        total_kb=reading.total_kb,
        free_kb=reading.free_kb,
        available_kb=reading.available_kb,
        wmark_min_kb=reading.min_kb,
        wmark_low_kb=reading.low_kb,
        wmark_high_kb=reading.high_kb,
        swap_total_kb=reading.swap_total_kb,
        swap_free_kb=reading.swap_free_kb,
        file_kb=reading.file_kb,
        inactive_file_kb=reading.inactive_file_kb,
        anon_lru_kb=reading.anon_kb,
        shmem_kb=reading.shmem_kb,
        dirty_kb=reading.dirty_kb,
        refault_file=reading.refault_file,
        refault_anon=reading.refault_anon,
        pgscan_kswapd=reading.pgscan_kswapd,
        pgscan_direct=reading.pgscan_direct,
        pgrefill=reading.pgrefill,
        full_avg10_pct100=round(reading.full_avg10 * 100),
        known=Known.ALL & ~Known.RECLAIM & ~Known.COMPRESSION,
    )


class Core:
    """The decision core, asked and answered as :class:`Lmkd`."""

    def __init__(self, policy: Policy) -> None:
        self._decider = Decider(policy)

    def call(self, reading: Reading, *, critical_event: bool) -> Outcome:
        sample = sample_of(reading)
        look = Look.COMPLETE if critical_event else Look.POLL
        verdict = self._decider.evaluate(sample, look=look)
        killed = verdict.reason != Reason.REASON_NONE
        self._decider.end(sample, verdict, killed=killed)
        name = Reason.Name(verdict.reason).removeprefix("REASON_") if killed else None
        return Outcome(
            name,
            verdict.floor if killed else None,
            verdict.thrashing_pct,
            verdict.thrashing_limit_pct,
        )


def runs(name: str, limits: Limits, readings: list[Reading]) -> tuple[list[Outcome], list[Outcome]]:
    """What the core and what lmkd's rules say of each reading; a `full` event every 50th."""
    policy = preset(name)
    policy.thrashing.filecache_min_kb = limits.filecache_min_kb
    policy.swap.swap_util_max_pct = limits.swap_util_max
    policy.stall.stall_limit_critical_pct = limits.stall_limit_critical
    policy.swap.swap_compression_ratio = limits.swap_compression_ratio
    ours, theirs = Core(policy), Lmkd(limits)
    events = [index % 50 == 49 for index in range(len(readings))]
    return (
        [
            ours.call(each, critical_event=event)
            for each, event in zip(readings, events, strict=True)
        ],
        [
            theirs.call(each, critical_event=event)
            for each, event in zip(readings, events, strict=True)
        ],
    )


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"swap_compression_ratio": 0},
        {"swap_util_max": 40, "swap_compression_ratio": 0},
        {"stall_limit_critical": 60, "swap_compression_ratio": 0},
        {"swap_free_low_percentage": 10, "filecache_min_kb": 4},
    ],
    ids=lambda change: "-".join(change) or "defaults",
)
def test_a_recorded_burst_gives_lmkds_reasons_floors_and_limits(
    name: str, change: dict[str, int]
) -> None:
    ours, theirs = runs(name, replace(LIMITS[name], **change), BURST)
    assert ours == theirs
    assert len({each.reason for each in theirs}) >= 3, "the recording has more than one reason"


def test_the_recording_shows_each_reason_of_a_device_with_no_file_cache() -> None:
    seen = {
        outcome.reason
        for change in ({}, {"swap_compression_ratio": 0}, {"swap_util_max": 40})
        for outcome in runs("lmkd-highperf", replace(Limits(), **change), BURST)[1]
    }
    assert {"NOT_RESPONDING", "LOW_MEM_AND_SWAP", "LOW_MEM"} <= seen


# -- by hand: a device that thrashes its file cache --------------------------------------------

#: 1 GB; 200,000 KiB = 50,000 pages of file cache; watermarks 4,000, 5,000, 6,000 KiB; half of
#: 400,000 KiB of swap free. Thrashing is 100 x refaults / 50,001.
DEVICE = Reading(
    ms=0, total_kb=1_000_000, free_kb=4_500, available_kb=90_000, swap_total_kb=400_000,
    swap_free_kb=200_000, anon_kb=300_000, inactive_file_kb=60_000, file_kb=200_000, dirty_kb=0,
    shmem_kb=1_000, refault_anon=0, refault_file=0, pgscan_kswapd=0, pgscan_direct=0, pgrefill=0,
    some_us=0, full_us=0, full_avg10=0.0, min_kb=4_000, low_kb=5_000, high_kb=6_000,
)  # fmt: skip

#: (changes of DEVICE; event; expected reason, floor, thrashing %, limit %), one call after the
#: other. highperf: limit 100 %, decay 10, critical 300. Worked out by hand
#: from __mp_event_psi() (AOSP system/memory/lmkd/lmkd.cpp).
HIGHPERF_ROWS = [
    # The first call: nothing refaulted yet that is known of; below low, so LOW_MEM.
    ({"ms": 0}, False, ("LOW_MEM", 701, 0, 100)),
    # After the kill thrashing starts anew (base: this call).
    ({"ms": 100, "refault_file": 100}, False, ("LOW_MEM", 701, 0, 100)),
    # Rebased again by the kill. Nobody reclaims and nothing came back: early out.
    ({"ms": 200, "refault_file": 100}, False, (None, None, 0, 100)),
    # 50,001 pages on 50,001: 100 %, at the limit: not over it.
    ({"ms": 300, "refault_file": 50_101}, False, ("LOW_MEM", 701, 100, 100)),
    # Rebased at 50,500 by the kill, then 101 %.
    ({"ms": 400, "refault_file": 50_500}, False, ("LOW_MEM", 701, 0, 100)),
    ({"ms": 500, "refault_file": 50_501, "free_kb": 5_000}, False, (None, None, 0, 100)),
    ({"ms": 600, "refault_file": 101_003}, False, ("LOW_MEM_AND_THRASHING", 201, 101, 100)),
    # The limit is 90 now, thrashing starts anew, the file cache is enough (0 asked for).
    ({"ms": 700, "refault_file": 101_004}, False, ("LOW_MEM", 701, 0, 90)),
    # 0, since rebased; then 91 % in direct reclaim, not below low.
    ({"ms": 800, "refault_file": 101_005, "free_kb": 5_000}, False, (None, None, 0, 90)),
    (
        {"ms": 900, "refault_file": 146_506, "free_kb": 5_000, "pgscan_direct": 5},
        False,
        ("DIRECT_RECL_AND_THRASHING", 201, 91, 90),
    ),
    # 90 - 10 % of it = 81.
    (
        {"ms": 1_000, "refault_file": 146_507, "free_kb": 5_000, "pgscan_direct": 5},
        False,
        (None, None, 0, 81),
    ),
    # Critical: over 300 % takes perceptible apps too.
    (
        {"ms": 1_100, "refault_file": 296_510, "pgscan_direct": 5},
        False,
        ("LOW_MEM_AND_THRASHING", 0, 300, 81),
    ),
    # 72 (81 - 10 % = 72.9, whole percent). min breached in the call after a kill.
    (
        {"ms": 1_200, "refault_file": 296_511, "free_kb": 3_999, "pgscan_direct": 5},
        False,
        ("PRESSURE_AFTER_KILL", 0, 0, 72),
    ),
    # The `full` event outdoes what follows.
    (
        {"ms": 1_300, "refault_file": 296_512, "swap_free_kb": 0, "pgscan_direct": 6},
        True,
        ("NOT_RESPONDING", 0, 0, 72),
    ),
    # Over a second after the last base (1,300): 2,301 - 1,300 = 1,001 ms is one window. 40 % is
    # under the limit, so it is halved: 20; the limit is whole again.
    ({"ms": 1_400, "refault_file": 296_513, "free_kb": 5_000}, False, (None, None, 0, 72)),
    ({"ms": 2_401, "refault_file": 316_514, "free_kb": 5_000}, False, (None, None, 20, 100)),
    # Two windows: 110 % over the limit, but more than one second: quartered.
    ({"ms": 4_402, "refault_file": 371_517, "free_kb": 5_000}, False, (None, None, 27, 100)),
    # One window, over the limit: it stands as it is.
    (
        {"ms": 5_403, "refault_file": 426_519},
        False,
        ("LOW_MEM_AND_THRASHING", 201, 110, 100),
    ),
]


def test_rows_worked_out_by_hand_for_highperf() -> None:
    ours, theirs = Core(preset("lmkd-highperf")), Lmkd()
    for number, (change, event, expected) in enumerate(HIGHPERF_ROWS, 1):
        reading = replace(DEVICE, **change)
        assert ours.call(reading, critical_event=event) == Outcome(*expected), f"row {number}"
        assert theirs.call(reading, critical_event=event) == Outcome(*expected), f"row {number}"


#: lowram: limit 30 %, decay 50, critical 90; swap low below 10 % = 40,000 KiB of what can be used.
LOWRAM_ROWS = [
    ({"ms": 0, "free_kb": 5_000}, False, (None, None, 0, 30)),
    ({"ms": 100, "refault_file": 15_501}, False, ("LOW_MEM_AND_THRASHING", 201, 31, 30)),
    ({"ms": 200, "refault_file": 15_502, "free_kb": 5_000}, False, (None, None, 0, 15)),
    ({"ms": 300, "refault_file": 23_503}, False, ("LOW_MEM_AND_THRASHING", 201, 16, 15)),
    # Low swap asks for the limit that does not decay: 16 % is not over 30.
    (
        {"ms": 400, "refault_file": 23_504, "swap_free_kb": 39_999, "free_kb": 5_000},
        False,
        (None, None, 0, 7),
    ),
    (
        {"ms": 500, "refault_file": 31_505, "swap_free_kb": 39_999, "free_kb": 5_000},
        False,
        (None, None, 16, 7),
    ),
    (
        {"ms": 600, "refault_file": 39_006, "swap_free_kb": 39_999, "free_kb": 5_000},
        False,
        ("LOW_SWAP_AND_THRASHING", 201, 31, 7),
    ),
    # 40,000 is not low; 39,999 is: swap and watermark.
    (
        {"ms": 700, "refault_file": 39_007, "swap_free_kb": 40_000},
        False,
        ("LOW_MEM", 701, 0, 7),
    ),
    (
        {"ms": 800, "refault_file": 39_008, "swap_free_kb": 39_999},
        False,
        ("LOW_MEM_AND_SWAP", 201, 0, 7),
    ),
    # Free swap counts only as far as memory can hold it (ratio 1): 5,000 + 34,999 < 40,000.
    (
        {"ms": 900, "refault_file": 39_009, "inactive_file_kb": 35_500},
        False,
        ("LOW_MEM", 701, 0, 7),
    ),
    (
        {"ms": 1_000, "refault_file": 39_010, "inactive_file_kb": 35_499},
        False,
        ("LOW_MEM_AND_SWAP", 201, 0, 7),
    ),
    # Critical thrashing (90 %) takes the protection away: 45,001 pages.
    (
        {"ms": 1_100, "refault_file": 39_011, "free_kb": 5_000},
        False,
        (None, None, 0, 7),
    ),
    (
        {"ms": 1_200, "refault_file": 84_012, "swap_free_kb": 39_999},
        False,
        ("LOW_SWAP_AND_THRASHING", 0, 90, 7),
    ),
]


def test_rows_worked_out_by_hand_for_lowram() -> None:
    ours, theirs = Core(preset("lmkd-lowram")), Lmkd(LIMITS["lmkd-lowram"])
    for number, (change, event, expected) in enumerate(LOWRAM_ROWS, 1):
        reading = replace(DEVICE, **change)
        assert ours.call(reading, critical_event=event) == Outcome(*expected), f"row {number}"
        assert theirs.call(reading, critical_event=event) == Outcome(*expected), f"row {number}"


def test_an_early_out_leaves_the_file_cache_watched() -> None:
    """lmkd ends such a call before it comes to look at the cache."""
    policy = preset("lmkd-highperf")
    policy.thrashing.filecache_min_kb = 250_000
    ours, theirs = Core(policy), Lmkd(Limits(filecache_min_kb=250_000))
    rows = [
        {"ms": 0, "free_kb": 5_000},
        {"ms": 100, "refault_file": 60_000},  # thrashing: the cache is watched from here
        {"ms": 200, "refault_file": 60_000, "free_kb": 5_000, "file_kb": 300_000},  # early out
        {"ms": 300, "refault_file": 60_001, "free_kb": 5_000},
    ]
    outcomes = []
    for row in rows:
        reading = replace(DEVICE, **row)
        outcomes.append(theirs.call(reading, critical_event=False))
        assert ours.call(reading, critical_event=False) == outcomes[-1]
    assert [each.reason for each in outcomes] == [
        None,
        "LOW_MEM_AND_THRASHING",
        None,
        "LOW_FILECACHE_AFTER_THRASHING",
    ]


def test_choice_within_a_class_goes_by_age_down_to_201_and_by_size_from_there() -> None:
    policy = preset("lmkd-highperf")
    old_small = Process(pid=10, adj=900, anon_kb=10, adj_since_ns=1)
    new_large = Process(pid=11, adj=900, anon_kb=99, adj_since_ns=2)
    assert core.choose(policy, [new_large, old_small], 0)[0] is old_small
    near = [replace(old_small, adj=201), replace(new_large, adj=201)]
    assert core.choose(policy, near, 0)[0] == near[0]
    perceptible = [replace(old_small, adj=200), replace(new_large, adj=200)]
    assert core.choose(policy, perceptible, 0)[0] == perceptible[1]
