# SPDX-License-Identifier: Apache-2.0
"""``tools/demo``: see :mod:`lmk.demo`."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack

import click

from lmk import virtual
from lmk.build import Bundle, build
from lmk.cli import run
from lmk.cli.options import bundle_option, verbose_option
from lmk.console import open_console
from lmk.demo.run import perform
from lmk.demo.summary import as_json, show
from lmk.device.resolve import connect
from lmk.errors import CheckFailed, UsageError
from lmk.policy import load

__all__ = ["demo"]

_GUEST = "virtual#demo"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--device",
    "serial",
    metavar="SERIAL",
    help="Play it there, and not on a virtual device booted for it.",
)
@click.option("--policy", default="default", show_default=True, help="A preset or a file.")
@click.option("--keep", is_flag=True, help="Leave the virtual device running.")
@click.option("--json", "as_object", is_flag=True, help="Print the result as JSON on stdout.")
@bundle_option
@verbose_option
def demo(
    serial: str | None, policy: str, keep: bool, as_object: bool, bundle: Bundle | None
) -> None:
    """Memory pressure on a device, and lmk that keeps its foreground app alive.

    Boots a virtual device, fills it with Android-like processes, attaches, lets the
    foreground app grow beyond memory, shows every kill as it is reported, detaches, and
    sums up. Ends with 6 when the foreground app died, the kernel's own OOM killer had to
    act, processes died out of order, or a report was wrong.

    On a device of yours (--device) only the demo's own processes can be killed.
    """
    wanted = load(policy)
    if wanted.dry_run:
        raise UsageError(f"policy {wanted.name!r} is a dry run: nobody would die, nothing to see")
    console = open_console(stderr=as_object)
    with ExitStack() as clean_up:
        own_guest = serial is None or serial.startswith("virtual")
        if serial is None:
            serial = _boot(clean_up, keep)
        device = clean_up.enter_context(connect(serial))
        bundle = bundle or build([device.run("uname -m").text.strip()])
        performance = perform(device, wanted, console, own_guest=own_guest, bundle=bundle)
    show(console, performance)
    if as_object:
        click.echo(json.dumps(as_json(performance), indent=2))
    if performance.verdict.faults:
        raise CheckFailed(performance.verdict.faults[0])
    if not performance.verdict.deaths:
        raise CheckFailed("nobody was killed, though the foreground app outgrew memory")


def _boot(clean_up: ExitStack, keep: bool) -> str:
    """Boot the demo's own guest, which ends with `clean_up`, and with this process however it ends.

    With `keep` it stays; the next demo finds it and leaves it as it is.
    """
    found = virtual.find(_GUEST)
    if found is not None and found.owner is not None:
        found = None  # of another demo that is playing
        name = f"{_GUEST}-{os.getpid()}"
    else:
        name = _GUEST
    guest = found or virtual.up(name, detached=keep)
    if keep:
        click.echo(
            f"{guest.name} stays up: `lmk virtual shell {guest.name}` looks around there, "
            f"`lmk virtual down {guest.name}` ends it",
            err=True,
        )
    elif found is None:
        clean_up.callback(guest.down)
    return guest.name


if __name__ == "__main__":
    sys.exit(run(demo, None, "tools/demo"))
