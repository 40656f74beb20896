# SPDX-License-Identifier: Apache-2.0
"""Who may die, and who first: rules that hold over whole populations."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.policy import core
from lmk.policy.model import Process, ProcessFlag, Refusal
from lmk.policy.text import preset
from lmk.proto.policy_pb2 import Order, Policy

#: Alike in pairs, so that every rule of the order has a pair that only it tells apart.
POPULATION = [
    Process(pid=10, adj=0, anon_kb=400_000, start_ns=1),
    Process(pid=11, adj=200, anon_kb=90_000, start_ns=2),
    Process(pid=12, adj=900, anon_kb=10_000, start_ns=3),
    Process(pid=13, adj=900, anon_kb=4_000, file_kb=4_000, swap_kb=4_000, start_ns=4),
    Process(pid=14, adj=900, anon_kb=1_000, shmem_kb=90_000, start_ns=5),
    Process(pid=15, adj=950, anon_kb=1_000, start_ns=6),
    Process(pid=16, adj=950, anon_kb=1_000, start_ns=7),
    Process(pid=17, adj=950, anon_kb=1_000, start_ns=7),
]
#: adj; then gain (12,000 before 10,000 before 1,000: shmem does not count); youngest; pid.
ORDER = [17, 16, 15, 13, 12, 14, 11, 10]


@pytest.fixture
def policy() -> Policy:
    return preset("default")


def test_the_order_is_the_same_whatever_order_the_processes_come_in(policy: Policy) -> None:
    for processes in itertools.permutations(POPULATION, 5):
        expected = [pid for pid in ORDER if pid in {each.pid for each in processes}]
        assert [each.pid for each in core.choose(policy, processes, -999)] == expected


processes = st.builds(
    Process,
    pid=st.integers(2, 40),
    adj=st.sampled_from([-1000, -900, 0, 200, 700, 900, 999]),
    uid=st.sampled_from([0, 1000, 10_050, 99_000]),
    start_ns=st.integers(1, 4),
    anon_kb=st.integers(0, 3),
    file_kb=st.integers(0, 3),
    swap_kb=st.integers(0, 3),
    shmem_kb=st.integers(0, 3),
    flags=st.sampled_from([ProcessFlag.NONE, *ProcessFlag]),
)


@given(st.lists(processes, max_size=8, unique_by=lambda each: each.pid), st.integers(-1000, 1000))
def test_a_victim_is_never_below_the_floor_nor_protected(
    population: list[Process], floor: int
) -> None:
    forbidden = (
        ProcessFlag.INIT
        | ProcessFlag.KTHREAD
        | ProcessFlag.PROTECTED
        | ProcessFlag.DYING
        | ProcessFlag.NO_MM
    )
    for victim in core.choose(preset("default"), population, floor):
        assert victim.adj >= floor
        assert victim.adj > -1000
        assert not victim.flags & forbidden


@given(
    processes,
    processes,
    processes,
    st.sampled_from([Order.ORDER_LARGEST_GAIN, Order.ORDER_OLDEST, Order.ORDER_LARGEST_RSS]),
    st.sampled_from([-1000, 200, 1000]),
    st.sampled_from([0, 100, 300]),
)
def test_rank_is_a_total_order(
    a: Process, b: Process, c: Process, order: Order.ValueType, largest_up_to: int, ratio: int
) -> None:
    chosen = preset("default")
    chosen.kills.order, chosen.kills.largest_rss_up_to_score = order, largest_up_to

    def rank(x: Process, y: Process) -> int:
        return core.rank(chosen, x, y, compression_pct=ratio)

    assert rank(a, b) == -rank(b, a)
    if rank(a, b) == 0:
        assert (a.pid, a.start_ns) == (b.pid, b.start_ns)
    if rank(a, b) > 0 and rank(b, c) > 0:
        assert rank(a, c) > 0


#: Of one oom_score_adj; each is first by one measure.
LARGE = Process(pid=60, adj=920, anon_kb=50_000, shmem_kb=0, adj_since_ns=30, start_ns=3)
OLD = Process(pid=61, adj=920, anon_kb=10_000, adj_since_ns=10, start_ns=2)
SHARING = Process(pid=62, adj=920, anon_kb=20_000, shmem_kb=60_000, adj_since_ns=20, start_ns=1)
SWAPPED = Process(pid=63, adj=920, anon_kb=1_000, swap_kb=90_000, adj_since_ns=40, start_ns=4)
ALIKE = [LARGE, OLD, SHARING, SWAPPED]


@pytest.mark.parametrize(
    ("order", "compression_pct", "first_to_last"),
    [
        (Order.ORDER_LARGEST_GAIN, 0, [SWAPPED, LARGE, SHARING, OLD]),
        # 90,000 KiB that zram holds in a third give back 30,000.
        (Order.ORDER_LARGEST_GAIN, 300, [LARGE, SWAPPED, SHARING, OLD]),
        (Order.ORDER_OLDEST, 0, [OLD, SHARING, LARGE, SWAPPED]),
        (Order.ORDER_LARGEST_RSS, 0, [SHARING, LARGE, OLD, SWAPPED]),
    ],
)
def test_the_policy_says_who_goes_first_at_one_adj(
    policy: Policy,
    order: Order.ValueType,
    compression_pct: int,
    first_to_last: list[Process],
) -> None:
    policy.kills.order = order
    for before, after in itertools.pairwise(first_to_last):
        assert core.rank(policy, before, after, compression_pct=compression_pct) > 0


def test_up_to_a_score_the_largest_goes_first_whatever_the_order(policy: Policy) -> None:
    policy.kills.order, policy.kills.largest_rss_up_to_score = Order.ORDER_OLDEST, 200
    for adj, first in ((200, LARGE), (201, OLD)):
        pair = (replace(LARGE, adj=adj), replace(OLD, adj=adj))
        victim = pair[0] if core.rank(policy, *pair) > 0 else pair[1]
        assert victim.pid == first.pid


CACHED = Process(pid=50, adj=900, uid=10_050, anon_kb=50_000, start_ns=9)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({}, Refusal.NONE),
        ({"pid": 1}, Refusal.INIT),
        ({"flags": ProcessFlag.INIT}, Refusal.INIT),
        ({"flags": ProcessFlag.KTHREAD}, Refusal.KTHREAD),
        ({"adj": -1000}, Refusal.ADJ_NEVER),
        ({"flags": ProcessFlag.PROTECTED}, Refusal.PROTECTED),
        ({"adj": 700}, Refusal.BELOW_FLOOR),
        ({"adj": 701}, Refusal.NONE),
        ({"flags": ProcessFlag.DYING}, Refusal.DYING),
        ({"flags": ProcessFlag.NO_MM}, Refusal.NO_MM),
        ({"flags": ProcessFlag.SHARED_MM}, Refusal.NONE),
    ],
)
def test_each_reason_not_to_kill_is_named(
    policy: Policy, change: dict[str, object], refusal: Refusal
) -> None:
    assert core.refusal(policy, replace(CACHED, **change), 701) is refusal  # type: ignore[arg-type]


@pytest.mark.parametrize("floor", [-1000, -999, 0, 1000])
def test_never_kill_rules_hold_whatever_the_floor(policy: Policy, floor: int) -> None:
    assert core.refusal(policy, replace(CACHED, pid=1), floor) is Refusal.INIT
    assert core.refusal(policy, replace(CACHED, adj=-1000), floor) is Refusal.ADJ_NEVER
    for flag in (ProcessFlag.KTHREAD, ProcessFlag.PROTECTED):
        assert core.refusal(policy, replace(CACHED, flags=flag), floor) is not Refusal.NONE


def test_uid_ranges_bound_the_victims_at_both_ends() -> None:
    policy = preset("default")
    policy.only_uids.add(first=10_000, last=10_999)
    policy.only_uids.add(first=99_000, last=99_000)
    policy.protected_uids.add(first=10_500, last=10_599)
    verdicts = {
        uid: core.refusal(policy, replace(CACHED, uid=uid), 0)
        for uid in (9_999, 10_000, 10_499, 10_500, 10_599, 10_600, 10_999, 11_000, 98_999, 99_000)
    }
    allowed = [uid for uid, verdict in verdicts.items() if verdict is Refusal.NONE]
    assert allowed == [10_000, 10_499, 10_600, 10_999, 99_000]
    assert {verdicts[uid] for uid in (9_999, 10_500, 11_000)} == {Refusal.UID}
