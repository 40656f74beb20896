# SPDX-License-Identifier: Apache-2.0
"""What happens in a soak, and when: all of it follows from a seed.

A user who goes through apps, as ActivityManager sees it: each launch puts an app in front
(oom_score_adj 0), the one before becomes the previous app (700), the one before that is
cached; some go on in the background for a while (a service, 500; perceptible, 200) and are
cached later; cached ones are reordered, some exit by themselves. Now and then the app in
front that is always there grows and gives back.

Memory is full before long, and from then on each launch costs a kill, or an exit: so the rate of
launches sets the rate of kills, whatever the size of the device.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

__all__ = ["LAUNCHES_PER_MINUTE", "Action", "schedule"]

#: 20 kills a minute, and what exits by itself.
LAUNCHES_PER_MINUTE = 28
_MINUTE_S = 60.0
#: Of the device's memory: on one with 800 MB apps of 14 to 45 MB.
_SIZE_PERMILLE = (18, 60)
_PREVIOUS, _SERVICE, _PERCEPTIBLE = 700, 500, 200
_CACHED = (900, 999)
#: How many launches later an app that went on in the background is cached.
_BACKGROUND_LAUNCHES = (2, 6)
_EXIT_SHARE, _SERVICE_SHARE, _PERCEPTIBLE_SHARE, _REORDER_SHARE = 0.25, 0.15, 0.1, 0.4
#: Milliseconds to go round its memory once, of apps that touch theirs also when cached.
_TOUCH_SHARE, _TOUCH_MS = 0.3, (5_000, 20_000)
#: Seconds between two bursts of the app that is always there, how much, how long it keeps it.
_BURST_EVERY_S, _BURST_PERMILLE, _BURST_S = (12, 30), (80, 250), (2, 8)


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that happens.

    :ivar at_s: seconds after the begin.
    :ivar kind: ``launch``, ``adj``, ``exit``, ``burst`` (the app in front grows), ``calm``
        (it gives back).
    :ivar app: number of the app, from 1 in the order of launches; 0 where it is none of these.
    :ivar adj: of ``launch`` and ``adj``.
    :ivar permille: of the device's memory, for ``launch`` and ``burst``.
    """

    at_s: float
    kind: str
    app: int = 0
    adj: int = 0
    permille: int = 0
    touch_ms: int = 0


def schedule(
    seed: int, duration: timedelta, launches_per_minute: float = LAUNCHES_PER_MINUTE
) -> list[Action]:
    """All actions within `duration`, in order; the same for the same arguments, everywhere.

    Actions name apps that may be dead by then: who dies is the killer's choice, not ours.
    """
    chance = random.Random(seed)  # not a secret
    end_s = duration.total_seconds()
    actions = [*_apps(chance, end_s, launches_per_minute), *_bursts(chance, end_s)]
    return sorted((action for action in actions if action.at_s < end_s), key=lambda a: a.at_s)


def _apps(chance: random.Random, end_s: float, launches_per_minute: float) -> Iterator[Action]:
    mean_s = _MINUTE_S / launches_per_minute
    begins: list[float] = []
    at_s = 0.0
    while at_s < end_s:
        begins.append(at_s)
        at_s += chance.uniform(0.4, 1.6) * mean_s
    for index, begin_s in enumerate(begins):
        app = index + 1
        touches = chance.random() < _TOUCH_SHARE
        yield Action(
            begin_s,
            "launch",
            app,
            adj=0,
            permille=chance.randint(*_SIZE_PERMILLE),
            touch_ms=chance.randint(*_TOUCH_MS) if touches else 0,
        )
        yield from _later(chance, app, begins[app:])


def _later(chance: random.Random, app: int, launches: list[float]) -> Iterator[Action]:
    """What becomes of `app`, by the times of the launches after its own."""

    def at(count: int) -> float | None:
        # A little after that launch: ActivityManager is not done at once either.
        return launches[count - 1] + chance.uniform(0, 1) if count <= len(launches) else None

    def change(count: int, adj: int) -> Iterator[Action]:
        when = at(count)
        if when is not None:
            yield Action(when, "adj", app, adj=adj)

    fate, cached_after = chance.random(), 2
    if fate < _SERVICE_SHARE + _PERCEPTIBLE_SHARE:
        yield from change(1, _SERVICE if fate < _SERVICE_SHARE else _PERCEPTIBLE)
        cached_after = chance.randint(*_BACKGROUND_LAUNCHES)
    else:
        yield from change(1, _PREVIOUS)
    yield from change(cached_after, chance.randint(*_CACHED))
    if chance.random() < _REORDER_SHARE:
        yield from change(cached_after + chance.randint(1, 4), chance.randint(*_CACHED))
    if chance.random() < _EXIT_SHARE:
        when = at(cached_after + chance.randint(1, 4))
        if when is not None:
            yield Action(when, "exit", app)


def _bursts(chance: random.Random, end_s: float) -> Iterator[Action]:
    at_s = chance.uniform(*_BURST_EVERY_S)
    while at_s < end_s:
        yield Action(at_s, "burst", permille=chance.randint(*_BURST_PERMILLE))
        over_s = at_s + chance.uniform(*_BURST_S)
        yield Action(over_s, "calm")
        at_s = over_s + chance.uniform(*_BURST_EVERY_S)
