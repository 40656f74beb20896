# SPDX-License-Identifier: Apache-2.0
"""What a policy's rules for apps make of a process: each effect just under, at and just over."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.policy import core, preset
from lmk.policy.model import Process, Refusal
from lmk.proto.policy_pb2 import AppRule, Order, Policy

PLAIN = Process(pid=70, adj=900, anon_kb=10_000, start_ns=1)
RULED = Process(pid=71, adj=900, anon_kb=10_000, start_ns=1, rule=1)


def ruled(*rules: AppRule) -> Policy:
    policy = preset("default")
    policy.rules.extend(rules)
    return policy


def first(policy: Policy, *processes: Process) -> int:
    return core.choose(policy, processes, -999)[0].pid


# -- whom a rule is for ------------------------------------------------------------------------


def test_uids_are_matched_at_both_ends_and_the_first_rule_counts() -> None:
    rules = [AppRule(package="com.example"), AppRule(), AppRule()]
    rules[1].uids.first, rules[1].uids.last = 10_100, 10_109
    rules[2].uids.first, rules[2].uids.last = 10_105, 10_200
    found = {
        uid: core.uid_rule(ruled(*rules), uid)
        for uid in (0, 1, 10_099, 10_100, 10_109, 10_110, 10_200, 10_201, 1_010_100)
    }
    assert found == {
        0: 0, 1: 0, 10_099: 0, 10_100: 2, 10_109: 2, 10_110: 3, 10_200: 3, 10_201: 0, 1_010_100: 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("/system.slice", "/system.slice", True),
        ("/system.slice", "/system.slic", False),
        ("/system.slice", "/system.slices", False),
        # What lies below is the handlers' matter.
        ("/system.slice", "/system.slice/ssh.service", False),
        ("/user.slice/*/session-*.scope", "/user.slice/user-1000.slice/session-2.scope", True),
        ("/user.slice/*/session-*.scope", "/user.slice/user-1000.slice/a/session-2.scope", False),
        ("/user.slice/*/session-*.scope", "/user.slice/user-1000.slice/session-2.scope.d", False),
        ("/user.slice/*/*", "/user.slice/user-1000.slice", False),
        ("session-*.scope", "session-.scope", True),
        ("session-*.scope", "session-12.scope", True),
        ("session-*.scope", "session-12.scope.scope", True),
        ("session-*.scope", "session-12.scop", False),
        ("session-*.scope", "user/session-12.scope", False),
        ("*", "", True),
        ("*", "anything", True),
        ("*", "any/thing", False),
        ("*a*b*", "xaxxab", True),
        ("*a*b*", "xbxxa", False),
        ("a**", "a", True),
        ("a*a", "a", False),
        ("", "", True),
        ("", "a", False),
        # No pattern but `*`.
        ("user@[0-9].service", "user@1.service", False),
        ("ss?.service", "ssh.service", False),
    ],
)
def test_a_star_stands_for_any_part_of_one_name(pattern: str, text: str, matches: bool) -> None:
    assert core.cgroup_matches(pattern, text) is matches


names = st.text("ab*", max_size=5)


@given(st.lists(names, max_size=3), st.lists(st.text("ab", max_size=5), max_size=3))
def test_patterns_are_matched_name_by_name(pattern: list[str], path: list[str]) -> None:
    as_regex = "/".join(name.replace("*", "[^/]*") for name in pattern)
    assert core.cgroup_matches("/".join(pattern), "/".join(path)) == bool(
        re.fullmatch(as_regex, "/".join(path))
    )


def test_the_sixteenth_rule_is_still_seen() -> None:
    rules = [AppRule(process="other") for _ in range(16)]
    rules[15].uids.first = rules[15].uids.last = 10_001
    assert core.uid_rule(ruled(*rules), 10_001) == 16
    policy = ruled(*rules)
    policy.rules[15].protect = True
    assert core.refusal(policy, replace(RULED, rule=16), 0) is Refusal.RULE


@pytest.mark.parametrize("place", [0, 2, 17])
def test_a_place_that_no_rule_has_changes_nothing(place: int) -> None:
    policy = ruled(AppRule(process="one", protect=True))
    assert core.refusal(policy, replace(RULED, rule=place), 900) is Refusal.NONE


# -- what it does ------------------------------------------------------------------------------


def test_a_protected_process_never_dies() -> None:
    policy = ruled(AppRule(process="one", protect=True))
    for floor in (-1000, 0, 900, 1000):
        assert core.refusal(policy, replace(RULED, adj=1000), floor) is Refusal.RULE
    assert first(policy, RULED, replace(PLAIN, adj=1)) == PLAIN.pid


@pytest.mark.parametrize(("adj", "counts"), [(-900, -900), (200, 200), (201, 1000), (1000, 1000)])
def test_preferred_counts_as_first_unless_it_is_perceptible(adj: int, counts: int) -> None:
    policy = ruled(AppRule(process="one", prefer=True))
    assert counted(policy, replace(RULED, adj=adj)) == counts


@pytest.mark.parametrize(("adj", "counts"), [(99, 99), (100, 100), (101, 100), (1000, 100)])
def test_a_floor_takes_down_and_never_up(adj: int, counts: int) -> None:
    policy = ruled(AppRule(process="one", floor_score=100))
    assert counted(policy, replace(RULED, adj=adj)) == counts


def counted(policy: Policy, process: Process) -> int:
    """The adj that `process` counts as having: the highest floor that it may die for."""
    return max(
        floor
        for floor in range(-1000, 1002)
        if core.refusal(policy, process, floor) is Refusal.NONE
    )


def test_the_rank_goes_by_what_a_process_counts_as() -> None:
    lower = ruled(AppRule(process="one", floor_score=100))
    assert first(lower, RULED, replace(PLAIN, adj=101)) == PLAIN.pid
    assert first(lower, RULED, replace(PLAIN, adj=99)) == RULED.pid
    raised = ruled(AppRule(process="one", prefer=True))
    assert first(raised, replace(RULED, adj=201), replace(PLAIN, adj=999)) == RULED.pid
    assert first(raised, replace(RULED, adj=200), replace(PLAIN, adj=201)) == PLAIN.pid


def test_weight_flips_the_order_of_two_of_one_adj() -> None:
    for weight, winner in ((99, PLAIN), (101, RULED), (0, PLAIN), (1000, RULED)):
        policy = ruled(AppRule(process="one", weight_pct=weight))
        assert first(policy, RULED, PLAIN) == winner.pid, weight
    # It says nothing between two adjs.
    heavy = ruled(AppRule(process="one", weight_pct=1000))
    assert first(heavy, replace(RULED, adj=899), PLAIN) == PLAIN.pid


def test_weight_tells_apart_what_differs_by_less_than_a_kilobyte() -> None:
    policy = ruled(AppRule(process="one", weight_pct=101))
    assert first(policy, replace(RULED, anon_kb=50), replace(PLAIN, anon_kb=50)) == RULED.pid


@pytest.mark.parametrize(("cost_kb", "winner"), [(1999, RULED), (2001, PLAIN), (2**32 - 1, PLAIN)])
def test_what_a_relaunch_costs_is_taken_off_the_gain(cost_kb: int, winner: Process) -> None:
    policy = ruled(AppRule(process="one", relaunch_cost_kb=cost_kb))
    assert first(policy, replace(RULED, anon_kb=12_000), PLAIN) == winner.pid


def test_cost_comes_off_after_the_weight() -> None:
    policy = ruled(AppRule(process="one", weight_pct=200, relaunch_cost_kb=10_001))
    assert first(policy, RULED, PLAIN) == PLAIN.pid
    policy.rules[0].relaunch_cost_kb = 9_999
    assert first(policy, RULED, PLAIN) == RULED.pid


def test_weight_and_cost_count_for_the_largest_and_not_for_the_oldest() -> None:
    policy = ruled(AppRule(process="one", weight_pct=1000))
    large = replace(PLAIN, anon_kb=50_000, adj_since_ns=1)
    policy.kills.order = Order.ORDER_LARGEST_RSS
    assert first(policy, replace(RULED, adj_since_ns=2), large) == RULED.pid
    policy.kills.order = Order.ORDER_OLDEST
    assert first(policy, replace(RULED, adj_since_ns=2), large) == PLAIN.pid


# -- whole populations -------------------------------------------------------------------------

processes = st.builds(
    Process,
    pid=st.integers(2, 40),
    adj=st.sampled_from([-900, 0, 100, 200, 201, 700, 900, 999, 1000]),
    start_ns=st.integers(1, 4),
    anon_kb=st.integers(0, 300),
    rule=st.integers(0, 3),
)
populations = st.lists(processes, max_size=8, unique_by=lambda each: each.pid)
kind_rules = st.builds(
    AppRule,
    process=st.just("one"),
    prefer=st.booleans(),
    weight_pct=st.sampled_from([0, 50, 100, 1000]),
    relaunch_cost_kb=st.sampled_from([0, 100, 4_000_000]),
)
any_rules = st.builds(
    AppRule,
    process=st.just("one"),
    protect=st.booleans(),
    prefer=st.booleans(),
    floor_score=st.sampled_from([-999, 0, 200, 900]),
    weight_pct=st.sampled_from([0, 100, 1000]),
)


@given(populations, st.lists(kind_rules, max_size=3), st.integers(-1000, 1000))
def test_nobody_in_the_foreground_dies_while_a_cached_one_is_left(
    population: list[Process], rules: list[AppRule], floor: int
) -> None:
    order = core.choose(ruled(*rules), population, floor)
    for place, victim in enumerate(order):
        if victim.adj <= 200:
            assert all(later.adj < 900 for later in order[place:])


@given(populations, st.lists(any_rules, max_size=3), st.integers(-1000, 1000))
def test_nor_does_protection_cost_a_process_that_no_rule_is_for_its_place(
    population: list[Process], rules: list[AppRule], floor: int
) -> None:
    with_rules = core.choose(ruled(*rules), population, floor)
    without = core.choose(preset("default"), population, floor)
    plain = [each.pid for each in without if not 1 <= each.rule <= len(rules)]
    assert [each.pid for each in with_rules if not 1 <= each.rule <= len(rules)] == plain


@given(processes, processes, processes, st.lists(any_rules, max_size=3))
def test_rank_stays_a_total_order(a: Process, b: Process, c: Process, rules: list[AppRule]) -> None:
    policy = ruled(*rules)
    assert core.rank(policy, a, b) == -core.rank(policy, b, a)
    if core.rank(policy, a, b) > 0 and core.rank(policy, b, c) > 0:
        assert core.rank(policy, a, c) > 0
