# SPDX-License-Identifier: Apache-2.0
"""``tools/bench NAME``: see :mod:`lmk.bench`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from lmk.bench.agent import bench_agent
from lmk.bench.attach import bench_attach
from lmk.bench.figures import Entry, print_table, to_json
from lmk.bench.growth import RAM_MB, bench_growth
from lmk.bench.kill import CYCLES, MIN_KILLS, bench_kill
from lmk.bench.killers.command import killers
from lmk.bench.killers.pool import pool
from lmk.bench.reboots import bench_reboots
from lmk.bench.socket import bench_socket
from lmk.bench.stream import bench_stream
from lmk.bench.take_over import ROUNDS, bench_take_over
from lmk.bench.target import target
from lmk.build import Bundle, build
from lmk.cli import run
from lmk.cli.options import bundle_option, verbose_option
from lmk.console import open_console
from lmk.errors import CheckFailed, UsageError
from lmk.policy import load
from lmk.virtual.services import start_lmkd
from lmk.virtual.stand_in import stand_in

__all__ = ["bench"]

_NAMES = {
    "kill": "Latency of each phase of a kill, order and survival over 20 cycles.",
    "agent": "Memory, CPU, files and wake-ups of agent and handlers at rest.",
    "attach": "From the call to the agent's Hello.",
    "stream": "Records and bytes per second from the spool, by each transport there is.",
    "socket": "lmkd's socket: 1,000 processes registered, 10,000 changes a second for a minute.",
    "take-over": "lmkd replaced and given back, and agent, guardian, both and host killed.",
    "growth": "What a decision costs with 100, 300, 1,000 and 3,000 processes.",
}
#: Their figures are of work that handlers do: whatever else this machine does is none of it.
_OWN_TIME = ("kill", "growth")
#: Those where lmkd is replaced: the virtual device gets a stand-in for one.
_WITH_LMKD = ("socket", "take-over")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def bench() -> None:
    """Measure a device: a table, and JSON with --json.

    Ends with 6 when what was measured cannot be true or must not happen: reports that
    differ from the device's own record, kills out of order, a foreground app that died.
    A figure that misses its aim is said, and is no error.
    """


@click.command()
@click.pass_context
@click.option(
    "--device",
    "serial",
    metavar="SERIAL",
    help="Measure there, and not on a virtual device booted for it.",
)
@click.option(
    "--json",
    "output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write the figures there as JSON; - is standard output.",
)
@click.option("--policy", default="default", show_default=True, help="A preset or a file.")
@click.option(
    "--zram-mb",
    type=click.IntRange(min=0),
    help="Swap of the virtual device; 0 is none.  [default: half of its memory]",
)
@click.option("--kernel", metavar="NAME", help="Of the virtual device: 6.12, 7.3, 7.3-arm64 …")
@click.option(
    "--own-time/--host-time",
    default=None,
    help="The clock of the virtual device goes by the instructions that it executes, whatever "
    "else this machine does.  [default: own-time for kill and growth]",
)
@click.option(
    "--cycles",
    type=click.IntRange(min=1),
    default=CYCLES,
    show_default=True,
    help="kill: how often the foreground app outgrows memory.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=ROUNDS,
    show_default=True,
    help="take-over: how often, and how often each of the four is killed.",
)
@click.option(
    "--reboots",
    type=click.IntRange(min=1),
    metavar="N",
    help="take-over: instead of that N reboots, with lmk attached, installed for good, and killed.",
)
@bundle_option
@verbose_option
def measure(
    context: click.Context,
    serial: str | None,
    output: Path | None,
    policy: str,
    zram_mb: int | None,
    kernel: str | None,
    own_time: bool | None,
    cycles: int,
    rounds: int,
    reboots: int | None,
    bundle: Bundle | None,
) -> None:
    name = str(context.info_name)
    for option, given in {
        "--zram-mb": zram_mb, "--kernel": kernel, "--own-time": own_time, "--reboots": reboots
    }.items():  # fmt: skip
        if serial is not None and given is not None:
            raise UsageError(f"{option} is for the virtual device that the bench boots")
    wanted = load(policy)
    faults: list[str] = []
    measured: list[Entry]
    if name == "take-over" and reboots is not None:
        entry, faults = bench_reboots(reboots, bundle=bundle, kernel=kernel)
        _conclude(name, [entry], faults, output)
        return
    with target(
        serial,
        kernel=kernel,
        zram_mb=zram_mb,
        ram_mb=RAM_MB if name == "growth" else 800,
        own_time=name in _OWN_TIME if own_time is None else own_time,
    ) as device:
        # Once: sources that change meanwhile are not what is measured.
        abi = device.run("uname -m").text.strip()
        bundle = bundle or build([abi])
        if name in _WITH_LMKD and serial is None:
            start_lmkd(device, stand_in("lmkd", abi), ("--log", "/run/lmkd.log"), gentle=True)
        if name == "kill":
            entry, faults = bench_kill(device, wanted, bundle=bundle, cycles=cycles)
            measured = [entry]
        elif name == "agent":
            measured = [bench_agent(device, wanted, bundle=bundle)]
        elif name == "socket":
            entry, faults = bench_socket(device, wanted, bundle=bundle)
            measured = [entry]
        elif name == "take-over":
            entry, faults = bench_take_over(device, bundle=bundle, rounds=rounds)
            measured = [entry]
        elif name == "growth":
            measured = bench_growth(device, wanted, bundle=bundle)
        elif name == "attach":
            measured = [bench_attach(device, wanted, bundle=bundle)]
        else:
            measured = bench_stream(device, bundle=bundle)
    _conclude(name, measured, faults, output)


def _conclude(name: str, measured: list[Entry], faults: list[str], output: Path | None) -> None:
    _publish(name, measured, output)
    missed = [line for entry in measured for line in entry.missed()]
    for line in (*missed, *faults):
        click.echo(f"{name}: {line}", err=True)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise CheckFailed(f"{name}: {faults[0]}{more}", detail="\n".join(faults))
    kills = measured[0].figures.get("kills")
    if name == "kill" and kills is not None and kills.numbers["value"] < MIN_KILLS:
        raise CheckFailed(f"kill: {kills.numbers['value']} kills are too few to judge by")


def _publish(name: str, measured: list[Entry], output: Path | None) -> None:
    if output is not None and str(output) == "-":
        click.echo(to_json(name, measured), nl=False)
        return
    print_table(open_console(), name, measured)
    if output is not None:
        output.write_text(to_json(name, measured))


for _name, _words in _NAMES.items():
    bench.add_command(
        click.Command(_name, callback=measure.callback, params=measure.params, help=_words)
    )
bench.add_command(killers)
bench.add_command(pool)


if __name__ == "__main__":
    sys.exit(run(bench, None, "tools/bench"))
