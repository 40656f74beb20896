# SPDX-License-Identifier: Apache-2.0
"""``lmk devices``: what can be named with -s."""

from __future__ import annotations

import json
import shutil
import sys

import click
from rich.console import Console
from rich.table import Table

from lmk.cli.options import verbose_option
from lmk.device.resolve import available
from lmk.device.server import list_devices
from lmk.report.text import printable

__all__ = ["devices"]

_SHOWN = ("model", "product", "device", "address", "usb")


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
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("SERIAL", "STATE", "TRANSPORT", "WHAT IT IS"):
        table.add_column(heading, overflow="fold")
    for one in found:
        more = [f"{key}:{one.properties[key]}" for key in _SHOWN if key in one.properties]
        table.add_row(
            printable(one.serial),
            printable(one.state),
            one.properties["transport"],
            printable(" ".join(more)),
        )
    Console(width=None if sys.stdout.isatty() else 160, highlight=False).print(table)
