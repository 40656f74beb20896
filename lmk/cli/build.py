# SPDX-License-Identifier: Apache-2.0
"""``lmk build``: sources to one bundle file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lmk.build import build as build_bundle
from lmk.build.recipe import ABIS
from lmk.cli.options import say, verbose_option

__all__ = ["build"]


@click.command()
@click.option(
    "--abi",
    type=click.Choice([*ABIS, "all"]),
    default="all",
    show_default=True,
    help="ABI of the devices it is for, as `uname -m` says it there.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE",
    help="Write the bundle there. Default: keep it in the cache.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the manifest instead of the path.")
@verbose_option
def build(abi: str, output: Path | None, as_json: bool) -> None:
    """Compile handlers, agent and loader into one bundle file.

    Prints the path of the bundle. What did not change is not compiled again. `lmk attach`
    builds by itself; a bundle is for hosts without compilers (lmk attach --bundle FILE).
    """
    bundle = build_bundle(tuple(ABIS) if abi == "all" else (abi,), output=output)
    if as_json:
        click.echo(json.dumps({"path": str(bundle.path), **bundle.manifest}, indent=2))
        return
    for name in bundle.abis:
        size = sum(len(file.content) for file in bundle.files(name))
        say(f"{name}: build {bundle.build_id(name)[:16]}, {size / 1e6:.1f} MB on the device")
    click.echo(bundle.path)
