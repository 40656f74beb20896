# SPDX-License-Identifier: Apache-2.0
"""A device reached by TCP, with no adb server between: the direct transport.

adb-shell makes every connection (:mod:`lmk.device.link`): CNXN, the AUTH exchange with its
signers, key generation, the packet's layout. It does so over :mod:`lmk.device.packets`,
which cures its reads and writes. What runs on a connection is ours, each part for a
reason told where it stands: streams (:mod:`lmk.device.stream`), commands with exit code and stderr,
which adb-shell does not offer (:mod:`lmk.device.shell`), and files (:mod:`lmk.device.sync`).

Every operation has a TCP connection of its own, so that an idle stream holds up nobody
and no packets need sorting. Connections that ended in order are kept for the next
command: connecting costs 60 ms on the emulated device, and a signature on a phone.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from lmk.device.interface import CommandResult, FileStat, Progress
from lmk.device.link import Link, connect_link
from lmk.device.packets import Deadline
from lmk.device.shell import run_shell, shell_service
from lmk.device.stream import ServiceRefusedError, ServiceStream
from lmk.device.sync import SYNC_SERVICE, FileSync, check_path
from lmk.device.transfer import plan_push, pull_file, pull_tree, send_files
from lmk.errors import TransientError, UnsupportedError, UsageError

__all__ = ["DirectDevice"]

_LOG = logging.getLogger(__name__)
_IDLE_LINKS = 4
#: After so long a kept connection may be dead with nothing to show it (a cable, a NAT).
_IDLE_S = 10.0
_GETPROP = re.compile(r"^\[([^\]\n]+)\]: \[(.*?)\]$(?=\n\[|\n?\Z)", re.DOTALL | re.MULTILINE)
#: How long to wait for the end of a service that has said all it has to say.
_END_S = 0.2


class DirectDevice:
    """A :class:`lmk.device.interface.Device` behind ``HOST:PORT``.

    :param host: name or address.
    :param port: TCP port of adbd.
    :param serial: the name the user gave it by, for errors.
    :param connect_timeout: for each step: the TCP connection, adbd's first answer.
    :param accept_timeout: how long a user has to accept this host's key on the screen.
    :raises lmk.errors.LmkError: nothing there, not adbd, not authorised.
    """

    def __init__(
        self,
        host: str,
        port: int,
        serial: str | None = None,
        *,
        connect_timeout: timedelta = timedelta(seconds=10),
        accept_timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        self._address = (host, port)
        self._serial = serial or f"tcp:{host}:{port}"
        self._connect_s = connect_timeout.total_seconds()
        self._accept_s = accept_timeout.total_seconds()
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._idle: list[Link] = []
        self._streams: dict[ServiceStream, Link] = {}
        self._closed = False
        self._features: frozenset[str] = frozenset()
        self._give_back(self._connect(Deadline(None)))

    @property
    def serial(self) -> str:
        """The name the user gave it by."""
        return self._serial

    @property
    def features(self) -> frozenset[str]:
        """What this adbd says it can do: ``shell_v2``, ``stat_v2``…"""
        return self._features

    def run(
        self,
        command: str,
        *,
        timeout: timedelta | None = timedelta(seconds=30),
        stdin: bytes = b"",
    ) -> CommandResult:
        """Run a shell command line; see the interface. What it started in the background lives."""
        self._require("shell_v2", "exit codes and stderr")
        deadline = Deadline(None if timeout is None else timeout.total_seconds())
        with self._opened(shell_service(command), deadline) as stream:
            try:
                result = run_shell(stream, stdin, deadline)
            except TimeoutError as error:
                limit = timeout.total_seconds() if timeout is not None else 0
                raise stream.failed(f"the command did not end within {limit:g} s") from error
            self._await_end(stream)
            return result

    def push(
        self,
        source: bytes | str | os.PathLike[str] | BinaryIO,
        remote: str,
        *,
        mode: int = 0o644,
        progress: Progress | None = None,
    ) -> None:
        """Write `source` to `remote`; see the interface.

        `remote` names the result, or the folder that shall hold the file when it ends in ``/``.
        Files of a tree keep their own modes and links stay links; `mode` is for single files.
        """
        check_path(remote, self._serial)
        plan = plan_push(source, remote, mode)
        for command in plan.mkdir_commands():
            self._must(command)
        with self._sync() as sync:
            send_files(sync, plan, progress)
        for command in plan.chmod_commands():
            self._must(command)

    def pull(
        self,
        remote: str,
        local: str | os.PathLike[str] | BinaryIO,
        *,
        progress: Progress | None = None,
    ) -> None:
        """Copy `remote` to `local`; a remote directory is copied as a tree."""
        target = Path(local) if isinstance(local, str | os.PathLike) else local
        with self._sync() as sync:
            found = sync.stat(remote)
            if found is None:
                raise UsageError(
                    f"{self._serial}: {remote}: No such file or directory", serial=self._serial
                )
            if not stat.S_ISDIR(found.mode):
                pull_file(sync, remote, found.size, target, progress)
            elif isinstance(target, Path):
                pull_tree(sync, remote, target, progress)
            else:
                raise UsageError(f"{self._serial}: {remote} is a directory", serial=self._serial)

    def read_file(self, remote: str) -> bytes:
        """The content of a small file, whatever size it claims."""
        content = io.BytesIO()
        with self._sync() as sync:
            for chunk in sync.receive(remote):
                content.write(chunk)
        return content.getvalue()

    def stat(self, remote: str) -> FileStat | None:
        """What `remote` is, symbolic links followed, or None."""
        with self._sync() as sync:
            return sync.stat(remote)

    def list_dir(self, remote: str) -> dict[str, FileStat]:
        """Names in a directory and what each is, symbolic links not followed."""
        with self._sync() as sync:
            return sync.list_dir(remote)

    def open(self, service: str, *, timeout: timedelta = timedelta(seconds=5)) -> ServiceStream:
        """Open a service as a byte stream; see the interface."""
        return self._open(service, Deadline(timeout.total_seconds()))

    def properties(self) -> dict[str, str]:
        """All system properties, by ``getprop``; empty on a device without it."""
        listed = self.run("getprop")
        if listed.exit_code == 127:
            return {}
        if listed.exit_code:
            raise TransientError(
                f"{self._serial}: getprop ended with {listed.exit_code}",
                detail=listed.error_text,
                serial=self._serial,
            )
        return dict(_GETPROP.findall(listed.text.replace("\r\n", "\n")))

    def close(self) -> None:
        """Close every connection and stream."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        self._drop_idle()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Services -------------------------------------------------------------------------------

    @contextmanager
    def _sync(self) -> Iterator[FileSync]:
        self._require("stat_v2", "sizes above 4 GiB")
        with self._opened(SYNC_SERVICE, Deadline(self._connect_s)) as stream:
            yield FileSync(stream, self._serial)
            stream.send_packet(b"QUIT\0\0\0\0", Deadline(self._connect_s))
            self._await_end(stream)

    @contextmanager
    def _opened(self, service: str, deadline: Deadline) -> Iterator[ServiceStream]:
        stream = self._open(service, deadline)
        try:
            yield stream
        finally:
            stream.close()

    def _await_end(self, stream: ServiceStream) -> None:
        """Let the service end in order, so that its connection can be kept; no matter if not."""
        try:
            while stream.read_until(Deadline(_END_S)):
                pass
        except (TimeoutError, TransientError) as error:
            _LOG.debug("%s: %s did not end in order: %s", self._serial, stream.service, error)

    def _open(self, service: str, deadline: Deadline) -> ServiceStream:
        link = self._take_link(deadline)
        transport = link.transport
        if len(service.encode()) >= transport.max_data:
            self._give_back(link)
            raise UsageError(
                f"{self._serial}: the command is longer than the {transport.max_data} bytes "
                "this device takes; push it as a file",
                serial=self._serial,
            )
        link.last_id += 1
        stream = ServiceStream(
            transport, link.last_id, service, self._serial, transport.max_data, self._on_close
        )
        with self._lock:
            self._streams[stream] = link
        try:
            stream.open(deadline)
        except BaseException as error:
            stream.close()
            if not isinstance(error, ServiceRefusedError):
                self._drop_idle()  # what ails this connection ails its sisters
            raise
        return stream

    def _on_close(self, stream: ServiceStream, reusable: bool) -> None:
        with self._lock:
            link = self._streams.pop(stream)
        if reusable:
            self._give_back(link)

    def _must(self, command: str) -> None:
        result = self.run(command)
        if result.exit_code:
            words = result.error_text.strip() or f"exit code {result.exit_code}"
            raise UsageError(
                f"{self._serial}: {words.splitlines()[0]}", detail=command, serial=self._serial
            )

    def _require(self, feature: str, purpose: str) -> None:
        if feature not in self._features:
            offered = ", ".join(sorted(self._features)) or "nothing"
            raise UnsupportedError(
                f"{self._serial}: its adbd does not offer {feature}, needed for {purpose}; "
                f"Android 8's adbd and newer ones have it (this one offers {offered})",
                serial=self._serial,
            )

    # Connections ----------------------------------------------------------------------------

    def _take_link(self, deadline: Deadline) -> Link:
        while True:
            with self._lock:
                if self._closed:
                    raise UsageError(
                        f"{self._serial}: this device object is closed", serial=self._serial
                    )
                if not self._idle:
                    break
                link = self._idle.pop()
            if time.monotonic() - link.idle_since < _IDLE_S and link.transport.at_rest():
                return link
            link.transport.close()
        return self._connect(deadline)

    def _give_back(self, link: Link) -> None:
        link.idle_since = time.monotonic()
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE_LINKS:
                self._idle.append(link)
                return
        link.transport.close()

    def _drop_idle(self) -> None:
        with self._lock:
            links, self._idle = self._idle, []
        for link in links:
            link.transport.close()

    def _connect(self, deadline: Deadline) -> Link:
        """Make a connection, one at a time.

        adbd listens with a backlog of 4; what comes beyond is dropped, and waits for QEMU's
        user network to send it again (5 s and more, measured with 8 threads on a busy host).
        """
        left = deadline.remaining_s()
        if not self._connecting.acquire(timeout=-1 if left is None else left):
            raise TransientError(
                f"{self._serial}: offline: another connection is still being made",
                serial=self._serial,
            )
        try:
            link = connect_link(
                *self._address, self._serial, self._connect_s, self._accept_s, deadline
            )
        finally:
            self._connecting.release()
        self._features = link.features
        return link
