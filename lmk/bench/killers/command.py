# SPDX-License-Identifier: Apache-2.0
"""``tools/bench killers``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from lmk import virtual
from lmk.attachment import detach
from lmk.bench.killers.attached import policy_of
from lmk.bench.killers.outcome import judge, publish, publish_options
from lmk.bench.killers.publish import Where
from lmk.bench.killers.run import DISK, Run, Setting
from lmk.bench.killers.scene import LOADS, Load, Scene
from lmk.bench.killers.series import run_series
from lmk.bench.killers.spec import CURVES, KILLERS, Spec, curve_points, parse_spec
from lmk.bench.killers.spin import Spin
from lmk.bench.target import target
from lmk.build import Bundle, build
from lmk.cli.options import bundle_option, verbose_option
from lmk.device.interface import Device
from lmk.errors import UsageError
from lmk.workload.vitals import read_vitals

__all__ = ["killers"]

_RAM_MB, _ZRAM_MB, _DISK_MB = 512, 256, 512
_RUNS, _CURVE_RUNS = 5, 10


@click.command()
@click.option(
    "--curve",
    is_flag=True,
    help="Sweep one threshold of each killer: time lost against cached apps alive.",
)
@click.option(
    "--killer",
    "killers_",
    multiple=True,
    metavar="NAME[:POLICY][@FIELD=VALUE,…]",
    help="Measure this one; may be given several times.  "
    f"[default: {', '.join(KILLERS)}; with --curve {', '.join(CURVES)}]",
)
@click.option(
    "--load",
    "loads",
    multiple=True,
    type=click.Choice(list(LOADS)),
    help="May be given several times.  [default: all; with --curve burst]",
)
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    help=f"Of each killer and load, interleaved.  [default: {_RUNS}; with --curve {_CURVE_RUNS}]",
)
@click.option(
    "--events",
    type=click.IntRange(min=1),
    help="How often a load presses in a run.  "
    f"[default: {', '.join(f'{load.name} {load.events}' for load in LOADS.values())}]",
)
@click.option("--burst-mb", type=click.IntRange(min=1), help="Size of a burst.  [default: 190]")
@click.option(
    "--lmkd",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="An lmkd that runs on the device: measure it as well.",
)
@click.option(
    "--own-time/--host-time",
    default=True,
    show_default=True,
    help="The clock of the virtual device goes by the instructions that it executes, whatever "
    "else this machine does.",
)
@click.option("--kernel", metavar="NAME", help="Of the virtual device: 6.12, 7.3, 7.3-arm64 …")
@click.option(
    "--device",
    "serial",
    metavar="SERIAL",
    help="Measure there, and not on a virtual device booted for it. Whatever runs there may die.",
)
@click.option(
    "--file",
    default=DISK,
    show_default=True,
    help="What the load thrash reads; on the device.",
)
@publish_options
@bundle_option
@verbose_option
def killers(
    curve: bool,
    killers_: tuple[str, ...],
    loads: tuple[str, ...],
    runs: int | None,
    events: int | None,
    burst_mb: int | None,
    lmkd: Path | None,
    own_time: bool,
    kernel: str | None,
    serial: str | None,
    file: str,
    output: Path | None,
    plot: Path | None,
    bundle: Bundle | None,
) -> None:
    """Put killers to the same loads in the same guest, in turn.

    \b
    kernel      the kernel's own OOM killer alone
    earlyoom    Debian's
    level       MemAvailable below a level, pidfd and process_mrelease
    lmk:POLICY  lmk under a preset or a policy file
    lmkd        the binary that --lmkd names

    The virtual device has 512 MB and 256 MB of zram. docs/benchmarks.md says how each figure
    comes about. Ends with 6 when the kernel's OOM killer killed under lmk, or lmk killed what
    the user notices while cached apps were left; and, with --curve, when a rival is better
    than lmk on both axes beyond the intervals.
    """
    if serial is not None and kernel is not None:
        raise UsageError("--kernel is for the virtual device that the bench boots")
    specs = _specs(killers_, curve, lmkd)
    chosen = [LOADS[name] for name in loads or (("burst",) if curve else tuple(LOADS))]
    done: list[Run] = []
    with target(
        serial,
        kernel=kernel,
        ram_mb=_RAM_MB,
        zram_mb=_ZRAM_MB,
        disk_mb=_DISK_MB,
        own_time=own_time,
    ) as device:
        detach(device)
        where = _where(device)
        _check_file(device, file, chosen)
        setting = Setting(
            device,
            Scene.of(read_vitals(device).available_kb, burst_mb),
            # Once: sources that change meanwhile are not what is measured.
            bundle or build([where.abi]),
            lmkd,
            file,
        )
        try:
            with _unresting(device, setting.bundle):
                run_series(
                    setting,
                    specs,
                    chosen,
                    runs or (_CURVE_RUNS if curve else _RUNS),
                    events=events,
                    on_run=done.append,
                )
        finally:
            # Hours of runs are not lost with the link.
            compared = publish(where, done, output, plot) if done else {}
    judge(done, compared if curve else {})


def _specs(wanted: Sequence[str], curve: bool, lmkd: Path | None) -> list[Spec]:
    specs = [parse_spec(text) for text in wanted or (CURVES if curve else KILLERS)]
    has_lmkd = any(spec.kind == "lmkd" for spec in specs)
    if has_lmkd and lmkd is None:
        raise UsageError("no lmkd to measure: give --lmkd FILE")
    if lmkd is None:
        click.echo("killers: no lmkd binary is measured; --lmkd FILE names one", err=True)
    elif not has_lmkd:
        specs.append(parse_spec("lmkd"))
    points = [point for spec in specs for point in (curve_points if curve else Spec.points)(spec)]
    for point in points:
        if point.kind == "lmk":
            policy_of(point)  # refused now, and not hours later
    if len({point.name for point in points}) < len(points):
        raise UsageError("one killer is named twice")
    return points


def _unresting(device: Device, bundle: Bundle | None) -> AbstractContextManager[object]:
    """For a virtual device with a clock of its own: see :mod:`lmk.bench.killers.spin`."""
    guest = virtual.find(device.serial) if device.serial.startswith("virtual") else None
    if guest is not None and guest.options.own_time:
        return Spin(device, bundle=bundle)
    return nullcontext()


def _check_file(device: Device, file: str, loads: Sequence[Load]) -> None:
    readers = [load.name for load in loads if load.reads_file]
    if readers and device.stat(file) is None:
        raise UsageError(
            f"{device.serial} has no {file}, which the load {readers[0]} reads: give --file, "
            "or other loads with --load"
        )


def _where(device: Device) -> Where:
    vitals = read_vitals(device)
    release, _, abi = device.run("uname -rm").text.strip().partition(" ")
    swap_mb = vitals.swap_total_kb // 1024
    swap = f"{swap_mb} MB swap" if swap_mb else "no swap"
    return Where(device.serial, release, abi, f"{vitals.total_kb // 1024} MB, {swap}")
