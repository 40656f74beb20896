# SPDX-License-Identifier: Apache-2.0
"""When to look again, whether a kill holds up the next, and how stall is reckoned."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.policy import core
from lmk.policy.core import Decider, Window
from lmk.policy.model import Gate, Known, Pending, PsiDelta, Sample, Victim
from lmk.policy.text import preset
from lmk.proto.policy_pb2 import Policy

MS = 1_000_000
SECOND = 1000 * MS


@pytest.fixture
def policy() -> Policy:
    chosen = preset("default")
    chosen.timing.pressure_interval_ms = 10
    chosen.timing.idle_interval_ms = 1000
    chosen.timing.fill_rate_mb_per_s = 100
    chosen.timing.kill_timeout_ms = 2000
    chosen.timing.retry_ms = 250
    chosen.timing.shadow_timeout_ms = 10_000
    chosen.scarcity.available_below_pct = 10
    return chosen


@pytest.mark.parametrize(
    ("headroom_kb", "interval_ms"),
    [
        (-1, 10),
        (0, 10),
        (2 * 1024, 10),  # 20 ms at 100 MB/s: half of it
        (4 * 1024, 20),
        (100 * 1024, 500),
        (200 * 1024, 1000),
        (4000 * 1024, 1000),
    ],
)
def test_the_sensor_sleeps_half_as_long_as_the_headroom_lasts(
    policy: Policy, headroom_kb: int, interval_ms: int
) -> None:
    sample = Sample(total_kb=1_000_000, available_kb=100_000 + headroom_kb, known=Known.AVAILABLE)
    assert core.interval_ms(policy, sample) == interval_ms
    assert core.interval_ms(policy, sample, under_pressure=True) == 10


PENDING = Pending(pid=7, kill_id=1, signalled_ns=SECOND, last_signal_ns=SECOND)


def test_no_kill_under_way_leaves_the_gate_open(policy: Policy) -> None:
    assert core.gate(policy, None, SECOND) is Gate.OPEN


@pytest.mark.parametrize(
    ("after_ms", "victim", "gate"),
    [
        (0, Victim.ALIVE, Gate.WAIT),
        (249, Victim.ALIVE, Gate.WAIT),
        (250, Victim.ALIVE, Gate.RETRY),
        (250, Victim.EXITING, Gate.WAIT),
        (1999, Victim.EXITING, Gate.WAIT),
        (2000, Victim.EXITING, Gate.TIMEOUT),
        (2000, Victim.ALIVE, Gate.TIMEOUT),
        (1999, Victim.ENDED, Gate.WAIT),
        (2000, Victim.ENDED, Gate.TIMEOUT),
    ],
)
def test_a_victim_holds_up_the_next_kill_until_the_timeout(
    policy: Policy, after_ms: int, victim: Victim, gate: Gate
) -> None:
    assert core.gate(policy, PENDING, SECOND + after_ms * MS, victim=victim) is gate


def test_the_gate_opens_when_the_memory_is_back_and_the_victim_has_ended(policy: Policy) -> None:
    now = SECOND + 80 * MS
    exiting = replace(PENDING, exited_ns=SECOND + 5 * MS)
    back = replace(exiting, memory_back_ns=now)
    released = replace(PENDING, released=True)
    assert core.gate(policy, exiting, now, victim=Victim.ENDED) is Gate.WAIT
    for pending in (back, released):
        assert core.gate(policy, pending, now, victim=Victim.ALIVE) is Gate.WAIT
        assert core.gate(policy, pending, now, victim=Victim.EXITING) is Gate.WAIT
        assert core.gate(policy, pending, now, victim=Victim.ENDED) is Gate.OPEN


@pytest.mark.parametrize(
    ("after_ms", "victim", "gate"),
    [
        (199, Victim.EXITING, Gate.WAIT),
        (200, Victim.EXITING, Gate.OPEN),
        (201, Victim.EXITING, Gate.OPEN),
        (201, Victim.ALIVE, Gate.WAIT),
    ],
)
def test_a_victim_that_has_nothing_left_to_give_is_not_waited_for_long(
    policy: Policy, after_ms: int, victim: Victim, gate: Gate
) -> None:
    back = SECOND + 30 * MS
    now = back + after_ms * MS
    for pending in (
        replace(PENDING, memory_back_ns=back),
        replace(PENDING, released=True, last_signal_ns=back),
    ):
        assert core.gate(policy, pending, now, victim=victim) is gate
    # lmkd waits for the end, whatever came back.
    policy.kills.wait_for_memory = False
    waits = Gate.OPEN if victim is Victim.ENDED else Gate.WAIT
    assert core.gate(policy, replace(PENDING, memory_back_ns=back), now, victim=victim) is waits


def test_a_retry_is_counted_from_the_last_signal_not_the_first(policy: Policy) -> None:
    again = replace(PENDING, last_signal_ns=SECOND + 250 * MS, attempts=2)
    assert core.gate(policy, again, SECOND + 499 * MS) is Gate.WAIT
    assert core.gate(policy, again, SECOND + 500 * MS) is Gate.RETRY


def test_a_clock_that_steps_back_does_not_open_the_gate(policy: Policy) -> None:
    assert core.gate(policy, PENDING, SECOND - 1) is Gate.WAIT


def test_a_policy_that_does_not_wait_for_memory_waits_for_the_end_only(policy: Policy) -> None:
    policy.kills.wait_for_memory = False
    now = SECOND + 50 * MS
    assert core.gate(policy, PENDING, now, victim=Victim.EXITING) is Gate.WAIT
    assert core.gate(policy, PENDING, now, victim=Victim.ENDED) is Gate.OPEN


def test_without_a_timeout_the_gate_waits_for_as_long_as_it_takes(policy: Policy) -> None:
    policy.timing.kill_timeout_ms = 0
    hour = SECOND + 3600 * SECOND
    assert core.gate(policy, PENDING, hour, victim=Victim.EXITING) is Gate.WAIT
    assert core.gate(policy, PENDING, hour, victim=Victim.ALIVE) is Gate.RETRY


# -- in shadow: nobody was signalled ---------------------------------------------------------


@pytest.mark.parametrize(
    ("after_ms", "calm_ms", "victim", "gate"),
    [
        (0, 0, Victim.ALIVE, Gate.WAIT),
        (250, 0, Victim.ALIVE, Gate.WAIT),  # no signal: nothing to repeat
        (5000, 999, Victim.ALIVE, Gate.WAIT),
        (5000, 1000, Victim.ALIVE, Gate.OPEN),  # memory recovered
        (9999, 0, Victim.ALIVE, Gate.WAIT),
        (10_000, 0, Victim.ALIVE, Gate.TIMEOUT),
        (10_000, 0, Victim.EXITING, Gate.TIMEOUT),
        (5, 0, Victim.EXITING, Gate.WAIT),
        (5, 0, Victim.ENDED, Gate.OPEN),  # somebody else killed it
    ],
)
def test_a_would_be_kill_holds_up_the_next_verdict_as_if_it_were_under_way(
    policy: Policy, after_ms: int, calm_ms: int, victim: Victim, gate: Gate
) -> None:
    policy.dry_run = True
    now = SECOND + after_ms * MS
    found = core.shadow_gate(policy, PENDING, now, victim=victim, pressed_ns=now - calm_ms * MS)
    assert found is gate


def test_a_would_be_kill_holds_up_nothing_once_it_is_no_dry_run_any_more(policy: Policy) -> None:
    assert core.shadow_gate(policy, PENDING, SECOND, pressed_ns=SECOND) is Gate.OPEN


def test_in_shadow_too_a_policy_without_a_timeout_waits_for_as_long_as_it_takes(
    policy: Policy,
) -> None:
    policy.dry_run = True
    policy.timing.shadow_timeout_ms = 0
    hour = SECOND + 3600 * SECOND
    assert core.shadow_gate(policy, PENDING, hour, pressed_ns=hour) is Gate.WAIT


def test_in_shadow_a_clock_that_steps_back_does_not_open_the_gate(policy: Policy) -> None:
    policy.dry_run = True
    before = SECOND - 1
    assert core.shadow_gate(policy, PENDING, before, pressed_ns=SECOND) is Gate.WAIT


# -- the budget --------------------------------------------------------------------------------


def test_a_policy_without_a_budget_always_has_a_kill_left(policy: Policy) -> None:
    decider = Decider(policy)
    for _ in range(1000):
        assert decider.may_kill(SECOND)
        decider.spend()


def test_a_budget_of_three_kills_a_minute_gives_one_every_twenty_seconds(policy: Policy) -> None:
    policy.kills.max_per_minute = 3
    decider = Decider(policy)
    killed_at = []
    for ms in range(0, 121_000, 500):
        if decider.may_kill(SECOND + ms * MS):
            decider.spend()
            killed_at.append(ms)
    assert killed_at == [0, 500, 1000, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000]


def test_quiet_hours_save_up_a_minutes_kills_and_no_more(policy: Policy) -> None:
    policy.kills.max_per_minute = 2
    decider = Decider(policy)
    assert decider.may_kill(SECOND)
    now = 7200 * SECOND
    for left in (True, True, False):
        assert decider.may_kill(now) is left
        decider.spend()


# -- stall ----------------------------------------------------------------------------------------


def test_avg10_grows_and_fades_as_the_kernel_has_it() -> None:
    """calc_avgs() of kernel/sched/psi.c: EXP_10s 1677 of 2048, once in 2 s."""
    after_one = core.psi_avg10(0, 2 * SECOND, 2 * SECOND)
    assert after_one == pytest.approx(100 * (2048 - 1677) / 2048, abs=0.1)
    after_two = core.psi_avg10(after_one, 2 * SECOND, 2 * SECOND)
    assert after_two == pytest.approx(100 * (1 - (1677 / 2048) ** 2), abs=0.2)
    assert core.psi_avg10(50, 0, 2 * SECOND) == pytest.approx(50 * 1677 / 2048, abs=0.1)


def test_periods_that_nobody_looked_at_count_as_quiet() -> None:
    assert core.psi_avg10(80, 0, 8 * SECOND) == pytest.approx(80 * (1677 / 2048) ** 4, abs=0.2)
    assert core.psi_avg10(80, 0, 3600 * SECOND) == pytest.approx(0, abs=0.2)
    late = core.psi_avg10(0, 2 * SECOND, 6 * SECOND)  # all of it in the last two seconds
    assert late == pytest.approx(100 * (2048 - 1677) / 2048, abs=0.1)


def test_stall_is_the_mean_of_the_cpus_weighted_by_their_busy_time() -> None:
    busy = PsiDelta(some=800 * MS, full=400 * MS, nonidle=900 * MS)
    idle = PsiDelta(some=0, full=0, nonidle=100 * MS)
    some, full = core.psi_stall_ns([busy, idle])
    assert some == pytest.approx(720 * MS, rel=1e-3)
    assert full == pytest.approx(360 * MS, rel=1e-3)


def test_idle_cpus_have_no_stall() -> None:
    assert core.psi_stall_ns([PsiDelta(0, 0, 0)] * 4) == (0, 0)


def test_sixty_four_cpus_stalled_for_four_seconds_do_not_overflow() -> None:
    cpu = PsiDelta(some=4 * SECOND, full=4 * SECOND, nonidle=4 * SECOND)
    some, full = core.psi_stall_ns([cpu] * 64)
    assert some == pytest.approx(4 * SECOND, rel=1e-6)
    assert full == some


def test_a_full_stall_is_seen_before_it_ends() -> None:
    window = Window(SECOND)
    window.growth(10 * SECOND, 0)
    seen_at = next(
        ms
        for ms in range(10, 2000, 10)
        if window.growth(10 * SECOND + ms * MS, ms * MS) >= 700 * MS
    )
    assert seen_at == 700


def test_old_stall_fades_out_of_the_window() -> None:
    window = Window(SECOND)
    now = 10 * SECOND
    window.growth(now, 0)
    for ms in range(100, 5000, 100):
        window.growth(now + ms * MS, min(ms, 500) * MS)
    assert window.growth(now + 5000 * MS, 500 * MS) == 0


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 100)), min_size=1, max_size=60))
def test_growth_is_never_more_than_two_windows_really_had(steps: list[tuple[int, int]]) -> None:
    window = Window(SECOND)
    now, value = 10 * SECOND, 0
    history = [(now, value)]
    window.growth(now, value)
    for milliseconds, stalled_pct in steps:
        now += milliseconds * MS
        value += milliseconds * MS * stalled_pct // 100
        history.append((now, value))
        before = max((v for t, v in history if t <= now - 2 * SECOND), default=0)
        # One step may lie before the window it is counted in.
        assert window.growth(now, value) <= value - before + 400 * MS


def test_a_counter_that_starts_anew_starts_the_window_anew() -> None:
    window = Window(SECOND)
    window.growth(10 * SECOND, 5 * SECOND)
    window.growth(10 * SECOND + 100 * MS, 5 * SECOND + 50 * MS)
    assert window.growth(10 * SECOND + 200 * MS, 0) == 0
    assert window.growth(10 * SECOND + 300 * MS, 60 * MS) == 60 * MS
