# SPDX-License-Identifier: Apache-2.0
"""``lmk pressure``: a memory eater on the device, until Ctrl-C."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import click
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from lmk.build import Bundle
from lmk.cli.options import bundle_option, device_options
from lmk.cli.options import duration as duration_of
from lmk.console import open_console
from lmk.device.resolve import connect
from lmk.workload import Eater, EaterState

__all__ = ["pressure"]

_SIZE = re.compile(r"(\d+)(M|MB|MiB|G|GB|GiB)", re.IGNORECASE)
_MOST_MB = 1024 * 1024
_FLOOR_WORDS = "it would take MemAvailable below the floor (--floor; --no-floor for none)"


def _size_mb(value: str) -> int:
    """A size with its unit, in MiB: ``300M``, ``2G``."""
    match = _SIZE.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a size with its unit, like 300M or 2G")
    size_mb = int(match[1]) * (1024 if match[2][0] in "gG" else 1)
    if not 0 < size_mb <= _MOST_MB:
        raise click.BadParameter(f"{value} is not within 1M and {_MOST_MB // 1024}G")
    return size_mb


def _rate_mb_per_s(value: str) -> int:
    """A rate with its unit, in MiB/s: ``50M/s``."""
    match = _SIZE.fullmatch(value.removesuffix("/s"))
    if match is None or not value.endswith("/s"):
        raise click.BadParameter(f"{value!r} is not a rate with its unit, like 50M/s")
    return _size_mb(value.removesuffix("/s"))


@click.command()
@device_options
@click.option(
    "--size", type=_size_mb, metavar="SIZE", required=True, help="How much to eat: 300M, 2G."
)
@click.option(
    "--rate",
    type=_rate_mb_per_s,
    metavar="RATE",
    help="How fast: 50M/s. Default: as fast as it goes.",
)
@click.option(
    "--adj",
    type=click.IntRange(-1000, 1000),
    default=900,
    show_default=True,
    help="oom_score_adj of the eater: at 900 it is itself among the first to die.",
)
@click.option(
    "--floor",
    type=_size_mb,
    metavar="SIZE",
    help="MemAvailable not to cross. Default: 5 % of the device's memory, at least 32M.",
)
@click.option("--no-floor", is_flag=True, help="Eat on however little is left.")
@click.option(
    "--duration",
    type=duration_of,
    metavar="TIME",
    help="End after that long: 30s, 5m. Default: at Ctrl-C.",
)
@click.option("--touch", is_flag=True, help="Keep touching it, so that it is not swapped out.")
@bundle_option
def pressure(
    serial: str | None,
    transport: str | None,
    size: int,
    rate: int | None,
    adj: int,
    floor: int | None,
    no_floor: bool,
    duration: timedelta | None,
    touch: bool,
    bundle: Bundle | None,
) -> None:
    """Make memory pressure on the device with a process that eats memory and holds it.

    It ends with this command, also when the link breaks.
    """
    if no_floor and floor is not None:
        raise click.UsageError("--floor and --no-floor contradict each other")
    with (
        connect(serial, transport=transport) as device,
        Eater(
            device,
            size,
            rate_mb_per_s=rate or 0,
            adj=adj,
            floor_mb=0 if no_floor else floor,
            touch=touch,
            bundle=bundle,
        ) as eater,
        _Display(size) as display,
    ):
        _follow(eater, duration, display)


def _follow(eater: Eater, duration: timedelta | None, display: _Display) -> None:
    end = None if duration is None else time.monotonic() + duration.total_seconds()
    while True:
        left = None if end is None else timedelta(seconds=max(0.0, end - time.monotonic()))
        try:
            state = eater.next(left)
        except TimeoutError:
            return
        if state is None:
            return
        display.show(state)
        if end is not None and time.monotonic() >= end:
            return


class _Display:
    """A bar on a terminal; elsewhere a line for each change and each second."""

    def __init__(self, size_mb: int) -> None:
        self._size_mb = size_mb
        self._console = open_console(stderr=True)
        self._said_at = 0.0
        self._phase = ""
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:.0f} of {task.total:.0f} MB"),
            TextColumn("{task.fields[available]}", style="dim"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> _Display:
        self._bar.start()
        self._task = self._bar.add_task("starting", total=self._size_mb, available="")
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def show(self, state: EaterState) -> None:
        """Show what the eater said."""
        words = {
            "start": "eating",
            "grow": "eating",
            "grown": "holding",
            "hold": "holding",
            "floor": "holding, stopped at the floor",
            "killed": "killed by the device",
            "end": "ended",
        }[state.phase]
        if state.phase == "hold" and self._phase.startswith("holding"):
            words = self._phase
        changed = words != self._phase
        self._phase = words
        eaten_mb = state.eaten_kb / 1024
        available = f"{state.available_kb / 1024:.0f} MB available"
        if self._task is not None:
            self._bar.update(self._task, completed=eaten_mb, description=words, available=available)
        if state.phase == "floor":
            self._console.print(f"Stopped at {eaten_mb:.0f} MB: {_FLOOR_WORDS}.", highlight=False)
        if state.phase == "killed":
            self._console.print(
                "The eater is gone: killed, as a low-memory killer does.", highlight=False
            )
        if not self._console.is_terminal and (changed or time.monotonic() - self._said_at >= 1):
            self._said_at = time.monotonic()
            self._console.print(
                f"{words}: {eaten_mb:.0f} of {self._size_mb} MB, {available}", highlight=False
            )
