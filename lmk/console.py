# SPDX-License-Identifier: Apache-2.0
"""Rich's console as this toolkit uses it, and tables that fit the terminal they are shown on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["Column", "Rows", "build_table", "fitting", "open_console", "show_table"]

#: A pipe gets whole lines, whatever its width is taken for.
_PLAIN_WIDTH = 200
#: Between two columns.
_GAP = 2


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Whoever read has enough: that is no error, and the command's own end to decide."""
        raise BrokenPipeError


def open_console(*, stderr: bool = False) -> Console:
    """A console on standard output or standard error."""
    file: TextIO = sys.stderr if stderr else sys.stdout
    return _Console(file=file, width=None if file.isatty() else _PLAIN_WIDTH, highlight=False)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of :func:`show_table`.

    :ivar number: it is aligned to the right.
    :ivar least: width that it is given room for, however little is in it.
    :ivar drop: where the terminal is too narrow, columns with the highest go first; 0: never.
    """

    heading: str
    number: bool = False
    drop: int = 0
    least: int = 0


Rows = Sequence[Sequence[str | Text]]


def show_table(
    console: Console,
    columns: Sequence[Column],
    rows: Rows,
    title: str = "",
) -> list[Column]:
    """Print a table, without the columns that the terminal has no room for.

    :return: the columns that were left out.
    """
    kept, dropped = fitting(columns, rows, console.width)
    console.print(build_table(columns, rows, kept, title))
    return dropped


def fitting(columns: Sequence[Column], rows: Rows, width: int) -> tuple[list[int], list[Column]]:
    """Which columns fit into `width` beside each other, by index, and which are left out."""
    widths = [
        max(column.least, cell_len(column.heading), *(_length(row[index]) for row in rows))
        for index, column in enumerate(columns)
    ]
    kept = list(range(len(columns)))
    dropped: list[Column] = []
    while sum(widths[index] + _GAP for index in kept) - _GAP > width:
        candidates = [index for index in kept if columns[index].drop]
        if not candidates:
            break
        worst = max(candidates, key=lambda index: columns[index].drop)
        kept.remove(worst)
        dropped.append(columns[worst])
    return kept, dropped


def build_table(
    columns: Sequence[Column],
    rows: Rows,
    kept: Sequence[int],
    title: str = "",
) -> Table:
    """A table of the columns in `kept`."""
    table = Table(
        title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for index in kept:
        column = columns[index]
        table.add_column(
            Text(column.heading), justify="right" if column.number else "left", overflow="fold"
        )
    for row in rows:
        cells = (row[index] for index in kept)
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return table


def _length(cell: str | Text) -> int:
    return cell_len(cell if isinstance(cell, str) else cell.plain)
