# SPDX-License-Identifier: Apache-2.0
"""``lmk status``: what an attached device sees, and what it would do."""

from __future__ import annotations

import json

import click

from lmk.attachment import connect_session
from lmk.cli.options import device_options
from lmk.console import open_console
from lmk.device.resolve import connect
from lmk.report.overview import Overview
from lmk.report.plain import plain

__all__ = ["status"]


@click.command()
@device_options
@click.option("--candidates/--no-candidates", default=True, help="Show who would die next.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(serial: str | None, transport: str | None, candidates: bool, as_json: bool) -> None:
    """Show what an attached device sees, and what it would do.

    Signals against their limits, who would die next, counts of verdicts and refusals, what the
    handlers cost, kills left in the budget, lease left.
    """
    with connect(serial, transport=transport) as device:
        found = connect_session(device).status(candidates=candidates)
    if as_json:
        click.echo(json.dumps(plain(found), indent=1))
        return
    console = open_console()
    console.print(Overview(found).page(console.width))
