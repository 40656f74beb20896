# SPDX-License-Identifier: Apache-2.0
"""What adbd's services make of a device, whatever carries them.

A transport opens services (``shell,v2,raw:…``, ``sync:``, ``localabstract:…``) as streams;
commands and files are the same on each, and stand here.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from lmk.device.base import ShellDevice
from lmk.device.interface import CommandResult
from lmk.device.packets import Deadline
from lmk.device.service import Service
from lmk.device.shell import run_shell, shell_service
from lmk.device.sync import SYNC_SERVICE, FileSync
from lmk.device.transfer import PushPlan
from lmk.errors import TransientError, UnsupportedError

__all__ = ["AdbdDevice"]

_LOG = logging.getLogger(__name__)
#: How long to wait for the end of a service that has said all it has to say.
_END_S = 0.2
#: For a file service to be opened, and to be told that it is over.
_SYNC_S = 10.0


class AdbdDevice(ShellDevice):
    """A :class:`lmk.device.interface.Device` by the services of its adbd.

    A transport adds how a service is opened, and what is closed.

    :param serial: the name the user gave it by, for errors.
    """

    def __init__(self, serial: str) -> None:
        super().__init__(serial)
        self._features: frozenset[str] = frozenset()

    @property
    def features(self) -> frozenset[str]:
        """What this adbd says it can do: ``shell_v2``, ``stat_v2``…"""
        return self._features

    @abstractmethod
    def _open(self, service: str, deadline: Deadline) -> Service:
        """Open a service by the deadline; see :meth:`open` for what it raises."""

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

    def open(self, service: str, *, timeout: timedelta = timedelta(seconds=5)) -> Service:
        """Open a service as a byte stream; see the interface."""
        return self._open(service, Deadline(timeout.total_seconds()))

    def _settle(self, plan: PushPlan) -> None:
        for command in plan.chmod_commands():
            self._must(command)

    # Services -------------------------------------------------------------------------------

    @contextmanager
    def _files(self) -> Iterator[FileSync]:
        self._require("stat_v2", "sizes above 4 GiB")
        with self._opened(SYNC_SERVICE, Deadline(_SYNC_S)) as stream:
            yield FileSync(stream, self._serial)
            stream.send_packet(b"QUIT\0\0\0\0", Deadline(_SYNC_S))
            self._await_end(stream)

    @contextmanager
    def _opened(self, service: str, deadline: Deadline) -> Iterator[Service]:
        stream = self._open(service, deadline)
        try:
            yield stream
        finally:
            stream.close()

    def _await_end(self, stream: Service) -> None:
        """Let the service end in order, so that its connection can be kept; no matter if not."""
        try:
            while stream.read_until(Deadline(_END_S)):
                pass
        except (TimeoutError, TransientError) as error:
            _LOG.debug("%s: %s did not end in order: %s", self._serial, stream.service, error)

    def _require(self, feature: str, purpose: str) -> None:
        if feature not in self._features:
            offered = ", ".join(sorted(self._features)) or "nothing"
            raise UnsupportedError(
                f"{self._serial}: its adbd does not offer {feature}, needed for {purpose}; "
                f"Android 8's adbd and newer ones have it (this one offers {offered})",
                serial=self._serial,
            )
