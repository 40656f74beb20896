# SPDX-License-Identifier: Apache-2.0
"""``lmk doctor``: can this device do it, and if not, why not?"""

from __future__ import annotations

import json

import click
from rich.text import Text

from lmk.attachment import probe
from lmk.build import Bundle
from lmk.cli.options import bundle_option, device_options
from lmk.console import Column, open_console, show_table
from lmk.device.probe import Answer, Probe
from lmk.device.resolve import connect
from lmk.errors import CheckFailed
from lmk.report.text import printable

__all__ = ["doctor"]

_COLUMNS = (
    Column("", drop=2),
    Column("WHAT"),
    Column("IS THERE"),
    Column("FOR / VALUE", drop=1),
    Column("PROBE", drop=3),
    Column("WOULD ENABLE IT", drop=4),
)


@click.command()
@device_options
@bundle_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object; `kill_path` is the answer.")
def doctor(serial: str | None, transport: str | None, bundle: Bundle | None, as_json: bool) -> None:
    """Probe what a device can do; exit 0 when there is a kill path, 6 when there is none.

    Nothing is attached. Each "no" names the probe that said so, and what would enable it.
    """
    with connect(serial, transport=transport) as device:
        found = probe(device, bundle=bundle)
    if as_json:
        click.echo(json.dumps(found.values, indent=1))
    else:
        _show(found)
    if found.kill_path == "none":
        missing = ", ".join(what for what, _probe, _enables in found.obstacles)
        raise CheckFailed(f"{found.values['serial']}: no kill path: {missing or 'see above'}")


def _show(found: Probe) -> None:
    console = open_console()
    rows: list[tuple[str | Text, ...]] = []
    section = ""
    for answer in found.answers():
        rows.append((answer.section if answer.section != section else "", *_cells(answer)))
        section = answer.section
    dropped = show_table(console, _COLUMNS, rows)
    if any(column.heading == "WOULD ENABLE IT" for column in dropped):
        for answer in found.answers():
            if answer.yes is False:
                words = f"{answer.name}: no, says {printable(answer.probe)}"
                console.print(Text(words + (f"; {answer.enables}" if answer.enables else "")))
    console.print(Text(f"\nkill path: {found.kill_path}", style="bold"))
    console.print(Text(f"  because: {printable(found.why)}"))
    for heading, missing in (
        ("missing", found.obstacles),
        ("missing for in_kernel", found.in_kernel_obstacles),
    ):
        for what, probe_words, enables in missing:
            console.print(Text(f"  {heading}: {printable(what)} ({probe_words}); {enables}"))


def _cells(answer: Answer) -> list[Text]:
    if answer.yes is None:
        word = Text("")
    elif answer.yes:
        word = Text("yes", style="green")
    else:
        word = Text("NO" if answer.needed else "no", style="red" if answer.needed else "yellow")
    return [
        Text(answer.name),
        word,
        Text(printable(answer.detail)),
        Text(printable(answer.probe)),
        Text(answer.enables if answer.yes is False else ""),
    ]
