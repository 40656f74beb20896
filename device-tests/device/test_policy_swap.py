# SPDX-License-Identifier: Apache-2.0
"""A policy is swapped under running decisions: each works with one of the two, never with both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loaded import Loaded, calm_policy, loaded, urgent_policy

from lmk.device.interface import Device
from lmk.policy import Policy

#: Between the floors of the two policies.
ADJ = 920
SWAPS = 1_000
#: At most: the first mixture ends it. 20,000 take half a second in an emulated guest.
OVERWRITES = 2_000_000


def rehearsing() -> Policy:
    """Would kill whoever has :data:`ADJ`, and has limits of its own throughout."""
    policy = urgent_policy(floor=ADJ - 10)
    policy.dry_run = True
    policy.stall.psi_complete_stall_ms = 101
    policy.reclaim.direct_reclaim_threshold_ms = 102
    policy.thrashing.filecache_min_kb = 103
    policy.swap.swap_util_max_pct = 51
    policy.kills.max_per_minute = 0
    return policy


def in_earnest() -> Policy:
    """Kills, but nobody who has :data:`ADJ`."""
    policy = urgent_policy(floor=ADJ + 10)
    policy.stall.psi_complete_stall_ms = 201
    policy.reclaim.direct_reclaim_threshold_ms = 202
    policy.thrashing.filecache_min_kb = 203
    policy.swap.swap_util_max_pct = 61
    policy.kills.max_per_minute = 1_000
    return policy


@pytest.fixture(params=["", "assisted"], ids=["best_path", "assisted"])
def handlers(device: Device, request: pytest.FixtureRequest) -> Iterator[Loaded]:
    with loaded(device, path=request.param) as handlers:
        handlers.load(calm_policy())
        yield handlers


def test_no_decision_mixes_two_policies(handlers: Loaded) -> None:
    victim = handlers.start("hold", adj=ADJ)
    of_one, of_other, of_neither = handlers.policies(rehearsing(), in_earnest(), SWAPS)
    assert of_one > 0
    assert of_other > 0
    assert of_neither == 0
    # The floor of the one without its dry run would have been the end of it.
    assert handlers.alive(victim.pid)
    kills = handlers.kills()
    assert {kill["dry_run"] for kill in kills} == {True}
    assert {kill["verdict"]["floor"] for kill in kills} == {ADJ - 10}
    assert {kill["verdict"]["full_limit_us"] for kill in kills} == {101_000}


def test_a_policy_that_is_overwritten_is_mixed_with_the_one_before(handlers: Loaded) -> None:
    """What the test above looks for is there to be found, and would be."""
    _, _, of_neither = handlers.policies(rehearsing(), in_earnest(), OVERWRITES, in_place=True)
    assert of_neither > 0
