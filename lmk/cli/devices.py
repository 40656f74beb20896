# SPDX-License-Identifier: Apache-2.0
"""``lmk devices``: what can be named with -s."""

from __future__ import annotations

import json
import shutil

import click

from lmk.cli.options import verbose_option
from lmk.console import Column, open_console, show_table
from lmk.device.resolve import available
from lmk.device.server import list_devices
from lmk.report.text import printable

__all__ = ["devices"]

_SHOWN = ("model", "product", "device", "address", "usb")
_COLUMNS = (
    Column("SERIAL"),
    Column("STATE"),
    Column("TRANSPORT", drop=1),
    Column("WHAT IT IS", drop=2),
)


@click.command()
@verbose_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def devices(as_json: bool) -> None:
    """List devices: virtual ones that run, and what `adb devices` shows.

    The adb server is started when adb is installed and none runs, as adb does it.
    """
    if shutil.which("adb") is not None:
        list_devices(start=True)
    found = list(available())
    if as_json:
        listed = [{"serial": one.serial, "state": one.state, **one.properties} for one in found]
        click.echo(json.dumps(listed, indent=1))
        return
    if not found:
        click.echo("no device; `lmk virtual up` boots one", err=True)
        return
    rows = [
        (
            printable(one.serial),
            printable(one.state),
            one.properties["transport"],
            printable(
                " ".join(f"{key}:{one.properties[key]}" for key in _SHOWN if key in one.properties)
            ),
        )
        for one in found
    ]
    show_table(open_console(), _COLUMNS, rows)
