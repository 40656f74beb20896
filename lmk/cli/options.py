# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lmk.build import Bundle, open_bundle

if TYPE_CHECKING:
    from lmk.policy import Policy
    from lmk.session import Session

__all__ = [
    "bundle_option",
    "device_options",
    "duration",
    "say",
    "say_rules_that_wait",
    "verbose_option",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h)")
_LONGEST = timedelta(days=366)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def _be_verbose(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(dict)["verbose"] = True


def verbose_option(command: _F) -> _F:
    """``-v`` after the command, as well as before it."""
    return click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_be_verbose,
        help="Show the long story of an error.",
    )(command)


def device_options(command: _F) -> _F:
    """``-s`` and ``--transport``, as parameters `serial` and `transport`; and ``-v``."""
    command = verbose_option(command)
    command = click.option(
        "--transport",
        type=click.Choice(["direct", "server"]),
        help="How to reach it. `direct` takes SERIAL for HOST:PORT of an adbd.",
    )(command)
    return click.option("-s", "--serial", metavar="SERIAL", help="Device; else $ANDROID_SERIAL.")(
        command
    )


def _open(
    _context: click.Context, _parameter: click.Parameter, value: Path | None
) -> Bundle | None:
    return None if value is None else open_bundle(value)


def bundle_option(command: _F) -> _F:
    """``--bundle FILE``, as an open :class:`lmk.build.Bundle` or None."""
    return click.option(
        "--bundle",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_open,
        metavar="FILE",
        help="A bundle of `lmk build -o FILE`, instead of building one now.",
    )(command)


def duration(value: str) -> timedelta:
    """A time with its unit: ``30s``, ``15m``, ``1h``."""
    match = _TIME.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a time with its unit, like 30s, 15m or 1h")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST.total_seconds():
        raise click.BadParameter(f"{value} is longer than {_LONGEST.days} days")
    return timedelta(seconds=seconds)


def say(line: str) -> None:
    """A line for the person at the terminal, on standard error."""
    click.echo(line, err=True)


def say_rules_that_wait(session: Session, wanted: Policy) -> None:
    """A line for each rule of `wanted`, now in force, whose package is not installed."""
    from lmk.report.text import printable

    if not any(rule.HasField("package") for rule in wanted.rules):
        return
    status = session.status()
    for rule, now in zip(status.policy.rules, status.rules, strict=False):
        if rule.HasField("package") and not now.HasField("app_id"):
            name = printable(rule.package)
            say(f"{session.device.serial}: {name} is not installed: its rule waits until it is")
