# SPDX-License-Identifier: Apache-2.0
"""``lmk report``: captures, shown or converted."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lmk.cli.options import verbose_option
from lmk.cli.stream import FORMATS, writer
from lmk.report import read_capture, unique

__all__ = ["report"]


@click.command()
@click.argument(
    "captures", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True)
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="table: lines for people. jsonl: one JSON object a line. pb: one capture of all.",
)
@click.option("--truncated", is_flag=True, help="Take a cut last record as the end, not an error.")
@verbose_option
def report(captures: tuple[Path, ...], format_: str, truncated: bool) -> None:
    """Show CAPTURES of `lmk stream --format pb` (`-`: standard input), each record once.

    Captures may overlap; records are told apart by device, boot, run and sequence number.
    """
    write = writer(format_, sys.stdout.buffer)
    everything = (
        captured
        for path in captures
        for captured in read_capture("-" if str(path) == "-" else path, allow_truncated=truncated)
    )
    for captured in unique(everything):
        if not captured.record.HasField("heartbeat"):
            write(captured.record)
