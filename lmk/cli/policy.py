# SPDX-License-Identifier: Apache-2.0
"""``lmk policy``: look at policies, check them, send one to a device."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lmk import policy as policies
from lmk.cli.options import device_options, say, verbose_option
from lmk.errors import CheckFailed, UsageError

__all__ = ["policy"]


@click.group()
def policy() -> None:
    """Look at policies, check them, send one to a device.

    A policy is protobuf text format; proto/lmk/v1/policy.proto explains every field. What
    a file leaves out comes from the preset `default`.
    """


@policy.command()
@click.argument("source", required=False, metavar="[PRESET|FILE]")
@device_options
def show(source: str | None, serial: str | None, transport: str | None) -> None:
    """Print a complete policy: a preset, a file with defaults filled in, or a device's (-s).

    Without argument and without -s: the names of the presets.
    """
    if source is not None and serial is not None:
        raise UsageError("give a PRESET or FILE, or a device with -s; not both")
    if source is not None:
        click.echo(policies.dump(policies.load(source)), nl=False)
    elif serial is not None:
        from lmk.device.resolve import connect
        from lmk.session import connect_session

        with connect(serial, transport=transport) as device:
            click.echo(policies.dump(connect_session(device).status().policy), nl=False)
    else:
        for name in policies.presets():
            click.echo(name)


@policy.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@verbose_option
def check(file: Path) -> None:
    """Check the policy FILE (`-`: standard input); exit 6 when something is wrong with it.

    Findings are printed one per line: FILE:LINE:COLUMN: what is wrong.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}") from error
    findings = policies.check(text)
    for finding in findings:
        click.echo(f"{file}:{finding}")
    if findings:
        raise CheckFailed(f"{file}: {len(findings)} finding{'s' if len(findings) > 1 else ''}")
    say(f"{file}: good")


@policy.command()
@click.argument("source", metavar="PRESET|FILE")
@device_options
def push(source: str, serial: str | None, transport: str | None) -> None:
    """Make PRESET or FILE the policy of an attached device, from now on."""
    from lmk.device.resolve import connect
    from lmk.session import connect_session

    wanted = policies.load(source)
    with connect(serial, transport=transport) as device:
        connect_session(device).set_policy(wanted)
        say(f"{device.serial}: policy {wanted.name!r} is in force")
