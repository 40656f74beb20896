# SPDX-License-Identifier: Apache-2.0
"""``lmk policy``: look at policies, check them, send one to a device."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from lmk import policy as policies
from lmk.cli.options import device_options, say, say_rules_that_wait, verbose_option
from lmk.console import Column, open_console, show_table
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
        from lmk.attachment import connect_session
        from lmk.device.resolve import connect

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
    findings = policies.check(policies.read(file))
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
    from lmk.attachment import connect_session
    from lmk.device.resolve import connect

    wanted = policies.load(source)
    with connect(serial, transport=transport) as device:
        session = connect_session(device)
        session.set_policy(wanted)
        say_rules_that_wait(session, wanted)
        say(f"{device.serial}: policy {wanted.name!r} is in force")


@policy.command()
@click.argument("first", metavar="PRESET|FILE")
@click.argument("second", required=False, metavar="[PRESET|FILE]")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
@click.option("--exit-code", is_flag=True, help="Exit 6 when they differ.")
@device_options
def diff(
    first: str,
    second: str | None,
    as_json: bool,
    exit_code: bool,
    serial: str | None,
    transport: str | None,
) -> None:
    """Say in words how two policies differ.

    With -s and one PRESET or FILE: from what is in force on an attached device to that, so
    what a push of it would change.
    """
    if second is not None and serial is not None:
        raise UsageError("give two policies, or one and a device with -s; not all three")
    before, after = policies.load(first), policies.load(second or first)
    names = first, second or ""
    if second is None:
        from lmk.attachment import connect_session
        from lmk.device.resolve import connect

        with connect(serial, transport=transport) as device:
            before = connect_session(device).status().policy
            names = device.serial, first
    found = policies.differences(before, after)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
    elif found:
        columns = [Column("WHAT", drop=1), Column(names[0]), Column(names[1]), Column("BECOMES")]
        rows = [[each.words, each.before, each.after, each.field] for each in found]
        show_table(open_console(), columns, rows)
    else:
        say(f"{names[0]} and {names[1]} are the same")
    if found and exit_code:
        raise CheckFailed(f"{names[0]} and {names[1]} differ in {len(found)} of their fields")


@policy.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the policy to FILE instead of standard output.",
)
@device_options
def pull(output: Path | None, serial: str | None, transport: str | None) -> None:
    """Turn the device's lmkd properties into a policy.

    persist.device_config.lmkd_native.* goes before ro.lmk.*; defaults are those of lmkd, with
    ro.config.low_ram those for low RAM. Which properties were carried over and which could not
    be is said on standard error and stands in the policy's comments.
    """
    from lmk.device.resolve import connect
    from lmk.policy.lmkd import from_properties, text_of

    with connect(serial, transport=transport) as device:
        carried = from_properties(device.properties(), name=f"lmkd of {device.serial}")
        text = text_of(carried, source=device.serial)
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            output.write_text(text, "utf-8")
        except OSError as error:
            raise UsageError(f"cannot write {output}: {error.strerror}") from error
    console = open_console(stderr=True)
    base = "lmkd-lowram" if carried.low_ram else "lmkd-highperf"
    say(
        f"preset {base}, {len(carried.taken)} "
        f"propert{'y' if len(carried.taken) == 1 else 'ies'} carried over"
    )
    if carried.taken:
        columns = [Column("PROPERTY"), Column("VALUE"), Column("BECOMES")]
        rows = [
            [each.key, each.value, f"{each.field} = {each.stored}" if each.field else each.stored]
            for each in carried.taken
        ]
        show_table(console, columns, rows)
    if carried.left_out:
        say(f"{len(carried.left_out)} could not be carried over")
        columns = [Column("PROPERTY"), Column("VALUE"), Column("WHY NOT")]
        rows = [[each.key, each.value, each.why] for each in carried.left_out]
        show_table(console, columns, rows)
