# SPDX-License-Identifier: Apache-2.0
"""``lmk package``: a permanent install as generated files."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import click
from rich.text import Text

from lmk import package as packages
from lmk.build import Bundle
from lmk.build import build as build_bundle
from lmk.build.recipe import ABIS
from lmk.cli.options import bundle_option, say, verbose_option
from lmk.console import Column, open_console, show_table
from lmk.package import Packaged, Written
from lmk.policy import load

__all__ = ["package"]

_COLUMNS = (
    Column("FILE"),
    Column("MODE", drop=2),
    Column("GOES TO"),
    Column("OWNER", drop=1),
    Column("SELINUX", drop=3),
)


@click.command()
@verbose_option
@bundle_option
@click.option("--init-rc", "kind", flag_value="init-rc", help="A service of Android's init.")
@click.option("--magisk", "kind", flag_value="magisk", help="A module for Magisk.")
@click.option("--systemd", "kind", flag_value="systemd", help="A systemd unit.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=True),
    required=True,
    metavar="DIR",
    help="Folder to write, empty or not there yet.",
)
@click.option(
    "--policy",
    metavar="PRESET|FILE",
    help="Policy.  [default: linux with --systemd, else default]",
)
@click.option(
    "--abi",
    type=click.Choice([*ABIS]),
    help="ABI of the device.  [default: this machine's with --systemd, else aarch64]",
)
@click.option(
    "--prockill-bytes",
    type=click.Choice(["12", "16"]),
    help="Android: which LMK_PROCKILL its ActivityManager takes; `lmk doctor` says.",
)
@click.option(
    "--prefix", metavar="DIR", help="systemd: programs go below it.  [default: /usr/local]"
)
@click.option(
    "--state",
    metavar="DIR",
    help="systemd: the agent's folder, /data/lmk where there is a /data.  [default: /run/lmk]",
)
@click.option("--json", "as_json", is_flag=True, help="What was written, as JSON.")
def package(
    kind: str | None,
    output: Path,
    bundle: Bundle | None,
    policy: str | None,
    abi: str | None,
    prockill_bytes: str | None,
    prefix: str | None,
    state: str | None,
    as_json: bool,
) -> None:
    """Write files that start the agent with every boot, for good.

    The killer that it replaces stays installed: a boot without the agent has it as ever.
    DIR/README says how to install, switch off and uninstall.
    """
    if kind is None:
        raise click.UsageError("say for what: --init-rc, --magisk or --systemd")
    linux = kind == "systemd"
    if linux and prockill_bytes:
        raise click.UsageError("--prockill-bytes is Android's")
    if not linux and (prefix or state):
        raise click.UsageError("--prefix and --state are for --systemd")
    if not linux and not prockill_bytes:
        raise click.UsageError(
            "--prockill-bytes is missing: 12 up to Android 14, 16 from 16 on; for a 15 "
            "`lmk doctor` of such a device says which"
        )
    machine = platform.machine()
    abi = abi or (machine if linux and machine in ABIS else "aarch64")
    wanted = load(policy or ("linux" if linux else "default"))
    packages.check_folder(output)
    made = build_bundle([abi]) if bundle is None else bundle
    files: list[Packaged]
    if linux:
        files = packages.systemd(
            made, abi, wanted, prefix=prefix or "/usr/local", state=state or "/run/lmk"
        )
    else:
        make = packages.init_rc if kind == "init-rc" else packages.magisk
        files = make(made, abi, wanted, int(prockill_bytes or 0))
    _show(packages.write(output, files), output, as_json)


def _show(written: list[Written], output: Path, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "path": str(file.path),
                "mode": f"{file.mode:04o}",
                "place": file.place or None,
                "owner": file.owner,
                "label": file.label or None,
                "sha256": file.sha256,
            }
            for file in written
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    base = output.expanduser().absolute()
    table: list[tuple[str | Text, ...]] = [
        (
            str(file.path.relative_to(base)),
            f"{file.mode:04o}",
            file.place,
            file.owner if file.place else "",
            file.label,
        )
        for file in written
    ]
    show_table(open_console(), _COLUMNS, table)
    say(f"{output}/README says how to install and uninstall it")
