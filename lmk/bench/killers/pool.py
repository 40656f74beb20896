# SPDX-License-Identifier: Apache-2.0
"""``tools/bench pool``: runs of several sessions as one series.

A run of ``killers`` takes most of a minute, and a series of them more time than there may be at
once. Rounds have every killer in them, so those of two sessions may be put together where both
were of the same killers on the same kind of device.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lmk.bench.killers.measure import UNITS
from lmk.bench.killers.outcome import judge, publish, publish_options
from lmk.bench.killers.publish import Where
from lmk.bench.killers.run import Run
from lmk.cli.options import verbose_option
from lmk.errors import UsageError

__all__ = ["pool", "read_runs"]


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
)
@publish_options
@verbose_option
def pool(files: tuple[Path, ...], output: Path | None, plot: Path | None) -> None:
    """Put the runs of several `killers --json FILE` together, as one series.

    They have to be of one kernel, ABI and size of device. Whether they are of one build of lmk
    and one load, only you know. Ends as `killers` does.
    """
    where, runs = read_runs(files)
    compared = publish(where, runs, output, plot)
    # Single points make no curve that could be beaten.
    judge(runs, compared if any("@" in run.killer for run in runs) else {})


def read_runs(files: Sequence[Path]) -> tuple[Where, list[Run]]:
    """The runs of all files, in their order, and where they were measured.

    :raises UsageError: a file that `killers` did not write, one that is named twice, or one that
        is of another device than the first.
    """
    runs: list[Run] = []
    places: list[Where] = []
    for file in files:
        where, found = _read(file)
        kind = (where.kernel, where.abi, where.variant)
        if places and kind != (first := (places[0].kernel, places[0].abi, places[0].variant)):
            raise UsageError(
                f"{file} is of another device than {files[0]}: {', '.join(kind)}; there "
                f"{', '.join(first)}"
            )
        if any(run in runs for run in found):
            raise UsageError(f"{file} has runs that a file before it has as well")
        places.append(where)
        runs += found
    return places[0], runs


def _read(file: Path) -> tuple[Where, list[Run]]:
    try:
        content = json.loads(file.read_bytes())
        if content["bench"] != "killers":
            raise UsageError(f"{file} is of the bench {content['bench']}: only killers' are pooled")
        entry = content["entries"][0]
        where = Where(*(str(entry[key]) for key in ("device", "kernel", "abi", "variant")))
        return where, [_run(fields) for fields in content["runs"]]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{file} is not what this `killers --json FILE` writes: {type(error).__name__}: {error}"
        ) from error


def _run(fields: dict[str, Any]) -> Run:
    values = {key: fields["values"][key] for key in UNITS}
    return Run(
        killer=fields["killer"],
        load=fields["load"],
        path=fields["path"],
        values=values,
        deaths=tuple(fields["deaths"]),
        late=tuple((due_ms, late_ms) for due_ms, late_ms in fields["late"]),
        events_ms=tuple(fields["events_ms"]),
        faults=tuple(fields["faults"]),
    )
