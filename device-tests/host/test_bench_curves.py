# SPDX-License-Identifier: Apache-2.0
"""Killers side by side: intervals over runs, which curve is the better one, what is published."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk.bench.killers.curve import Point, alive_at, beats, compare, front, points_of
from lmk.bench.killers.measure import UNITS
from lmk.bench.killers.plot import to_html
from lmk.bench.killers.publish import Where, to_json
from lmk.bench.killers.run import Run
from lmk.bench.killers.summary import median_interval, spread, summarise

WHERE = Where("virtual", "7.3.4", "x86_64", "457 MB, 256 MB swap")


# -- intervals -----------------------------------------------------------------------------


def test_interval_of_ten_runs_leaves_out_the_extremes() -> None:
    assert median_interval([float(n) for n in range(10)]) == (1.0, 8.0)


@pytest.mark.parametrize("n", range(1, 6))
def test_few_runs_have_no_narrower_interval_than_all_of_them(n: int) -> None:
    assert median_interval([float(i) for i in range(n)]) == (0.0, n - 1.0)


@pytest.mark.parametrize("n", [6, 10, 15, 25])
def test_interval_holds_the_median_as_often_as_it_says(n: int) -> None:
    chance = random.Random(n)
    held = 0
    for _ in range(2000):
        low, high = median_interval(sorted(chance.expovariate(1.0) for _ in range(n)))
        held += low <= 0.6931471805599453 <= high
    assert held >= 0.94 * 2000


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_spread_is_in_order(values: list[float]) -> None:
    figure = spread(values)
    assert figure.least <= figure.low <= figure.median <= figure.high <= figure.most
    assert figure.least <= figure.q1 <= figure.median <= figure.q3 <= figure.most
    assert figure.n == len(values)


# -- curves ----------------------------------------------------------------------------------


def test_front_is_made_of_those_to_whom_no_other_is_better() -> None:
    points = [(10.0, 3.0), (20.0, 2.0), (20.0, 5.0), (5.0, 1.0), (10.0, 2.0), (40.0, 5.0)]
    assert front(points) == [(5.0, 1.0), (10.0, 3.0), (20.0, 5.0)]


def test_between_two_points_a_curve_is_a_line_and_beyond_its_ends_nothing_is_assumed() -> None:
    curve = [(10.0, 2.0), (20.0, 6.0)]
    assert alive_at(curve, 15.0) == 4.0
    assert alive_at(curve, 9.9) is None
    assert alive_at(curve, 500.0) == 6.0


CURVE = [(10.0, 2.0), (20.0, 6.0), (50.0, 8.0)]


@pytest.mark.parametrize(
    ("lost", "alive", "better"),
    [
        (15.0, 4.1, True),  # beyond the line
        (15.0, 4.0, False),  # on it
        (15.0, 3.0, False),
        (5.0, 1.9, False),  # less lost, fewer alive: another place on a trade-off
        (5.0, 2.1, True),  # less lost and more alive than its lowest end
        (49.0, 9.0, True),
        (50.0, 9.0, False),  # loses as much as its highest end
        (90.0, 10.0, False),
    ],
)
def test_rival_is_better_where_it_is_so_on_both_axes(
    lost: float, alive: float, better: bool
) -> None:
    assert beats(CURVE, lost, alive) is better


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), min_size=1, max_size=8))
def test_no_point_of_a_curve_is_better_than_the_curve_itself(
    points: list[tuple[float, float]],
) -> None:
    curve = front(points)
    assert not any(beats(curve, lost, alive) for lost, alive in points)


def _point(killer: str, lost: list[float], alive: list[float], in_events: float = 1.0) -> Point:
    return Point(killer, spread(lost), spread(alive), spread([in_events]), spread([5.0]))


def test_rival_that_is_better_by_its_medians_only_is_not_surely_better() -> None:
    ours = [_point("lmk:default@8", [18, 20, 40], [5, 6, 7])]
    near = _point("level@8", [17, 19, 30], [5.5, 6.1, 6.5])
    far = _point("level@4", [5, 6, 7], [8, 8.5, 9])
    found = compare(ours, [near, far])
    assert [comparison.better for comparison in found] == [True, True]
    assert [comparison.surely for comparison in found] == [False, True]


def test_gain_is_what_the_curve_keeps_at_the_rivals_time_lost() -> None:
    ours = [_point("lmk:default@8", [10], [2]), _point("lmk:default@16", [20], [6])]
    rival = _point("level@8", [15], [2])
    assert compare(ours, [rival])[0].gain == pytest.approx(2.0)
    assert compare(ours, [_point("level@2", [1], [1])])[0].gain is None


def test_gain_in_events_goes_by_what_lives_in_these_alone() -> None:
    ours = [_point("lmk:default@8", [10], [9], 6.0), _point("lmk:default@16", [20], [9.5], 8.0)]
    found = compare(ours, [_point("level@8", [15], [8], 3.5)])[0]
    assert found.gain_in_events == pytest.approx(2.0)
    assert found.gain == pytest.approx(9.25 / 8)


# -- what is published ---------------------------------------------------------------------


def _run(killer: str, load: str = "burst", **values: float) -> Run:
    return Run(killer, load, "", dict.fromkeys(UNITS, 1.0) | values, late=((12, 3.5),))


def _runs() -> list[Run]:
    killers = ("level@4", "lmk:default@12")
    return [_run(killer, lost_ms=n, alive=5 + n) for n in range(3) for killer in killers]


def test_json_has_one_entry_for_each_killer_and_load_and_all_runs() -> None:
    runs = [*_runs(), _run("level@4", "leak")]
    summaries = summarise(runs)
    curves = points_of(summary for summary in summaries if summary.load == "burst")
    compared = {"burst": compare(curves["lmk:default"], curves["level"])}
    content = json.loads(to_json(WHERE, summaries, runs, compared))
    named = [(entry["killer"], entry["load"], entry["runs"]) for entry in content["entries"]]
    assert named == [
        ("level@4", "burst", 3), ("lmk:default@12", "burst", 3), ("level@4", "leak", 1),
    ]  # fmt: skip
    figure = content["entries"][0]["figures"]["lost_ms"]
    assert figure == {
        "unit": "ms/event", "n": 3, "p50": 1.0, "low": 0, "high": 2,
        "q1": 0.5, "q3": 1.5, "min": 0, "max": 2,
    }  # fmt: skip
    assert set(content["entries"][0]["figures"]) == set(UNITS)
    assert [comparison["better"] for comparison in content["comparisons"]] == [False]
    assert len(content["runs"]) == 7


def test_picture_needs_nothing_from_anywhere_else() -> None:
    summaries = summarise(_runs())
    page = to_html(WHERE, {"burst <b>": points_of(summaries)})
    assert "<svg" in page
    assert not re.search(r"https?:|src=|href=|@import|url\(", page)
    assert "burst &lt;b&gt;" in page
    assert "level@4: 1.0 ms lost (0.0 to 2.0)" in page
