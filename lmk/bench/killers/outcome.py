# SPDX-License-Identifier: Apache-2.0
"""A series of runs is published, and judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from lmk.bench.killers.curve import Comparison, compare, points_of
from lmk.bench.killers.plot import to_html
from lmk.bench.killers.publish import Where, print_comparisons, print_summaries, to_json
from lmk.bench.killers.run import Run
from lmk.bench.killers.summary import summarise
from lmk.console import open_console
from lmk.errors import CheckFailed

__all__ = ["OURS", "judge", "publish", "publish_options"]

_F = TypeVar("_F", bound=Callable[..., Any])

#: The curve that the others are held against.
OURS = "lmk:default"


def publish_options(command: _F) -> _F:
    """``--json FILE`` and ``--plot FILE``, as `output` and `plot` of :func:`publish`."""
    plot = click.option(
        "--plot",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write a picture there, as one HTML file that needs nothing else.",
    )
    output = click.option(
        "--json",
        "output",
        type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
        metavar="FILE",
        help="Write the figures and all runs there as JSON; - is standard output.",
    )
    return output(plot(command))


def publish(
    where: Where,
    done: Sequence[Run],
    output: Path | None,
    plot: Path | None,
) -> dict[str, list[Comparison]]:
    """Say what a series of runs comes to: the tables, and the files that are asked for.

    :param output: of the JSON form; ``-`` is standard output, and then there are no tables.
    :returns: by load, each rival's point against the curve of :data:`OURS`.
    """
    summaries = summarise(done)
    curves = {
        load: points_of(summary for summary in summaries if summary.load == load)
        for load in dict.fromkeys(run.load for run in done)
    }
    compared = {
        load: compare(
            curve[OURS],
            [point for family, points in curve.items() if family != OURS for point in points],
        )
        for load, curve in curves.items()
        if OURS in curve
    }
    if plot is not None:
        plot.write_text(to_html(where, curves))
    if output is not None and str(output) == "-":
        click.echo(to_json(where, summaries, done, compared), nl=False)
        return compared
    console = open_console()
    print_summaries(console, where, summaries)
    for load, found in compared.items():
        if found:
            print_comparisons(console, load, found)
    if output is not None:
        output.write_text(to_json(where, summaries, done, compared))
    return compared


def judge(done: Sequence[Run], compared: dict[str, list[Comparison]]) -> None:
    """Hold a series against what must not happen.

    :raises lmk.errors.CheckFailed: a fault of a run of lmk's, or a rival that is surely better.
    """
    faults = [
        f"{run.load}, {run.killer}: {fault}"
        for run in done
        if run.killer.startswith("lmk:")
        for fault in run.faults
    ]
    faults += [
        f"{load}: {comparison.point.killer} is better than {OURS} on both axes"
        for load, found in compared.items()
        for comparison in found
        if comparison.surely
    ]
    for line in faults:
        click.echo(f"killers: {line}", err=True)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise CheckFailed(f"killers: {faults[0]}{more}", detail="\n".join(faults))
