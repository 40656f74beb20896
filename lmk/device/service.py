# SPDX-License-Identifier: Apache-2.0
"""An open service of adbd, as commands and file transfers use it.

It is a :class:`lmk.device.interface.ByteStream` and a little more, for services that must
write and read at once. :mod:`lmk.device.stream` and :mod:`lmk.device.smart_socket` are two.
"""

from __future__ import annotations

from typing import Protocol

from lmk.device.interface import ByteStream
from lmk.device.packets import Deadline
from lmk.errors import TransientError

__all__ = ["Service", "ServiceRefusedError"]


class ServiceRefusedError(TransientError):
    """The device refused the service: nothing offers it now."""


class Service(ByteStream, Protocol):
    """An open service."""

    @property
    def service(self) -> str:
        """Its name: ``sync:``."""
        ...

    @property
    def packet_bytes(self) -> int:
        """The most that :meth:`send_packet` takes."""
        ...

    @property
    def has_data(self) -> bool:
        """Whether a read would return at once."""
        ...

    def read_until(self, deadline: Deadline, max_bytes: int = ...) -> bytes:
        """As :meth:`read`, with a deadline.

        :raises TimeoutError: nothing came by then; nothing is lost.
        """
        ...

    def read_exactly(self, count: int, deadline: Deadline) -> bytes:
        """Exactly `count` bytes.

        :raises TimeoutError: they are not all here by then; nothing is lost.
        :raises EOFError: the peer closed before.
        """
        ...

    def send_packet(self, data: bytes, deadline: Deadline) -> None:
        """Send one packet as soon as there is room for it."""
        ...

    def wait_readable_or_writable(self, deadline: Deadline) -> bool:
        """Wait until there is something to read (True) or a packet may be sent (False).

        :raises TimeoutError: neither by then.
        """
        ...

    def failed(self, what: str) -> TransientError:
        """The error for a service that did not do what it should."""
        ...
