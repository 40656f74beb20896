# SPDX-License-Identifier: Apache-2.0
"""Tables and the terminals they are shown on."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

from lmk.console import Column, show_table

COLUMNS = (Column("SERIAL"), Column("KERNEL", drop=1), Column("RAM", number=True, drop=2))
ROWS = [("virtual:7.3-arm64#instance", "7.3.4+deb13-cloud-arm64", "800 MB")]


def shown(width: int) -> tuple[str, list[str]]:
    console = Console(file=io.StringIO(), width=width)
    dropped = [column.heading for column in show_table(console, COLUMNS, ROWS)]
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue(), dropped


@pytest.mark.parametrize(
    ("width", "dropped"), [(59, []), (58, ["RAM"]), (51, ["RAM"]), (50, ["RAM", "KERNEL"])]
)
def test_columns_give_way_whole_and_the_first_is_never_cut(width: int, dropped: list[str]) -> None:
    text, left_out = shown(width)
    assert left_out == dropped
    assert "virtual:7.3-arm64#instance" in text
    assert len(text.splitlines()) == 2
    for heading, value in zip(("SERIAL", "KERNEL", "RAM"), ROWS[0], strict=True):
        assert (value in text) == (heading not in dropped)


def test_a_cell_that_fits_nowhere_is_folded_not_cut() -> None:
    text, _left_out = shown(10)
    assert "".join(line.strip() for line in text.splitlines()[1:]) == ROWS[0][0]


def test_a_reader_that_has_enough_of_a_table_is_no_error() -> None:
    code = (
        "import sys, click\n"
        "from lmk.cli import run\n"
        "from lmk.console import Column, open_console, show_table\n"
        "@click.command()\n"
        "def much():\n"
        "    show_table(open_console(), [Column('A')], [('x' * 100,)] * 20000)\n"
        "sys.exit(run(much, [], 'much'))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read().decode()
    assert process.wait(60) == 0, said
    assert "Traceback" not in said
