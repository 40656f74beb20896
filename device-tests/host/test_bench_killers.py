# SPDX-License-Identifier: Apache-2.0
"""Killers side by side: what a run shows (time lost, apps alive, kills), and which killers."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Sequence

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lmk.bench.killers.attached import policy_of
from lmk.bench.killers.command import killers
from lmk.bench.killers.measure import UNITS, Span, mean_alive, measure
from lmk.bench.killers.probe import Latencies, Round
from lmk.bench.killers.rivals import Cost
from lmk.bench.killers.scene import CACHED, CACHED_ADJ, Scene
from lmk.bench.killers.spec import CURVES, KILLERS, curve_points, parse_spec
from lmk.bench.killers.watch import Record, Sample
from lmk.errors import UsageError
from lmk.policy import load
from lmk.workload.record import Death, Life
from lmk.workload.signal_trace import SentSignal

_MS = 1_000_000
_S = 1_000_000_000


# -- the probe ---------------------------------------------------------------------------


def _latencies(*latencies_ms: float) -> Latencies:
    """Rounds of 10 ms, each due when the one before had ended or later, as the probe has it."""
    rounds, due_ms = [], 0
    for latency_ms in latencies_ms:
        rounds.append(Round(due_ms * _MS, round(latency_ms * 1000)))
        due_ms += 10 * max(1, -(-round(latency_ms * 1000) // 10_000))
    return Latencies(10 * _MS, tuple(rounds))


def test_round_within_its_period_loses_nothing() -> None:
    felt = _latencies(0.3, 9.9, 10.0)
    assert felt.lost_ms == 0
    assert felt.missed == 0


def test_late_round_loses_what_it_is_over_its_deadline_and_misses_each_it_runs_into() -> None:
    felt = _latencies(0.3, 35.0, 0.3, 10.5)
    assert felt.lost_ms == pytest.approx(25.5)
    assert felt.missed == 3 + 1


def test_only_rounds_that_were_due_within_the_span_count() -> None:
    felt = _latencies(50.0, 1.0, 60.0)
    assert felt.between(10 * _MS, 100 * _MS).lost_ms == 50.0
    assert felt.between(0, 50 * _MS).lost_ms == 40.0


# -- apps alive ----------------------------------------------------------------------------


def _life(name: str, pid: int, adj: int, start_s: float = 0) -> Life:
    return Life(int(start_s * _S), name, pid, pid * 10, 99000 + pid, adj)


def _death(life: Life, at_s: float, *, asked: bool = False) -> Death:
    return Death(life, int(at_s * _S), 0 if asked else 9, asked)


def test_mean_alive_weighs_each_app_by_how_long_it_lived_within_the_span() -> None:
    first, second = _life("a", 1, 900), _life("b", 2, 990, start_s=15)
    previous, later = _life("c", 3, 700), _life("d", 4, 950, start_s=30)
    deaths = [_death(first, 12.5)]
    alive = mean_alive([first, second, previous, later], deaths, [(10 * _S, 20 * _S)])
    assert alive == pytest.approx(0.25 + 0.5)


def test_mean_alive_in_events_leaves_out_the_rest_between_them() -> None:
    lives = [_life("a", 1, 900), _life("b", 2, 900), _life("a", 3, 900, start_s=30)]
    deaths = [_death(lives[0], 12)]
    # One lives through both events; the other a fifth of the first and all of the second.
    events = [(10 * _S, 20 * _S), (40 * _S, 45 * _S)]
    assert mean_alive(lives, deaths, events) == pytest.approx((10 + 2 + 2 * 5) / 15)


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0.1, 30)), max_size=10))
def test_mean_alive_is_between_none_and_all(spans: list[tuple[float, float]]) -> None:
    lives = [_life(f"a{n}", n + 1, 900, start_s=start) for n, (start, _) in enumerate(spans)]
    deaths = [
        _death(life, start + length) for life, (start, length) in zip(lives, spans, strict=True)
    ]
    assert 0 <= mean_alive(lives, deaths, [(10 * _S, 20 * _S)]) <= len(spans) + 1e-9


# -- a whole run ---------------------------------------------------------------------------


def _sample(time_s: float, some_ms: float = 0, oom_kills: int = 0) -> Sample:
    return Sample(
        int(time_s * _S), int(some_ms * 1000), 0, 5000, 40_000, 100_000, 0, 0, oom_kills,
        swapped_kb=100_000, swap_uses_kb=40_000,
    )  # fmt: skip


def _record(*samples: Sample) -> Record:
    record = Record()
    record.samples += samples
    return record


def _measured(
    lives: list[Life], deaths: list[Death], record: Record, sent: Sequence[SentSignal] = ()
) -> dict[str, float]:
    found = measure(
        Span(10 * _S, 20 * _S, ((11 * _S, 13 * _S), (16 * _S, 18 * _S))),
        lives=lives,
        deaths=deaths,
        sizes_kb={life.identity: 30_000 for life in lives},
        record=record,
        latencies=Latencies(10 * _MS, (Round(11 * _S, 30_000), Round(25 * _S, 90_000))),
        cost=Cost(cpu_ns=50 * _MS, bpf_ns=10 * _MS, rss_kb=2000),
        sent=sent,
    )
    return found.values


def test_every_value_that_the_record_gives_is_measured_and_has_a_unit() -> None:
    values = _measured([], [], _record(_sample(10), _sample(20, some_ms=7)))
    played = {"growth_s", "growths_unfinished", "probe_deaths"}
    assert set(values) | played == set(UNITS)
    assert values["lost_ms"] == pytest.approx(20 / 2)
    assert values["some_ms"] == pytest.approx(7)
    assert values["killer_cpu_ms_per_s"] == pytest.approx(5)
    assert values["killer_bpf_ms_per_s"] == pytest.approx(1)


def test_kills_are_counted_by_class_and_within_the_span_only() -> None:
    lives = [
        _life("cached", 1, 950), _life("previous", 2, 700), _life("music", 3, 200),
        _life("camera", 4, 0), _life("before", 5, 990), _life("quit", 6, 990),
    ]  # fmt: skip
    deaths = [
        _death(lives[4], 9), _death(lives[0], 12), _death(lives[1], 13), _death(lives[2], 14),
        _death(lives[3], 15), _death(lives[5], 16, asked=True),
    ]  # fmt: skip
    values = _measured(lives, deaths, _record(_sample(0), _sample(20)))
    assert values["kills"] == 4
    classes = ("cached", "background", "perceptible", "foreground")
    assert [values[f"kills_{name}"] for name in classes] == [1, 1, 1, 1]


def test_kill_by_sigterm_is_a_kill() -> None:
    life = _life("a", 1, 950)
    deaths = [Death(life, 12 * _S, signal.SIGTERM, asked=False)]
    assert _measured([life], deaths, _record(_sample(0), _sample(20)))["kills"] == 1


def test_kill_before_any_stall_is_early_and_one_after_it_is_not() -> None:
    lives = [_life("a", 1, 990), _life("b", 2, 980)]
    deaths = [_death(lives[0], 12), _death(lives[1], 16)]
    record = _record(_sample(10), _sample(14), _sample(15.5), _sample(16, some_ms=40))
    assert _measured(lives, deaths, record)["early_kills"] == 1


def test_kill_of_what_the_user_notices_while_a_cached_app_is_left_is_wrong() -> None:
    lives = [_life("cached", 1, 950), _life("music", 2, 200), _life("new", 3, 999, start_s=13.9)]
    late = [_death(lives[1], 14), _death(lives[0], 15)]
    assert _measured(lives, late, _record(_sample(0), _sample(20)))["wrong_kills"] == 1
    in_order = [_death(lives[0], 12), _death(lives[1], 14)]
    assert _measured(lives, in_order, _record(_sample(0), _sample(20)))["wrong_kills"] == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_who_got_its_signal_first_was_killed_first_however_late_it_ends(number: int) -> None:
    lives = [_life("cached", 1, 950), _life("music", 2, 200)]
    deaths = [Death(lives[1], 14 * _S, number, asked=False), _death(lives[0], 15)]
    record = _record(_sample(0), _sample(20))
    sent = [SentSignal(12 * _S, 1, delivered=True), SentSignal(13 * _S, 2, delivered=True)]
    for trace, count in ((sent, 0), (sent[1:], 1), ([], 1)):
        values = _measured(lives, deaths, record, trace)
        assert (values["order_violations"], values["wrong_kills"]) == (count, count)
    # One that was refused dooms nobody.
    refused = [SentSignal(12 * _S, 1, delivered=False), sent[1]]
    assert _measured(lives, deaths, record, refused)["order_violations"] == 1


def test_kernel_oom_kills_are_the_growth_of_the_kernels_counter() -> None:
    record = _record(_sample(0, oom_kills=3), _sample(10, oom_kills=3), _sample(19, oom_kills=5))
    assert _measured([], [], record)["kernel_oom_kills"] == 2


def test_kill_frees_what_was_resident_and_what_its_swap_took() -> None:
    life = _life("a", 7, 990)
    record = _record(_sample(0), _sample(11))
    record.add_sizes(11 * _S, {7: 10_000})
    record.add_sizes(13 * _S, {7: 0})
    values = _measured([life], [_death(life, 12)], record)
    # 20 MB of its 30 were in zram, at two fifths of their size.
    assert values["freed_kb_per_kill"] == pytest.approx(10_000 + 20_000 * 0.4)


def test_total_between_two_samples_is_on_the_line_between_them() -> None:
    record = _record(_sample(10), _sample(20, some_ms=100))
    assert record.growth("some_us", 12 * _S, 14 * _S) == pytest.approx(20_000)
    assert record.growth("some_us", 0, 40 * _S) == pytest.approx(100_000)


# -- which killers -------------------------------------------------------------------------


def test_killers_of_the_comparison_and_of_the_curves_can_all_be_read() -> None:
    for text in (*KILLERS, *CURVES):
        assert parse_spec(text).family == text


@pytest.mark.parametrize(
    "text",
    ["oomd", "kernel@x=1", "level:default", "earlyoom@s=3", "lmk:default@", "lmk@a=", "", "lmk:"],
)
def test_what_is_no_killer_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_spec(text)


def test_sweep_gives_one_point_for_each_value() -> None:
    points = curve_points(parse_spec("lmk:default@scarcity.available_below_pct=5,10"))
    assert [point.name for point in points] == ["lmk:default@5", "lmk:default@10"]
    assert {point.family for point in points} == {"lmk:default"}
    for text in CURVES:
        assert len(curve_points(parse_spec(text))) >= 3


def test_value_of_an_lmk_killer_is_the_only_thing_that_differs_from_its_policy() -> None:
    (point,) = parse_spec("lmk:default@stall.psi_partial_stall_ms=33").points()
    changed, plain = policy_of(point), load("default")
    assert changed.stall.psi_partial_stall_ms == 33
    changed.stall.psi_partial_stall_ms = plain.stall.psi_partial_stall_ms
    changed.name = plain.name
    assert changed == plain


@pytest.mark.parametrize("value", ["scarcity.nothing=3", "scarcity.available_below_pct=101"])
def test_field_or_value_that_no_policy_may_have_is_refused(value: str) -> None:
    with pytest.raises(UsageError):
        policy_of(parse_spec(f"lmk:default@{value}"))


def test_scene_has_ten_cached_apps_and_fits_the_device() -> None:
    for available_kb in (400 * 1024, 900 * 1024):
        scene = Scene.of(available_kb)
        assert sum(row.adj >= CACHED_ADJ for row in scene.rows) == CACHED
        assert sum(row.size_kb for row in scene.rows) < available_kb
        assert len({row.uid for row in scene.rows}) == len(scene.rows)
    adjs = [row.adj for row in Scene.of(400 * 1024).rows if row.adj >= CACHED_ADJ]
    assert all(older > younger for older, younger in itertools.pairwise(adjs))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--killer", "lmkd"), "--lmkd"),
        (("--device", "tcp:nowhere:1", "--kernel", "6.12"), "--kernel"),
        (("--killer", "level", "--killer", "level"), "twice"),
        (("--killer", "lmk:default@low_mem.level=WATERMARK_NO"), "WATERMARK_NO"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_booted(
    arguments: tuple[str, ...], words: str
) -> None:
    result = CliRunner().invoke(killers, [*arguments])
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception)
