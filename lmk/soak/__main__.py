# SPDX-License-Identifier: Apache-2.0
"""``tools/soak``: see :mod:`lmk.soak`."""

from __future__ import annotations

import json
import os
import secrets
import sys
from contextlib import ExitStack
from datetime import timedelta

import click

from lmk import virtual
from lmk.build import Bundle, build
from lmk.cli import run
from lmk.cli.options import bundle_option, verbose_option
from lmk.console import open_console
from lmk.device.resolve import connect
from lmk.errors import CheckFailed, UsageError
from lmk.policy import load
from lmk.soak.run import soak
from lmk.soak.summary import as_json, show

__all__ = ["command"]

_MINUTES = 30.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.1, max=7 * 24 * 60),
    default=_MINUTES,
    show_default=True,
    help="How long.",
)
@click.option(
    "-s",
    "--serial",
    metavar="SERIAL",
    help="Run it there, and not on a virtual device booted for it.",
)
@click.option("--policy", default="default", show_default=True, help="A preset or a file.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="All that happens follows from it; it is printed.  [default: another each time]",
)
@click.option("--json", "as_object", is_flag=True, help="Print the result as JSON on stdout.")
@bundle_option
@verbose_option
def command(
    minutes: float,
    serial: str | None,
    policy: str,
    seed: int | None,
    as_object: bool,
    bundle: Bundle | None,
) -> None:
    """Random pressure and app churn for a long time, and everything that must hold meanwhile.

    Apps are launched, change their oom_score_adj, exit by themselves and are killed, about 20
    a minute; the app in front grows in bursts. Judged by the device's own record (the
    population's parent, the kernel's trace of signals): no record lost, no wrong victim, no
    kill without its report and no report without its kill, no kernel OOM kill, agent and
    guardian as large as they were. Ends with 6 when one of these does not hold.

    On a device of yours (-s) only the soak's own processes can be killed.
    """
    wanted = load(policy)
    if wanted.dry_run:
        raise UsageError(f"policy {wanted.name!r} is a dry run: nobody would die")
    if seed is None:
        seed = secrets.randbelow(1_000_000)
    click.echo(f"seed {seed}: `tools/soak --seed {seed}` does the same again", err=True)
    with ExitStack() as clean_up:
        own_guest = serial is None or serial.startswith("virtual")
        if serial is None:
            guest = virtual.up(f"virtual#soak-{os.getpid()}", detached=False)
            clean_up.callback(guest.down)
            serial = guest.name
        device = clean_up.enter_context(connect(serial))
        outcome = soak(
            device,
            wanted,
            bundle=bundle or build([device.run("uname -m").text.strip()]),
            duration=timedelta(minutes=minutes),
            seed=seed,
            own_guest=own_guest,
        )
    show(open_console(stderr=as_object), outcome)
    if as_object:
        click.echo(json.dumps(as_json(outcome), indent=2))
    if outcome.faults:
        more = f" (and {len(outcome.faults) - 1} more)" if len(outcome.faults) > 1 else ""
        raise CheckFailed(f"{outcome.faults[0]}{more}", detail="\n".join(outcome.faults))


if __name__ == "__main__":
    sys.exit(run(command, None, "tools/soak"))
