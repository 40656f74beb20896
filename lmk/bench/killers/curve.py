# SPDX-License-Identifier: Apache-2.0
"""Time lost against apps kept: one trade-off, one curve for each killer.

A killer that only moves its threshold slides along its curve. One curve is better than another
where it keeps more apps alive at the same time lost. Of a curve counts its front: the points to
which no other of its own is better. Between two neighbours of the front a threshold between
theirs is taken to give what lies on the line between them; beyond its ends nothing is assumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lmk.bench.killers.summary import Spread, Summary

__all__ = ["Comparison", "Point", "alive_at", "beats", "compare", "front", "points_of"]


@dataclass(frozen=True, slots=True)
class Point:
    """A killer with one threshold.

    :ivar lost: ms for each event of the load.
    :ivar alive: cached apps, mean over a run.
    :ivar in_events: the same, mean over the events alone.
    """

    killer: str
    lost: Spread
    alive: Spread
    in_events: Spread
    kills: Spread

    @property
    def family(self) -> str:
        """Its killer without the threshold."""
        return self.killer.partition("@")[0]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A rival's point against a curve.

    :ivar better: by its medians it is better on both axes than some point of the curve's front.
    :ivar surely: so it is by the ends of the intervals that speak against it.
    :ivar alive_there: what the curve keeps alive at the rival's time lost; None: it has no
        point that loses as little.
    :ivar in_events_there: the same of what is alive in the events alone.
    """

    point: Point
    better: bool
    surely: bool
    alive_there: float | None
    in_events_there: float | None

    @property
    def gain(self) -> float | None:
        """How many times the rival's apps the curve keeps alive at the same time lost."""
        return _ratio(self.alive_there, self.point.alive.median)

    @property
    def gain_in_events(self) -> float | None:
        """The same of what is alive in the events alone."""
        return _ratio(self.in_events_there, self.point.in_events.median)


def _ratio(ours: float | None, theirs: float) -> float | None:
    return None if ours is None or not theirs else ours / theirs


def points_of(summaries: Iterable[Summary]) -> dict[str, list[Point]]:
    """The curves of one load by killer, each in order of time lost."""
    curves: dict[str, list[Point]] = {}
    for summary in summaries:
        figures = summary.figures
        point = Point(
            summary.killer,
            lost=figures["lost_ms"],
            alive=figures["alive"],
            in_events=figures["alive_in_events"],
            kills=figures["kills"],
        )
        curves.setdefault(point.family, []).append(point)
    for points in curves.values():
        points.sort(key=lambda point: (point.lost.median, -point.alive.median))
    return curves


def front(pairs: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (lost, alive): those that none has fewer lost than and as many alive; by time lost."""
    kept: list[tuple[float, float]] = []
    for lost, alive in sorted(pairs, key=lambda pair: (pair[0], -pair[1])):
        if not kept or alive > kept[-1][1]:
            kept.append((lost, alive))
    return kept


def alive_at(curve: Sequence[tuple[float, float]], lost: float) -> float | None:
    """What a front keeps alive at that time lost, or None where it does not reach so low."""
    if not curve or lost < curve[0][0]:
        return None
    for (lost_0, alive_0), (lost_1, alive_1) in itertools.pairwise(curve):
        if lost < lost_1:
            return alive_0 + (alive_1 - alive_0) * (lost - lost_0) / (lost_1 - lost_0)
    return curve[-1][1]


def beats(curve: Sequence[tuple[float, float]], lost: float, alive: float) -> bool:
    """Whether a point is better on both axes than some point of a front."""
    if not curve:
        return False
    there = alive_at(curve, lost)
    # Right of its end the front has nobody who loses more.
    if there is None:
        return alive > curve[0][1]
    return alive > there and lost < curve[-1][0]


def compare(ours: Sequence[Point], rivals: Iterable[Point]) -> list[Comparison]:
    """Each of `rivals` against the curve that `ours` make."""
    medians = front((point.lost.median, point.alive.median) for point in ours)
    in_events = front((point.lost.median, point.in_events.median) for point in ours)
    at_best = front((point.lost.low, point.alive.high) for point in ours)
    return [
        Comparison(
            point,
            better=beats(medians, point.lost.median, point.alive.median),
            surely=beats(at_best, point.lost.high, point.alive.low),
            alive_there=alive_at(medians, point.lost.median),
            in_events_there=alive_at(in_events, point.lost.median),
        )
        for point in rivals
    ]
