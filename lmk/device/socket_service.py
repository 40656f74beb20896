# SPDX-License-Identifier: Apache-2.0
"""A service that a socket carries, and nothing else: behind the adb server, or on this machine."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from datetime import timedelta

from lmk.closing import Closing
from lmk.device.packets import Deadline
from lmk.errors import TransientError

__all__ = ["SocketService"]

_PACKET_BYTES = 256 * 1024
#: How long a write may wait for the other side to take one packet.
_WRITE_TIMEOUT_S = 10.0


class SocketService(Closing):
    """An open service on a socket; see :class:`lmk.device.service.Service`.

    :param link: a socket that carries the service and nothing else.
    :param name: how errors call the device.
    :param on_close: called once with it after :meth:`close`.
    :param reset_ends: a reset is an end like any other: it comes from who ended without reading
        all that was written, and not from a link, since there is none.
    """

    def __init__(
        self,
        link: socket.socket,
        service: str,
        name: str,
        on_close: Callable[[SocketService], None],
        *,
        reset_ends: bool = False,
    ) -> None:
        link.setblocking(False)
        self._link = link
        self._service = service
        self._name = name
        self._on_close = on_close
        self._reset_ends = reset_ends
        self._data = bytearray()
        self._ended = False
        self._closed = False
        # Held by whoever waits on the socket; close() waits for them.
        self._reading = threading.Lock()
        self._writing = threading.Lock()

    @property
    def service(self) -> str:
        """Its name."""
        return self._service

    @property
    def packet_bytes(self) -> int:
        """The most that :meth:`send_packet` takes."""
        return _PACKET_BYTES

    @property
    def has_data(self) -> bool:
        """Whether a read would return at once."""
        return bool(self._data) or self._ended or bool(self._wait(select.POLLIN, Deadline(0)))

    def read(self, max_bytes: int = 65536, timeout: timedelta | None = None) -> bytes:
        """Next bytes, or ``b""`` after the end; see the interface."""
        return self.read_until(
            Deadline(None if timeout is None else timeout.total_seconds()), max_bytes
        )

    def read_until(self, deadline: Deadline, max_bytes: int = _PACKET_BYTES) -> bytes:
        """As :meth:`read`, with a deadline."""
        with self._reading:
            if not self._data:
                self._receive(deadline)
            return self._take(max_bytes)

    def read_exactly(self, count: int, deadline: Deadline) -> bytes:
        """Exactly `count` bytes; see the interface."""
        with self._reading:
            while len(self._data) < count and not self._ended and not self._closed:
                self._receive(deadline)
            if len(self._data) < count:
                raise EOFError(f"{self._label} ended in the middle")
            return self._take(count)

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            self.send_packet(bytes(view[:_PACKET_BYTES]), Deadline(_WRITE_TIMEOUT_S))
            view = view[_PACKET_BYTES:]

    def send_packet(self, data: bytes, deadline: Deadline) -> None:
        """Send one packet as soon as there is room for it."""
        view = memoryview(data)
        with self._writing:
            while view:
                if self._closed:
                    raise self.failed("closed")
                try:
                    if not self._wait(select.POLLOUT, deadline):
                        raise self.failed("the device does not take what is written")
                    view = view[self._link.send(view) :]
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise self.failed("the other side closed it") from error

    def wait_readable_or_writable(self, deadline: Deadline) -> bool:
        """Wait until there is something to read (True) or a packet may be sent (False)."""
        if not self.has_data and not self._wait(select.POLLIN | select.POLLOUT, deadline):
            raise TimeoutError(f"{self._name}: nothing came ({self._label})")
        return self.has_data or self._closed

    def failed(self, what: str) -> TransientError:
        """The error for a service that did not do what it should."""
        return TransientError(f"{self._name}: {what} ({self._label})", serial=self._name)

    def close(self) -> None:
        """Close; a thread blocked in a read returns at once. May be called twice."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        with self._reading, self._writing:
            self._link.close()
        self._on_close(self)

    # Below ----------------------------------------------------------------------------------

    @property
    def _label(self) -> str:
        return self._service if len(self._service) <= 80 else self._service[:77] + "..."

    def _is_closed(self) -> bool:
        return self._closed  # by another thread, meanwhile

    def _take(self, max_bytes: int) -> bytes:
        if self._closed:
            return b""
        taken = bytes(self._data[:max_bytes])
        del self._data[: len(taken)]
        return taken

    def _receive(self, deadline: Deadline) -> None:
        """Add what comes next to the data, or see the end. The lock for reading is held."""
        while not self._ended and not self._closed:
            if not self._wait(select.POLLIN, deadline):
                raise TimeoutError(f"{self._name}: nothing came ({self._label})")
            try:
                piece = self._link.recv(_PACKET_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                if self._is_closed():
                    return
                if self._reset_ends and isinstance(error, ConnectionResetError):
                    self._ended = True
                    return
                raise self.failed(f"the link broke: {error.strerror or error}") from error
            self._data += piece
            self._ended = not piece
            return

    def _wait(self, events: int, deadline: Deadline) -> int:
        """What of `events` holds (an end or an error is one, too); 0: none by the deadline."""
        if self._closed:
            return select.POLLHUP
        poll = select.poll()
        poll.register(self._link, events)
        left_s = deadline.remaining_s()
        found = poll.poll(None if left_s is None else left_s * 1000)
        return found[0][1] if found else 0
