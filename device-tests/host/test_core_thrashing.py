# SPDX-License-Identifier: Apache-2.0
"""Thrashing: growth, how it fades, how its limit falls with kills and recovers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lmk.policy.core import Decider
from lmk.policy.model import Look, Sample, Verdict
from lmk.policy.text import preset
from lmk.proto.policy_pb2 import Policy
from lmk.proto.record_pb2 import Reason

_MS = 1_000_000
#: 99,996 KiB of file LRU: with lmkd's one page more, 25,000 pages. 250 refaults are 1 %.
START = Sample(
    time_ns=5_000 * _MS, total_kb=800_000, free_kb=3_999, wmark_min_kb=3_000, wmark_low_kb=4_000,
    wmark_high_kb=5_000, swap_total_kb=400_000, swap_free_kb=400_000, file_kb=99_996,
    inactive_file_kb=90_000, anon_lru_kb=100_000,
)  # fmt: skip
ONE_PERCENT = 250


@pytest.fixture
def policy() -> Policy:
    """A limit of 40 %, that falls by 25 % with each kill; nothing but thrashing kills."""
    chosen = preset("lmkd-highperf")
    chosen.thrashing.thrashing_limit_pct = 40
    chosen.thrashing.thrashing_limit_decay_pct = 25
    chosen.low_mem.lowmem_min_oom_score = 1001
    chosen.low_mem.pressure_after_kill_min_score = 1001
    return chosen


class Device:
    """One whose file pages come back, and a decider that looks at it."""

    def __init__(self, policy: Policy) -> None:
        self.decider = Decider(policy)
        self.sample = START
        self.look(0, 0)

    def look(self, after_ms: int, percent: float, *, kill: bool = False, anon: int = 0) -> Verdict:
        """`percent` more of the file cache refaulted, `anon` more anonymous pages."""
        self.sample = replace(
            self.sample,
            time_ns=self.sample.time_ns + after_ms * _MS,
            refault_file=self.sample.refault_file + round(percent * ONE_PERCENT),
            refault_anon=self.sample.refault_anon + anon,
        )
        verdict = self.decider.evaluate(self.sample, look=Look.POLL)
        self.decider.end(self.sample, verdict, killed=kill)
        return verdict


def test_refaults_of_the_running_second_add_up(policy: Policy) -> None:
    device = Device(policy)
    assert device.look(400, 12).thrashing_pct == 12
    assert device.look(400, 8).thrashing_pct == 20
    assert device.look(200, 5.9).thrashing_pct == 25, "whole percent, exactly one second"


@pytest.mark.parametrize(
    ("grown", "after_ms", "carried"),
    [
        (32, 1_001, 16),  # one second, under the limit: half
        (39, 1_999, 19),
        (40, 1_999, 40),  # at the limit: it stands
        (41, 1_999, 41),
        (41, 2_000, 10),  # two seconds: a quarter, whatever the limit
        (32, 3_500, 4),
        (64, 31_999, 0),
        (64, 40_000, 0),
        (64, 100_000_000, 0),
    ],
)
def test_what_was_before_fades_by_half_with_each_second(
    policy: Policy, grown: int, after_ms: int, carried: int
) -> None:
    device = Device(policy)
    assert device.look(after_ms, grown).thrashing_pct == carried
    assert device.look(500, 3).thrashing_pct == carried + 3, "until the next second has passed"
    assert device.look(600, 0).thrashing_pct == 1, "3 % halved; what was carried is gone"


def test_the_limit_falls_with_kills_for_thrashing_and_is_whole_after_a_second(
    policy: Policy,
) -> None:
    device = Device(policy)
    first = device.look(100, 41, kill=True)
    assert (first.reason, first.thrashing_limit_pct) == (Reason.REASON_LOW_MEM_AND_THRASHING, 40)
    assert device.look(100, 5).thrashing_limit_pct == 30
    second = device.look(100, 31, kill=True)
    assert (second.reason, second.thrashing_pct) == (Reason.REASON_LOW_MEM_AND_THRASHING, 31)
    after = device.look(100, 0)
    assert (after.thrashing_pct, after.thrashing_limit_pct) == (0, 22)
    device.look(950, 0)  # 1,050 ms since the second kill was looked after
    assert device.look(100, 0).thrashing_limit_pct == 40


def test_a_verdict_that_killed_nobody_leaves_the_limit_alone(policy: Policy) -> None:
    device = Device(policy)
    assert device.look(100, 41).reason == Reason.REASON_LOW_MEM_AND_THRASHING
    assert device.look(100, 0).thrashing_limit_pct == 40


def test_a_kill_for_another_reason_leaves_the_limit_alone_but_starts_thrashing_anew(
    policy: Policy,
) -> None:
    policy.low_mem.lowmem_min_oom_score = 701
    device = Device(policy)
    killed = device.look(100, 20, kill=True)
    assert (killed.reason, killed.thrashing_pct) == (Reason.REASON_LOW_MEM, 20)
    after = device.look(100, 7)
    assert (after.thrashing_pct, after.thrashing_limit_pct) == (0, 40)
    assert device.look(100, 7).thrashing_pct == 7


@pytest.mark.parametrize(("decay", "limits"), [(0, [40, 40]), (100, [0, 0]), (50, [20, 10])])
def test_decay_is_a_share_of_the_limit_now(policy: Policy, decay: int, limits: list[int]) -> None:
    policy.thrashing.thrashing_limit_decay_pct = decay
    device = Device(policy)
    device.look(100, 41, kill=True)
    device.look(100, 0)
    seen = [device.look(100, 41, kill=True).thrashing_limit_pct]
    seen.append(device.look(100, 0).thrashing_limit_pct)
    assert seen == limits


def test_anonymous_refaults_count_where_the_policy_says_so(policy: Policy) -> None:
    """10,000 pages of both came back, of 199,996 KiB of LRU and a page: 20 %."""
    assert Device(policy).look(100, 0, anon=10_000).thrashing_pct == 0
    policy.thrashing.count_anon_refaults = True
    assert Device(policy).look(100, 0, anon=10_000).thrashing_pct == 20
    assert Device(policy).look(100, 20, anon=5_000).thrashing_pct == 20


def test_the_highest_since_the_last_kill_is_kept_for_the_report(policy: Policy) -> None:
    device = Device(policy)
    device.look(100, 30)
    assert device.look(1_500, 0).thrashing_max_pct == 30
    assert device.look(100, 45, kill=True).thrashing_max_pct == 60, "15 carried, 45 more"
    assert device.look(100, 2).thrashing_max_pct == 0


def test_a_device_without_file_cache_is_measured_against_one_page(policy: Policy) -> None:
    device = Device(policy)
    device.sample = replace(device.sample, file_kb=0)
    device.look(2_000, 0)
    assert device.look(100, 1).thrashing_pct == 25_000
    assert device.look(100, 1_000_000).thrashing_pct == 1_000_000, "and no further"


def test_pages_of_another_size_weigh_what_they_are(policy: Policy) -> None:
    device = Device(policy)
    device.sample = replace(device.sample, page_kb=16, file_kb=99_984)  # 6,250 pages with one more
    device.look(2_000, 0)
    assert device.look(100, 1).thrashing_pct == 4
