# SPDX-License-Identifier: Apache-2.0
"""``lmk top``: ``lmk status`` again and again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from lmk.attachment import connect_session
from lmk.cli.options import device_options, duration, say
from lmk.console import open_console
from lmk.device.resolve import connect
from lmk.errors import TransientError
from lmk.keyboard import Keyboard
from lmk.proto.control_pb2 import Status
from lmk.report import SessionOverError
from lmk.report.client import PATIENCE
from lmk.report.costs import cpu_pct
from lmk.report.overview import Overview
from lmk.report.plain import plain
from lmk.session import Session

__all__ = ["top"]

_INTERVAL = timedelta(seconds=2)
_SHORTEST = timedelta(milliseconds=200)


class _Show(Protocol):
    """Shows what came; `before` is the status before it."""

    def show(self, now: Status, before: Status | None) -> None: ...

    def away(self, why: str) -> None: ...


@click.command()
@device_options
@click.option(
    "--interval",
    type=duration,
    metavar="TIME",
    help=f"Between two refreshes: 500ms, 5s.  [default: {_INTERVAL.seconds}s]",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many refreshes.")
@click.option("--once", is_flag=True, help="One refresh, as a page.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each refresh.")
def top(
    serial: str | None,
    transport: str | None,
    interval: timedelta | None,
    count: int | None,
    once: bool,
    as_json: bool,
) -> None:
    """Show what an attached device sees and would do, again and again, until q or Ctrl-C.

    On a terminal a page that is kept up to date; elsewhere a line for each refresh. While it runs
    the kernel counts what the handlers cost. The link may break for a while.
    """
    if interval is not None and interval < _SHORTEST:
        raise click.BadParameter(
            f"{_SHORTEST / timedelta(milliseconds=1):.0f}ms is the shortest",
            param_hint="--interval",
        )
    if once and count is not None:
        raise click.UsageError("--once and --count contradict each other")
    with connect(serial, transport=transport) as device:
        session = connect_session(device)
        try:
            with Keyboard() as keyboard, _display(as_json=as_json, once=once) as display:
                _refresh(session, display, keyboard, interval or _INTERVAL, 1 if once else count)
        except KeyboardInterrupt:
            return  # it is how one leaves it


def _refresh(
    session: Session, display: _Show, keyboard: Keyboard, interval: timedelta, count: int | None
) -> None:
    before: Status | None = None
    heard = time.monotonic()
    while True:
        try:
            now = session.status(candidates=True, count_costs=True)
        except SessionOverError:
            raise
        except TransientError as error:
            if before is None or time.monotonic() - heard > PATIENCE.total_seconds():
                raise
            display.away(str(error))
        else:
            heard = time.monotonic()
            display.show(now, before)
            before = now
            count = None if count is None else count - 1
            if count == 0:
                return
        end = time.monotonic() + interval.total_seconds()
        while (left := end - time.monotonic()) > 0:
            if keyboard.key(timedelta(seconds=left)) in ("q", "Q", "\x1b"):
                return


@contextmanager
def _display(*, as_json: bool, once: bool) -> Iterator[_Show]:
    if as_json:
        yield _Objects()
    elif once:
        yield _Page()
    elif sys.stdout.isatty():
        with _Screen() as screen:
            yield screen
    else:
        yield _Lines()


class _Objects:
    def show(self, now: Status, before: Status | None) -> None:
        values = plain(now)
        share = None if before is None else cpu_pct(before, now)
        if share is not None:
            values["cpu_pct"] = round(share, 4)
        click.echo(json.dumps(values, separators=(",", ":")))

    def away(self, why: str) -> None:
        say(f"lmk: {why}")


class _Page:
    def show(self, now: Status, before: Status | None) -> None:
        console = open_console()
        console.print(Overview(now, before).page(console.width))

    def away(self, why: str) -> None:
        say(f"lmk: {why}")


class _Lines:
    def __init__(self) -> None:
        click.echo(Overview.heading())

    def show(self, now: Status, before: Status | None) -> None:
        click.echo(Overview(now, before).line())

    def away(self, why: str) -> None:
        say(f"lmk: {why}")


class _Screen:
    """The whole terminal; what was on it comes back at the end."""

    def __init__(self) -> None:
        self._console = open_console()
        self._page = Group()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def __enter__(self) -> _Screen:
        self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def show(self, now: Status, before: Status | None) -> None:
        self._page = Overview(now, before).page(self._console.width, brief=True)
        self._update("q ends")

    def away(self, why: str) -> None:
        self._update(f"{why}; trying again")

    def _update(self, words: str) -> None:
        footer = Text(words, style="reverse", no_wrap=True, overflow="ellipsis")
        self._live.update(Group(footer, self._page), refresh=True)
