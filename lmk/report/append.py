# SPDX-License-Identifier: Apache-2.0
"""Files of records that more is written to: what is there already has to be records, whole ones.

A host that died, or a full disk, may have left half a record at the end. What comes after it
could not be read any more, so it goes before anything is added; but only behind a whole record:
without one nothing shows that the file is ours.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from lmk.errors import ProtocolError, UsageError
from lmk.report.wire import StreamParser

__all__ = ["open_to_append"]

_READ_BYTES = 1 << 20


def open_to_append(path: Path, format_: str) -> tuple[BinaryIO, int]:
    """Open `path` for more records, made when it is not there.

    :param format_: ``pb`` or ``jsonl``.
    :return: the file, and how many bytes of half a record were cut off its end.
    :raises lmk.errors.UsageError: it cannot be written, or holds something else.
    """
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            return path.open("ab"), 0  # a pipe, a terminal: nothing is there already
        file = path.open("a+b")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    try:
        file.seek(0)
        whole = _WHOLE[format_](file)
        size = file.seek(0, 2)
        if size and not whole:
            raise ProtocolError("not one whole record is in it")
        file.truncate(whole)
    except ProtocolError as error:
        file.close()
        raise UsageError(
            f"{path} holds something else than {format_} records, and is left as it is: "
            "choose another -o",
            detail=str(error),
        ) from error
    except BaseException:
        file.close()
        raise
    return file, size - whole


def _whole_records(file: BinaryIO) -> int:
    """Bytes up to the end of the last whole record of a capture."""
    parser = StreamParser()
    while data := file.read(_READ_BYTES):
        for _record in parser.feed(data):
            pass
    return parser.offset


def _whole_lines(file: BinaryIO) -> int:
    """Bytes up to the end of the last whole line, each of which is an object."""
    whole = at = 0
    for line in file:
        if not line.startswith(b"{"):
            raise ProtocolError(f"no JSON object at offset {at}")
        at += len(line)
        if line.endswith(b"}\n"):
            whole = at
    return whole


_WHOLE: dict[str, Callable[[BinaryIO], int]] = {"pb": _whole_records, "jsonl": _whole_lines}
