# SPDX-License-Identifier: Apache-2.0
"""``lmk report``: captures, shown, converted, or compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click

from lmk.cli.options import duration, verbose_option
from lmk.cli.stream import FORMATS, writer
from lmk.console import open_console
from lmk.report import CapturedRecord, read_capture, unique
from lmk.report.compare import KILLERS, WITHIN, compare
from lmk.report.comparison import as_json as comparison_as_json
from lmk.report.comparison import show as show_comparison

__all__ = ["report"]


class _ShowsByDefault(click.Group):
    """``lmk report FILE`` is ``lmk report show FILE``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, "-h", "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ShowsByDefault)
def report() -> None:
    """Show, convert or compare captures of `lmk stream --format pb`.

    \b
    lmk report CAPTURE...           its records (the same as lmk report show)
    lmk report compare CAPTURE      shadow verdicts beside the kills of others
    """


_captures = click.argument(
    "captures", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True)
)
_truncated = click.option(
    "--truncated", is_flag=True, help="Take a cut last record as the end, not an error."
)


@report.command()
@_captures
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="table: lines for people. jsonl: one JSON object a line. pb: one capture of all.",
)
@_truncated
@verbose_option
def show(captures: tuple[Path, ...], format_: str, truncated: bool) -> None:
    """Show CAPTURES (`-`: standard input), each record once.

    Captures may overlap; records are told apart by device, boot, run and sequence number.
    """
    write = writer(format_, sys.stdout.buffer)
    for captured in _records(captures, truncated=truncated):
        if not captured.record.HasField("heartbeat"):
            write(captured.record)


@report.command("compare")
@_captures
@click.option(
    "--within",
    type=duration,
    metavar="TIME",
    help="How far apart a verdict and the kill that answers to it may be.  "
    f"[default: {WITHIN.seconds}s]",
)
@click.option(
    "--killer",
    "killers",
    multiple=True,
    metavar="NAME",
    help="A process whose SIGKILLs are for memory, beside " + ", ".join(KILLERS) + ". Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@_truncated
@verbose_option
def compare_command(
    captures: tuple[Path, ...],
    within: timedelta | None,
    killers: tuple[str, ...],
    as_json: bool,
    truncated: bool,
) -> None:
    """Lay shadow verdicts beside the kills that really happened.

    Both come from one CAPTURE (`lmk attach --shadow`, then `lmk stream --format pb`); or the
    verdicts from a first and the kills from a second, which may be of another run of the same load.

    \b
    same victim    the process of the verdict was killed
    same class     another of the same adj class was
    verdict only   nobody killed
    kill only      there was no such verdict
    """
    if len(captures) > 2:
        raise click.UsageError("one capture, or two: verdicts and kills")
    first, *more = ([path] for path in captures)
    found = compare(
        _records(first, truncated=truncated),
        _records(more[0], truncated=truncated) if more else None,
        within=within or WITHIN,
        killers=(*KILLERS, *killers),
    )
    if as_json:
        click.echo(json.dumps(comparison_as_json(found), indent=1))
    else:
        show_comparison(open_console(), found)


def _records(
    captures: tuple[Path, ...] | list[Path], *, truncated: bool
) -> Iterator[CapturedRecord]:
    return unique(
        captured
        for path in captures
        for captured in read_capture("-" if str(path) == "-" else path, allow_truncated=truncated)
    )
