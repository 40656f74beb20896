# SPDX-License-Identifier: Apache-2.0
"""A picture of a series: one HTML file that needs nothing else, drawn as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

from lmk.bench.killers.curve import Point
from lmk.bench.killers.publish import Where

__all__ = ["to_html"]

#: A value to its place in the picture.
_Scale = Callable[[float], float]

_WIDTH, _HEIGHT = 860, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 20, 60
#: Told apart by those who do not see colours the same way (Okabe and Ito), and by shape.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:60em;padding:0 1em}"
    "svg{width:100%;height:auto;background:#fff}text{font:13px sans-serif;fill:#222}"
    ".grid{stroke:#ddd}.axis{stroke:#444}.bar{stroke-opacity:.45}"
)


def to_html(where: Where, curves: Mapping[str, Mapping[str, Sequence[Point]]]) -> str:
    """For each load, time lost against apps alive: a point for each killer, with its intervals.

    :param curves: by load and killer, each in order of time lost.
    """
    title = "Killers side by side"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>",
        f"<p>{escape(f'{where.device}, {where.kernel}, {where.abi}, {where.variant}')}. ",
        "Up and to the left is better: more cached apps alive, less time lost by the app in "
        "front. Bars are the intervals in which the medians lie (95&nbsp;% from six runs on).",
    ]
    for load, found in curves.items():
        parts.append(f"<h2>{escape(load)}</h2>{_picture(found)}")
    return "\n".join(parts) + "\n"


def _picture(curves: Mapping[str, Sequence[Point]]) -> str:
    everyone = [point for points in curves.values() for point in points]
    most_lost = max([1.0, *(point.lost.high for point in everyone)])
    ticks = _ticks(most_lost)

    def x_of(lost: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.sqrt(max(0.0, lost) / ticks[-1])

    def y_of(alive: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * alive / 10

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">']
    for lost in ticks:
        parts.append(_line(x_of(lost), y_of(0), x_of(lost), y_of(10), "grid"))
        parts.append(_text(x_of(lost), y_of(0) + 18, f"{lost:g}", "middle"))
    for alive in range(0, 11, 2):
        parts.append(_line(x_of(0), y_of(alive), _WIDTH - _RIGHT, y_of(alive), "grid"))
        parts.append(_text(_LEFT - 8, y_of(alive) + 4, str(alive), "end"))
    parts.append(_line(x_of(0), y_of(0), _WIDTH - _RIGHT, y_of(0), "axis"))
    parts.append(_line(x_of(0), y_of(0), x_of(0), y_of(10), "axis"))
    parts.append(_text(_WIDTH / 2, _HEIGHT - 22, "time lost, ms for each event", "middle"))
    parts.append(
        f'<text transform="translate(18 {_HEIGHT / 2:.0f}) rotate(-90)" '
        'text-anchor="middle">cached apps alive, mean over the run</text>'
    )
    for index, (family, points) in enumerate(curves.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        path = " ".join(f"{x_of(p.lost.median):.1f},{y_of(p.alive.median):.1f}" for p in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
        parts += [_mark(point, x_of, y_of, colour, index) for point in points]
        y = _TOP + 16 + 20 * index
        parts.append(_shape(_WIDTH - 190, y - 4, colour, index))
        parts.append(_text(_WIDTH - 178, y, family, "start"))
    parts.append("</svg>")
    return "".join(parts)


def _mark(point: Point, x_of: _Scale, y_of: _Scale, colour: str, index: int) -> str:
    x, y = x_of(point.lost.median), y_of(point.alive.median)
    threshold = point.killer.partition("@")[2]
    tip = (
        f"{point.killer}: {point.lost.median:.1f} ms lost "
        f"({point.lost.low:.1f} to {point.lost.high:.1f}), {point.alive.median:.2f} alive "
        f"({point.alive.low:.2f} to {point.alive.high:.2f}), {point.kills.median:g} kills, "
        f"{point.lost.n} runs"
    )
    bars = _bar(x_of(point.lost.low), y, x_of(point.lost.high), y, colour)
    bars += _bar(x, y_of(point.alive.low), x, y_of(point.alive.high), colour)
    label = _text(x + 7, y - 7, threshold, "start") if threshold else ""
    return f"<g><title>{escape(tip)}</title>{bars}{_shape(x, y, colour, index)}{label}</g>"


def _shape(x: float, y: float, colour: str, index: int) -> str:
    if index % 3 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
    if index % 3 == 1:
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" fill="{colour}"/>'
    corners = f"{x:.1f},{y - 6:.1f} {x + 5.5:.1f},{y + 4:.1f} {x - 5.5:.1f},{y + 4:.1f}"
    return f'<polygon points="{corners}" fill="{colour}"/>'


def _bar(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="bar" {place} stroke="{colour}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks(most: float) -> list[float]:
    """Marks of an axis that is finer where little is lost; the last is not below `most`."""
    found = [0.0]
    for mark in _marks():
        found.append(mark)
        if mark >= most:
            break
    return found


def _marks() -> Iterable[float]:
    decade = 1.0
    while True:
        yield from (decade, 2 * decade, 5 * decade)
        decade *= 10
