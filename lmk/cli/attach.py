# SPDX-License-Identifier: Apache-2.0
"""``lmk attach`` and ``lmk detach``."""

from __future__ import annotations

from datetime import timedelta

import click

from lmk.attachment import LEASE
from lmk.attachment import attach as attach_device
from lmk.attachment import detach as detach_device
from lmk.build import Bundle
from lmk.cli.options import (
    bundle_option,
    device_options,
    duration,
    say,
    say_rules_that_wait,
)
from lmk.device.resolve import connect
from lmk.policy import load, stopped_killer
from lmk.report.text import printable

__all__ = ["attach", "detach"]


@click.command()
@device_options
@bundle_option
@click.option(
    "--policy",
    default="default",
    show_default=True,
    metavar="PRESET|FILE",
    help="Policy: a preset's name or a file in text format (lmk policy show).",
)
@click.option(
    "--lease",
    type=duration,
    metavar="TIME",
    help="The device detaches itself when nobody asked for anything for so long.  "
    f"[default: {LEASE // timedelta(minutes=1)}m]",
)
@click.option("--persist", is_flag=True, help="No lease: until `lmk detach` or a reboot.")
@click.option(
    "--shadow",
    "--dry-run",
    "shadow",
    is_flag=True,
    help="Decide and report, but kill nobody, beside whatever killer runs "
    "(lmk report compare lays both side by side).",
)
@click.option("--take-over", is_flag=True, help="Also from somebody else who holds the device.")
@click.option(
    "--replace-lmkd",
    is_flag=True,
    help="Stop Android's lmkd and kill in its place.  The device starts it again by itself, "
    "however the session ends; `lmk doctor` says whether it can be stopped.",
)
@click.option(
    "--prockill-bytes",
    type=click.Choice(["12", "16"]),
    help="Which LMK_PROCKILL ActivityManager takes, where the device's build does not say: "
    "12 up to the first Android 15, 16 after it.",
)
def attach(
    serial: str | None,
    transport: str | None,
    bundle: Bundle | None,
    policy: str,
    lease: timedelta | None,
    persist: bool,
    shadow: bool,
    take_over: bool,
    replace_lmkd: bool,
    prockill_bytes: str | None,
) -> None:
    """Push handlers and agent, start them, and leave them running.

    Only what the device lacks is pushed; what there is to compile is compiled first. An
    open `lmk stream` renews the lease, and so does every command that asks the agent.
    """
    if persist and lease is not None:
        raise click.UsageError("--lease and --persist contradict each other")
    if shadow and replace_lmkd:
        raise click.UsageError("--shadow and --replace-lmkd contradict each other: who would kill?")
    if prockill_bytes and not replace_lmkd:
        raise click.UsageError("--prockill-bytes is for --replace-lmkd")
    lease = lease or LEASE
    wanted = load(policy)
    with connect(serial, transport=transport) as device:
        session = attach_device(
            device,
            wanted,
            bundle=bundle,
            lease=None if persist else lease,
            dry_run=True if shadow else None,
            take_over=take_over,
            replace_lmkd=replace_lmkd,
            prockill_bytes=int(prockill_bytes) if prockill_bytes else None,
        ).keep()
        hello = session.hello
        until = "until `lmk detach`" if persist else f"lease {lease}"
        mode = ", shadow: nobody is killed" if hello.dry_run else ""
        if replace_lmkd:
            mode = ", in lmkd's place"
        named = stopped_killer(wanted) if not hello.dry_run else "none"
        stopped = printable(session.status().stopped_units) if named != "none" else ""
        if stopped:
            mode += f", in the place of {stopped}"
        elif named not in ("none", "any"):
            say(f"{device.serial}: {named} is not installed or does not run: nobody was stopped")
        say_rules_that_wait(session, wanted)
        say(f"{device.serial} is attached: policy {hello.policy_name!r}{mode}, {until}")


@click.command()
@device_options
def detach(serial: str | None, transport: str | None) -> None:
    """Give the device back: handlers unpinned, agent ended.

    Finds and removes what a dead agent left as well. Reports that nobody fetched are gone
    with the next attach after a reboot, not before.
    """
    with connect(serial, transport=transport) as device:
        found = detach_device(device)
        say(f"{device.serial} is detached" if found else f"{device.serial}: nothing was attached")
