# SPDX-License-Identifier: Apache-2.0
"""Low in a moment: the rate at which free memory goes, and how far ahead it is looked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lmk.policy.core import Decider
from lmk.policy.model import Sample, SignalBit, Verdict
from lmk.policy.text import preset
from lmk.proto.policy_pb2 import Policy, Watermark
from lmk.proto.record_pb2 import Reason

_MS = 1_000_000
#: Scarce, with nothing else amiss: free memory is 100 times the low watermark.
START = Sample(
    time_ns=5_000 * _MS, total_kb=1_000_000, free_kb=400_000, available_kb=10_000,
    wmark_min_kb=3_000, wmark_low_kb=4_000, wmark_high_kb=5_000, swap_total_kb=400_000,
    swap_free_kb=400_000, file_kb=100_000, anon_lru_kb=100_000,
)  # fmt: skip


@pytest.fixture
def policy() -> Policy:
    """100 ms ahead of the low watermark."""
    chosen = preset("default")
    chosen.low_mem.watermark_per_zone = False
    chosen.low_mem.level, chosen.low_mem.horizon_ms = Watermark.WATERMARK_LOW, 100
    return chosen


class Device:
    """One whose free memory goes."""

    def __init__(self, policy: Policy, start: Sample = START) -> None:
        self.decider = Decider(policy)
        self.sample = start
        self.decider.evaluate(start)

    def look(self, after_ms: float, lost_kb: int, *, kill: bool = False) -> Verdict:
        """`lost_kb` less are free."""
        self.sample = replace(
            self.sample,
            time_ns=self.sample.time_ns + round(after_ms * _MS),
            free_kb=self.sample.free_kb - lost_kb,
        )
        verdict = self.decider.evaluate(self.sample)
        self.decider.end(self.sample, verdict, killed=kill)
        return verdict

    def lose(self, kb_per_s: int, times: int = 20) -> Verdict:
        """At a steady rate, until nothing of an earlier one is left in it."""
        verdict = self.look(50, kb_per_s // 20)
        for _ in range(times - 1):
            verdict = self.look(50, kb_per_s // 20)
        return verdict


def test_what_is_lost_within_the_horizon_counts_as_gone(policy: Policy) -> None:
    verdict = Device(policy).lose(100_000)
    # 100 ms at 100,000 KiB/s; the rate is halved towards what it was before, 20 times.
    assert verdict.loss_ahead_kb == pytest.approx(10_000, abs=1)
    assert verdict.free_limit_kb == 4_000 + verdict.loss_ahead_kb


@pytest.mark.parametrize(
    ("above_kb", "reason"),
    [(1, Reason.REASON_NONE), (0, Reason.REASON_NONE), (-1, Reason.REASON_LOW_MEM)],
)
def test_free_memory_is_low_once_it_will_be(policy: Policy, above_kb: int, reason: int) -> None:
    device = Device(policy)
    limit_kb = device.lose(100_000).free_limit_kb
    # Too soon after the last look for the rate to be reckoned anew.
    verdict = device.look(1, device.sample.free_kb - limit_kb - above_kb)
    assert verdict.free_limit_kb == limit_kb
    assert verdict.reason == reason
    assert bool(verdict.breached & SignalBit.FREE) == (reason != Reason.REASON_NONE)


def test_what_no_allocation_may_use_is_no_reserve(policy: Policy) -> None:
    protected = Device(policy, replace(START, protection_kb=7_000)).lose(100_000)
    assert protected.free_limit_kb == 4_000 + 7_000 + protected.loss_ahead_kb


def test_memory_that_comes_back_is_no_loss(policy: Policy) -> None:
    device = Device(policy)
    device.lose(100_000)
    assert device.lose(-100_000).loss_ahead_kb == 0


def test_the_rate_is_that_of_25_ms_at_least(policy: Policy) -> None:
    device = Device(policy)
    assert device.look(24.999, 10_000).loss_ahead_kb == 0
    # 10,000 KiB in 25 ms are 400,000 KiB/s; half of it, since it was 0 before; 100 ms of that.
    assert device.look(0.001, 0).loss_ahead_kb == 20_000


def test_it_has_to_be_scarce_all_the_same(policy: Policy) -> None:
    plenty = Device(policy, replace(START, available_kb=500_000))
    limit_kb = plenty.lose(100_000).free_limit_kb
    assert plenty.look(1, plenty.sample.free_kb - limit_kb + 5_000).reason == Reason.REASON_NONE


def test_a_kill_that_gave_memory_back_is_no_gain_in_the_rate(policy: Policy) -> None:
    device = Device(policy)
    ahead_kb = device.lose(100_000).loss_ahead_kb
    device.look(1, 0, kill=True)
    # Its memory is back after 80 ms: whoever took memory goes on taking it.
    assert device.look(80, -30_000).loss_ahead_kb == ahead_kb
    assert device.look(50, 5_000).loss_ahead_kb == pytest.approx(ahead_kb, abs=1)


def test_without_a_horizon_only_the_watermark_counts(policy: Policy) -> None:
    policy.low_mem.horizon_ms = 0
    device = Device(policy)
    verdict = device.lose(100_000)
    assert (verdict.loss_ahead_kb, verdict.free_limit_kb) == (0, 4_000)
    assert device.look(1, device.sample.free_kb - 4_000).reason == Reason.REASON_NONE
    assert device.look(1, 1).reason == Reason.REASON_LOW_MEM
