# SPDX-License-Identifier: Apache-2.0
"""Many runs in few figures: medians, how far they spread, and how sure a median is.

The interval of a median is that of its order statistics, which holds whatever the distribution
is: of n sorted values, the k-th from either end, with the largest k at which
``1 - 2 P(Binomial(n, 1/2) < k)`` is still 95 %. Below six runs there is no such k: then it is
the smallest to the largest, which is surer than nothing and less sure than 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lmk.bench.killers.run import Run

__all__ = ["Spread", "Summary", "median_interval", "spread", "summarise"]

_SURE = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs.

    :ivar low: of the interval of the median; `high` its other end.
    :ivar q1: lower quartile; `q3` the upper.
    """

    n: int
    median: float
    low: float
    high: float
    q1: float
    q3: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Summary:
    """All runs of one killer under one load."""

    killer: str
    load: str
    path: str
    figures: dict[str, Spread]

    @property
    def runs(self) -> int:
        """How many there are."""
        return max((figure.n for figure in self.figures.values()), default=0)


def summarise(runs: Iterable[Run]) -> list[Summary]:
    """One for each killer and load, in the order in which they first ran."""
    grouped: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        grouped.setdefault((run.load, run.killer), []).append(run)
    return [
        Summary(
            killer,
            load,
            members[0].path,
            {key: spread([run.values[key] for run in members]) for key in members[0].values},
        )
        for (load, killer), members in grouped.items()
    ]


def spread(values: Sequence[float]) -> Spread:
    """The figure that `values`, one or more, make."""
    ordered = sorted(values)
    low, high = median_interval(ordered)
    return Spread(
        n=len(ordered),
        median=_quantile(ordered, 0.5),
        low=low,
        high=high,
        q1=_quantile(ordered, 0.25),
        q3=_quantile(ordered, 0.75),
        least=ordered[0],
        most=ordered[-1],
    )


def median_interval(ordered: Sequence[float]) -> tuple[float, float]:
    """Where the median lies with 95 % (see the module), of sorted values."""
    n, depth, below = len(ordered), 0, 0.0
    while depth < n // 2:
        below += math.comb(n, depth) / 2**n
        if 1 - 2 * below < _SURE:
            break
        depth += 1
    at = max(0, depth - 1)
    return ordered[at], ordered[n - 1 - at]


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the two values that are nearest."""
    at = share * (len(ordered) - 1)
    first = math.floor(at)
    last = min(first + 1, len(ordered) - 1)
    return ordered[first] + (at - first) * (ordered[last] - ordered[first])
