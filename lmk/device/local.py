# SPDX-License-Identifier: Apache-2.0
"""This machine as a device: no adb, no link that could break.

For a board that has Python, and for the machine at hand. What adbd's services are elsewhere
are system calls here, and the same contract tests run on it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta

from lmk.device.base import ShellDevice
from lmk.device.interface import CommandResult
from lmk.device.local_files import LocalFiles
from lmk.device.service import ServiceRefusedError
from lmk.device.socket_service import SocketService
from lmk.errors import TransientError, UsageError

__all__ = ["LocalDevice"]

#: A service that was closed is asked to end, and so long later made to.
_END_S = 2.0


class LocalDevice(ShellDevice):
    """A :class:`lmk.device.interface.Device` that is this machine."""

    def __init__(self, serial: str = "local") -> None:
        super().__init__(serial)
        self._lock = threading.Lock()
        self._streams: dict[SocketService, subprocess.Popen[bytes] | None] = {}
        self._closed = False

    @property
    def transport(self) -> str:
        """``local``."""
        return "local"

    def run(
        self,
        command: str,
        *,
        timeout: timedelta | None = timedelta(seconds=30),
        stdin: bytes = b"",
    ) -> CommandResult:
        """Run a shell command line; see the interface. What it started in the background lives."""
        self._require_open()
        with self._started(command) as process:
            limit = None if timeout is None else timeout.total_seconds()
            try:
                stdout, stderr = process.communicate(stdin, timeout=limit)
            except subprocess.TimeoutExpired as error:
                raise TransientError(
                    f"{self._serial}: the command did not end within {limit:g} s",
                    detail=command,
                    serial=self._serial,
                ) from error
            return CommandResult(_exit_code(process.returncode), stdout, stderr)

    def open(self, service: str, *, timeout: timedelta = timedelta(seconds=5)) -> SocketService:
        """Open ``exec:COMMAND``, ``localabstract:NAME``, ``localfilesystem:PATH`` or ``tcp:PORT``.

        See the interface.
        """
        self._require_open()
        kind, _, name = service.partition(":")
        process: subprocess.Popen[bytes] | None = None
        if kind == "exec":
            connection, theirs = socket.socketpair()
            with theirs:
                try:
                    process = self._start(name, theirs.fileno())
                except BaseException:
                    connection.close()
                    raise
        else:
            connection = self._connect(service, kind, name, timeout.total_seconds())
        stream = SocketService(connection, service, self._serial, self._forget, reset_ends=True)
        with self._lock:
            self._streams[stream] = process
        return stream

    def close(self) -> None:
        """Close every stream."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        for stream in streams:
            stream.close()

    # Below ----------------------------------------------------------------------------------

    def _files(self) -> contextlib.nullcontext[LocalFiles]:
        self._require_open()
        return contextlib.nullcontext(LocalFiles(self._serial))

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError(f"{self._serial}: this device object is closed", serial=self._serial)

    def _start(self, command: str, ends: int) -> subprocess.Popen[bytes]:
        """Start a command line in a session of its own; `ends` are its three standard files."""
        try:
            return subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=ends,
                stdout=ends,
                stderr=ends,
                start_new_session=True,
            )
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise UsageError(
                    f"{self._serial}: the command is longer than this machine takes; "
                    "push it as a file",
                    serial=self._serial,
                ) from error
            raise TransientError(
                f"{self._serial}: /bin/sh: {error.strerror}", serial=self._serial
            ) from error

    @contextlib.contextmanager
    def _started(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that does not outlive the block."""
        process = self._start(command, subprocess.PIPE)
        try:
            yield process
        finally:
            if process.returncode is None:
                _signal_group(process, signal.SIGKILL)
                process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _connect(self, service: str, kind: str, name: str, timeout_s: float) -> socket.socket:
        address: str | tuple[str, int]
        if kind in ("localabstract", "localfilesystem"):
            family, address = socket.AF_UNIX, ("\0" if kind == "localabstract" else "") + name
        elif kind == "tcp" and name.isascii() and name.isdigit():
            family, address = socket.AF_INET, ("127.0.0.1", int(name))
        else:
            raise self._refused(service, "no such service")
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(address)
        except (OSError, OverflowError) as error:
            connection.close()
            raise self._refused(service, getattr(error, "strerror", None) or str(error)) from error
        return connection

    def _refused(self, service: str, why: str) -> ServiceRefusedError:
        return ServiceRefusedError(f"{self._serial}: {service} refused: {why}", serial=self._serial)

    def _forget(self, stream: SocketService) -> None:
        with self._lock:
            process = self._streams.pop(stream)
        if process is not None:
            _end(process)


def _exit_code(returned: int) -> int:
    """As a shell gives it: 128 and the signal that ended the command."""
    return 128 - returned if returned < 0 else returned


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have a service end that nobody listens to any more."""
    _signal_group(process, signal.SIGHUP)
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    # Not waited for yet: its number is still its own.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
