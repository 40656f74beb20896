# SPDX-License-Identifier: Apache-2.0
"""Captures: record streams in files, read back with every record once.

A capture is the stream as it came (:mod:`lmk.report.wire`): each connection begins with
a Hello that names device and boot. Captures that overlap, because two hosts wrote or one
asked again, are put together by (device, boot id, run, seq).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lmk.errors import ProtocolError, UsageError
from lmk.proto.record_pb2 import Hello, KillReport, Record
from lmk.report.wire import StreamParser

__all__ = ["CapturedRecord", "kill_reports", "read_capture", "unique"]

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class CapturedRecord:
    """A record and the Hello of the connection it came by (None: the capture lost it)."""

    record: Record
    hello: Hello | None

    @property
    def key(self) -> tuple[str, str, int, int] | None:
        """(device, boot id, run, seq), or None for what is not spooled: Hello, Heartbeat, Lost."""
        if not self.record.seq:
            return None
        device, boot = (self.hello.device_name, self.hello.boot_id) if self.hello else ("", "")
        return (device, boot, self.record.run, self.record.seq)


def read_capture(
    source: Path | str | BinaryIO, *, allow_truncated: bool = False
) -> Iterator[CapturedRecord]:
    """Records of one capture, in the order they lie there.

    :param source: a file, ``-`` for standard input, or an open binary file.
    :param allow_truncated: take a cut last record as the end; else it is an error,
        after everything before it was given.
    :raises lmk.errors.UsageError: the file cannot be read.
    :raises lmk.errors.ProtocolError: truncated, or no capture; says at which offset.
    """
    if isinstance(source, str) and source == "-":
        yield from _read(sys.stdin.buffer, "standard input", allow_truncated)
    elif isinstance(source, (str, Path)):
        try:
            with Path(source).open("rb") as file:
                yield from _read(file, str(source), allow_truncated)
        except OSError as error:
            raise UsageError(f"cannot read {source}: {error.strerror}") from error
    else:
        yield from _read(source, str(getattr(source, "name", "capture")), allow_truncated)


def unique(records: Iterable[CapturedRecord]) -> Iterator[CapturedRecord]:
    """The same records, each spooled one only the first time it comes."""
    seen: set[tuple[str, str, int, int]] = set()
    for captured in records:
        if captured.key is not None:
            if captured.key in seen:
                continue
            seen.add(captured.key)
        yield captured


def kill_reports(*sources: Path | str | BinaryIO) -> Iterator[KillReport]:
    """Every kill report in the captures, once, in the order they lie there.

    Raises like :func:`read_capture`.
    """
    everything = (captured for source in sources for captured in read_capture(source))
    for captured in unique(everything):
        if captured.record.HasField("kill"):
            yield captured.record.kill


def _read(file: BinaryIO, name: str, allow_truncated: bool) -> Iterator[CapturedRecord]:
    parser = StreamParser(name)
    hello: Hello | None = None
    # A pipe gives what is there; read() would wait for a full buffer.
    read = getattr(file, "read1", file.read)
    while data := read(_READ_BYTES):
        for record in parser.feed(data):
            if record.HasField("hello"):
                hello = record.hello
            yield CapturedRecord(record, hello)
    if not parser.offset and not parser.pending_bytes:
        raise ProtocolError(f"{name} is empty: not an lmk capture, not even a Hello")
    if not allow_truncated:
        parser.finish()
