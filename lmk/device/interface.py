# SPDX-License-Identifier: Apache-2.0
"""What the toolkit asks of a device, whatever carries it.

A :class:`Device` runs commands, moves files, opens services as byte streams
and reads properties. Behind it stand the transports (:mod:`lmk.device.direct`,
:mod:`lmk.device.server`), and the same contract tests run on each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import BinaryIO, Protocol, Self, runtime_checkable

__all__ = [
    "ByteStream",
    "CommandResult",
    "Device",
    "FileStat",
    "Progress",
]

#: Called as ``progress(done_bytes, total_bytes)`` with *cumulative* bytes; the
#: last call of a finished transfer has ``done_bytes == total_bytes``. What it
#: raises ends the transfer and reaches the caller.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command on the device ended.

    :ivar exit_code: 0..255, as the device's shell gives it (128+N for signal N).
    :ivar stdout: raw bytes.
    :ivar stderr: raw bytes, never mixed into stdout.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Stdout as UTF-8, undecodable bytes replaced."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        """Stderr as UTF-8, undecodable bytes replaced."""
        return self.stderr.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file on the device. ``size`` is in bytes and right above 4 GiB."""

    mode: int
    size: int
    mtime: int


@runtime_checkable
class ByteStream(Protocol):
    """A service of the device as a two-way byte stream, on a connection of its own."""

    def read(self, max_bytes: int = 65536, timeout: timedelta | None = None) -> bytes:
        """Next bytes (1..max_bytes), or ``b""`` once the peer has closed.

        :param timeout: how long to wait for the first byte; None waits without limit.
        :raises TimeoutError: nothing came in time; nothing is lost, read again.
        :raises lmk.errors.TransientError: the link broke (not an orderly close).
        """
        ...

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        ...

    def close(self) -> None:
        """Close; a thread blocked in :meth:`read` returns at once. May be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class Device(Protocol):
    """One device, connected. Safe to use from several threads."""

    @property
    def serial(self) -> str:
        """The name the user gave it by: ``virtual:7.3``, ``tcp:127.0.0.1:5555``."""
        ...

    @property
    def transport(self) -> str:
        """What carries it: ``direct`` (TCP) or ``server`` (the adb server)."""
        ...

    def run(
        self,
        command: str,
        *,
        timeout: timedelta | None = timedelta(seconds=30),
        stdin: bytes = b"",
    ) -> CommandResult:
        """Run a shell command line; a non-zero exit code is a result, not an error.

        :raises lmk.errors.TransientError: the link broke, or `timeout` passed.
        """
        ...

    def push(
        self,
        source: bytes | str | os.PathLike[str] | BinaryIO,
        remote: str,
        *,
        mode: int = 0o644,
        progress: Progress | None = None,
    ) -> None:
        """Write `source` (bytes, a file, a directory, an open binary file) to `remote`.

        Missing parent directories are made; a directory is copied as a tree.
        """
        ...

    def pull(
        self,
        remote: str,
        local: str | os.PathLike[str] | BinaryIO,
        *,
        progress: Progress | None = None,
    ) -> None:
        """Copy `remote` to a local file, whose parent directories are made."""
        ...

    def read_file(self, remote: str) -> bytes:
        """The content of a small file (procfs and sysfs too, whatever size they claim)."""
        ...

    def stat(self, remote: str) -> FileStat | None:
        """What `remote` is, or None when there is nothing by that name."""
        ...

    def list_dir(self, remote: str) -> dict[str, FileStat]:
        """Names in a directory, without ``.`` and ``..``."""
        ...

    def open(self, service: str, *, timeout: timedelta = timedelta(seconds=5)) -> ByteStream:
        """Open a service (``localabstract:NAME``, ``tcp:PORT``) on a connection of its own.

        :raises lmk.errors.TransientError: the device refused it (within 0.5 s), or is away.
        """
        ...

    def properties(self) -> dict[str, str]:
        """All system properties; empty on a device that has none."""
        ...

    def close(self) -> None:
        """Close every connection. May be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
