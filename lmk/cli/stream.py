# SPDX-License-Identifier: Apache-2.0
"""``lmk stream``: the records of an attached device as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from lmk.attachment import connect_session
from lmk.cli.options import device_options, say
from lmk.device.resolve import connect
from lmk.errors import UsageError
from lmk.proto.record_pb2 import Record
from lmk.report import Position, RecordStream, encode_record, parse_position
from lmk.report.append import open_to_append
from lmk.report.live import LiveTable
from lmk.report.plain import json_line
from lmk.report.text import HEADER, Clock, describe
from lmk.session import Session

__all__ = ["FORMATS", "copy", "stream", "writer"]

FORMATS = ("table", "jsonl", "pb")
Write = Callable[[Record], None]


def _position(value: str) -> Position:
    try:
        return parse_position(value)
    except UsageError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@device_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="table: lines for people. jsonl: one JSON object a line. pb: a capture.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write there (pb, jsonl: appended, captures concatenate) instead of standard output.",
)
@click.option(
    "--from",
    "from_",
    type=_position,
    metavar="SEQ|RUN:SEQ|start",
    help="Begin there: a sequence number of the newest run, of run RUN, or the oldest there is. "
    "Default: what comes from now on.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many records.")
@click.option(
    "--no-follow",
    is_flag=True,
    help="End after the last record there is; begins at the oldest unless --from says otherwise.",
)
def stream(
    serial: str | None,
    transport: str | None,
    format_: str,
    output: Path | None,
    from_: Position | None,
    count: int | None,
    no_follow: bool,
) -> None:
    """Print kill reports and other records of an attached device as they come.

    Reconnects by itself when the link breaks and asks for what it missed: every record comes
    once. What the device itself lost is said on standard error, and is a record in jsonl and pb.
    Ends at Ctrl-C, after --count records, or when the device is detached.
    """
    on_terminal = format_ == "table" and output is None and sys.stdout.isatty()
    with connect(serial, transport=transport) as device:
        session = connect_session(device)
        # Without waiting for more, all there is; else what comes from now on.
        begin = from_ or (parse_position("start") if no_follow else Position())
        if on_terminal:
            _show_live(session, begin, count, follow=not no_follow)
            return
        with (
            session.records(begin, follow=not no_follow, on_break=_tell) as records,
            _opened(output, format_) as file,
        ):
            copy(records, writer(format_, file), count)


def _show_live(session: Session, begin: Position, count: int | None, *, follow: bool) -> None:
    told: list[LiveTable] = []
    with session.records(begin, follow=follow, on_break=lambda line: told[0].tell(line)) as records:
        table = LiveTable(records)
        told.append(table)
        with table:
            copy(records, table.write, count, say_lost=False)


def copy(records: RecordStream, write: Write, count: int | None, *, say_lost: bool = True) -> None:
    """Write every record, until the stream ends or `count` spooled ones are written.

    :param say_lost: also say on standard error what was lost.
    """
    left = count
    for record in records:
        write(record)
        if say_lost and record.HasField("lost"):
            _tell(describe(record, Clock()))
        if record.seq and left is not None:
            left -= 1
            if left == 0:
                return


def writer(format_: str, file: BinaryIO) -> Write:
    """A function that writes one record to `file`, whole and at once."""
    if format_ == "pb":
        return lambda record: _put(file, encode_record(record))
    if format_ == "jsonl":
        return lambda record: _put(file, f"{json_line(record)}\n".encode())
    return _TableWriter(file)


class _TableWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._clock = Clock()
        self._begun = False

    def __call__(self, record: Record) -> None:
        if not self._begun:  # nothing is printed of what turns out to be no capture
            self._begun = True
            _put(self._file, f"{HEADER}\n".encode())
        if record.HasField("hello"):
            self._clock = Clock.of(record.hello)
            # Whose records these are; on standard error, for the lines below are the data.
            _tell(describe(record, self._clock))
        elif not record.HasField("lost"):
            _put(self._file, f"{describe(record, self._clock)}\n".encode())


def _put(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()


@contextmanager
def _opened(output: Path | None, format_: str) -> Iterator[BinaryIO]:
    if output is None:
        if format_ == "pb" and sys.stdout.isatty():
            raise UsageError("a capture is no text: give -o FILE, or pipe it somewhere")
        yield sys.stdout.buffer
        return
    if format_ != "table":
        file, cut_bytes = open_to_append(output, format_)
        if cut_bytes:
            _tell(f"{output} ended in half a record: {cut_bytes} bytes of it were cut off")
    else:
        try:
            file = output.open("wb")
        except OSError as error:
            raise UsageError(f"cannot write {output}: {error.strerror}") from error
    with file:
        yield file


def _tell(line: str) -> None:
    say(f"lmk: {line.strip()}")
