# SPDX-License-Identifier: Apache-2.0
"""Android's log as writers send it: one datagram, read back (AOSP system/logging)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["Event", "Line", "read"]

_HEADER = struct.Struct("<BHII")
_MAIN, _EVENTS = 0, 2
_INT, _LIST, _FLOAT = 0, 3, 4


@dataclass(frozen=True)
class Line:
    """An entry of the main buffer."""

    time_ns: int
    tid: int
    priority: int
    tag: str
    text: str


@dataclass(frozen=True)
class Event:
    """An entry of the events buffer."""

    time_ns: int
    tid: int
    tag: int
    values: tuple[int | float, ...]


def read(datagram: bytes) -> Line | Event:
    """:raises ValueError: it is neither, or not to its last byte."""
    buffer, tid, seconds, nanoseconds = _HEADER.unpack_from(datagram)
    payload = datagram[_HEADER.size :]
    time_ns = seconds * 10**9 + nanoseconds
    if buffer == _MAIN:
        tag, text, rest = payload[1:].split(b"\0")
        if rest:
            raise ValueError(f"bytes behind a line: {rest!r}")
        return Line(time_ns, tid, payload[0], tag.decode(), text.decode())
    if buffer != _EVENTS:
        raise ValueError(f"buffer {buffer}")
    tag_number, kind, count = struct.unpack_from("<IBB", payload)
    if kind != _LIST:
        raise ValueError(f"an event of type {kind}")
    values: list[int | float] = []
    for at in range(6, len(payload), 5):
        (kind,) = payload[at : at + 1]
        (value,) = struct.unpack_from({_INT: "<i", _FLOAT: "<f"}[kind], payload, at + 1)
        values.append(value)
    if len(values) != count:
        raise ValueError(f"{len(values)} values where {count} were announced")
    return Event(time_ns, tid, tag_number, tuple(values))
