# SPDX-License-Identifier: Apache-2.0
"""``lmk virtual``: boot, list and end virtual devices."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from lmk import virtual as guests
from lmk.cli.options import say, verbose_option
from lmk.console import Column, open_console, show_table
from lmk.errors import UsageError

__all__ = ["virtual"]


_COLUMNS = (
    Column("SERIAL"),
    Column("ADB"),
    Column("KERNEL", drop=1),
    Column("ABI", drop=3),
    Column("ACCEL", drop=5),
    Column("RAM", number=True, drop=2),
    Column("SWAP", number=True, drop=2),
    Column("CPUS", number=True, drop=4),
)


@click.group()
def virtual() -> None:
    """Virtual devices: a stock kernel and the real adbd under QEMU.

    A NAME is virtual[:KERNEL][#INSTANCE]: `virtual` is the newest kernel on this
    machine's ABI, `virtual:7.3-arm64` another ABI, `virtual#2` a second one beside it.
    """


@virtual.command()
@verbose_option
@click.argument("name", default="virtual")
@click.option("--ram-mb", type=int, default=800, show_default=True, help="Memory in MB.")
@click.option("--cpus", type=int, default=2, show_default=True, help="Number of CPUs.")
@click.option("--zram-mb", type=int, help="Swap in MB; 0 is none.  [default: half of the memory]")
@click.option("--disk-mb", type=int, default=0, help="Size of a disk that reads as zeros in MB.")
@click.option(
    "--adbd-user",
    type=click.Choice(["root", "shell"]),
    default="root",
    show_default=True,
    help="User that adbd and its shells run as.",
)
@click.option(
    "--kernel-arg",
    "kernel_arguments",
    multiple=True,
    metavar="ARG",
    help="Add to the kernel command line, as psi=0. May be given several times.",
)
@click.option(
    "--debian",
    multiple=True,
    metavar="PACKAGE",
    help="Mount a Debian root with PACKAGE at /debian. May be given several times.",
)
@click.option(
    "--init",
    type=click.Choice(["busybox", "systemd"]),
    default="busybox",
    show_default=True,
    help="systemd: Debian's is pid 1, and the Debian root is the guest's own.",
)
@click.option(
    "--system",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    metavar="DIR",
    help="Files of the guest's own system, as `lmk package --init-rc` writes them. May be given "
    "several times.",
)
@click.option(
    "--data",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep /data in FILE, made when it is not there.  [default: it ends with the guest]",
)
@click.option(
    "--lmkd",
    metavar="stand-in|FILE",
    help="Run a stand-in for lmkd (built in a checkout), or FILE, a static program, as the service "
    "lmkd of an Android-like init.",
)
def up(
    name: str,
    ram_mb: int,
    cpus: int,
    zram_mb: int | None,
    disk_mb: int,
    adbd_user: str,
    kernel_arguments: tuple[str, ...],
    debian: tuple[str, ...],
    init: str,
    system: tuple[Path, ...],
    data: Path | None,
    lmkd: str | None,
) -> None:
    """Boot NAME; it runs until `lmk virtual down`."""
    if lmkd is not None:
        from lmk.virtual.phone import lmkd_system

        if init == "systemd":
            raise UsageError("--lmkd is a service of Android's init: leave out --init systemd")
        # First: of two folders with an lmkd it is the one that is asked for.
        system = (lmkd_system(lmkd, guests.parse(name)[1].abi.machine), *system)
    guest = guests.up(
        name,
        ram_mb=ram_mb,
        cpus=cpus,
        zram_mb=zram_mb,
        disk_mb=disk_mb,
        adbd_user=adbd_user,
        kernel_arguments=kernel_arguments,
        debian=debian,
        init=init,
        system=system,
        data=data,
    )
    click.echo(f"{guest.name} is up (adb connect 127.0.0.1:{guest.port})")


@virtual.command()
@verbose_option
@click.argument("names", nargs=-1)
@click.option("--all", "everyone", is_flag=True, help="Every virtual device that runs.")
def down(names: tuple[str, ...], everyone: bool) -> None:
    """End NAMES (by default the one that runs) and remove their logs."""
    if everyone and names:
        raise UsageError("give names or --all, not both")
    running = [guest.name for guest in guests.running()]
    for name in running if everyone else names or (_only(),):
        click.echo(f"{name} {'is down' if guests.down(name) else 'was not up'}")


@virtual.command(name="list")
@verbose_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_(as_json: bool) -> None:
    """List the virtual devices that run."""
    running = guests.running()
    for wrong in guests.unreadable():
        say(f"left out: {wrong}")
    if as_json:
        rows = [
            asdict(guest) | {"console_log": str(guest.console_log), "address": guest.address}
            for guest in running
        ]
        click.echo(json.dumps(rows, indent=1))
        return
    if not running:
        click.echo("none is up; `lmk virtual up` boots one", err=True)
        return
    guest_rows = [
        (
            guest.name,
            f"127.0.0.1:{guest.port}",
            guest.kernel,
            guest.abi,
            guest.accelerator,
            f"{guest.options.ram_mb} MB",
            f"{guest.options.swap_mb} MB" if guest.options.swap_mb else "none",
            str(guest.options.cpus),
        )
        for guest in running
    ]
    show_table(open_console(), _COLUMNS, guest_rows)


@virtual.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("name", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def shell(context: click.Context, name: str | None, command: tuple[str, ...]) -> None:
    """Open a shell on NAME, or run COMMAND there and take its exit code."""
    from lmk.device.resolve import connect
    from lmk.virtual.terminal import interact

    with connect(name or _only()) as device:
        if not command:
            interact(device)
            return
        result = device.run(" ".join(command), timeout=None)
        sys.stdout.buffer.write(result.stdout)
        sys.stderr.buffer.write(result.stderr)
        context.exit(result.exit_code)


@virtual.command()
@verbose_option
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the guest ends.")
def logs(name: str | None, follow: bool) -> None:
    """Print the console of NAME; of a boot that failed, too."""
    full_name, _kernel = guests.parse(name or _only())
    directory = guests.place(full_name)
    console = directory / "console.log"
    if not console.exists():
        raise UsageError(f"{full_name} has no console log: it is not up, and no boot of it failed")
    _print_from(console, 0)
    if follow:
        _follow(full_name, console)


def _follow(name: str, console: Path) -> None:
    position = console.stat().st_size
    while guests.find(name) is not None and console.exists():
        if console.stat().st_size > position:
            position = _print_from(console, position)
        else:
            time.sleep(0.2)


def _print_from(console: Path, position: int) -> int:
    with console.open("rb") as log:
        log.seek(position)
        data = log.read()
    out = sys.stdout.buffer
    out.write(data)
    out.flush()
    return position + len(data)


def _only() -> str:
    names = [guest.name for guest in guests.running()]
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError("no virtual device is up; `lmk virtual up` boots one")
    raise UsageError(f"several virtual devices are up: name one of {', '.join(names)}")
