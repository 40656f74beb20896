# SPDX-License-Identifier: Apache-2.0
"""The adb server's smart socket: requests, answers, and a service as a stream.

A request is its length as four hex digits and its text; the answer is ``OKAY``, or ``FAIL``
with the reason in the same form. After ``host:transport:SERIAL`` the connection belongs to
that device, and after the name of a service it is that service, byte for byte. So one TCP
connection carries one service, and its end is the service's end. See AOSP
``packages/modules/adb/OVERVIEW.TXT`` and ``SERVICES.TXT``.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from lmk.device.packets import Deadline
from lmk.errors import ProtocolError, TransientError, UsageError

__all__ = ["RefusedRequestError", "SmartSocket", "SocketService", "server_address"]

_DEFAULT_PORT = 5037
#: What four hex digits can count, less one for a zero byte that adbd appends.
_REQUEST_BYTES = 0xFFFE
_PACKET_BYTES = 256 * 1024
#: How long a write may wait for the device to take one packet.
_WRITE_TIMEOUT_S = 10.0


class RefusedRequestError(TransientError):
    """The server answered FAIL; the message is its own."""


def server_address() -> tuple[str, int]:
    """Where the adb server listens, by the variables that adb itself reads.

    ``$ADB_SERVER_SOCKET`` (``tcp:HOST:PORT``, ``tcp:PORT``), else ``$ANDROID_ADB_SERVER_ADDRESS``
    and ``$ANDROID_ADB_SERVER_PORT``, else 127.0.0.1:5037.

    :raises lmk.errors.UsageError: one of them names no TCP address.
    """
    spec = os.environ.get("ADB_SERVER_SOCKET", "")
    if spec:
        kind, _, rest = spec.partition(":")
        host, _, port = rest.rpartition(":")
        name = "ADB_SERVER_SOCKET"
    else:
        kind, name = "tcp", "ANDROID_ADB_SERVER_PORT"
        host = os.environ.get("ANDROID_ADB_SERVER_ADDRESS", "")
        port = os.environ.get(name) or str(_DEFAULT_PORT)
    if kind != "tcp" or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"${name} is {os.environ.get(name)!r}: expected tcp:HOST:PORT or a port")
    return host.strip("[]") or "127.0.0.1", int(port)


class SmartSocket:
    """One connection to the adb server.

    :param name: how errors call what is asked for: a device, or the server.
    :raises ConnectionRefusedError: no server listens there.
    :raises lmk.errors.TransientError: it cannot be reached.
    """

    def __init__(self, address: tuple[str, int], name: str, deadline: Deadline) -> None:
        self._name = name
        try:
            self._socket = socket.create_connection(address, timeout=deadline.remaining_s())
        except ConnectionRefusedError:
            raise
        except OSError as error:
            raise TransientError(
                f"{name}: the adb server at {address[0]}:{address[1]} cannot be reached: "
                f"{error.strerror or error}",
                serial=name,
            ) from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: str, deadline: Deadline) -> None:
        """Send `request` and wait for OKAY.

        :raises RefusedRequestError: the answer was FAIL.
        :raises lmk.errors.TransientError: no answer by the deadline, or the connection ended.
        """
        text = request.encode()
        if len(text) > _REQUEST_BYTES:
            raise UsageError(
                f"{self._name}: the command is longer than the {_REQUEST_BYTES} bytes "
                "that the adb server takes; push it as a file",
                serial=self._name,
            )
        try:
            self._socket.settimeout(deadline.remaining_s())
            self._socket.sendall(b"%04x" % len(text) + text)
            answer = self._exactly(4, deadline)
            if answer == b"OKAY":
                return
            if answer == b"FAIL":
                words = self.answer(deadline).decode("utf-8", "replace")
                raise RefusedRequestError(f"{self._name}: {words}", serial=self._name)
        except TimeoutError as error:
            raise TransientError(
                f"{self._name}: the adb server did not answer {request.partition(':')[0]}:…",
                serial=self._name,
            ) from error
        except OSError as error:
            raise TransientError(
                f"{self._name}: the adb server hung up: {error.strerror or error}",
                serial=self._name,
            ) from error
        raise ProtocolError(
            f"{self._name}: what listens there is no adb server (it said {answer!r})",
            serial=self._name,
        )

    def answer(self, deadline: Deadline) -> bytes:
        """The text that follows an OKAY or a FAIL."""
        digits = self._exactly(4, deadline)
        try:
            length = int(digits, 16)
        except ValueError:
            raise ProtocolError(
                f"{self._name}: what listens there is no adb server (it said {digits!r})",
                serial=self._name,
            ) from None
        return self._exactly(length, deadline)

    def detach(self) -> socket.socket:
        """The socket itself, which is a service by now."""
        return self._socket

    def close(self) -> None:
        """Close it. May be called twice."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _exactly(self, count: int, deadline: Deadline) -> bytes:
        received = bytearray()
        while len(received) < count:
            self._socket.settimeout(deadline.remaining_s())
            piece = self._socket.recv(count - len(received))
            if not piece:
                raise ConnectionResetError("it closed the connection")
            received += piece
        return bytes(received)


class SocketService:
    """An open service behind the adb server; see :class:`lmk.device.service.Service`.

    :param link: a socket that carries the service and nothing else.
    :param name: how errors call the device.
    :param on_close: called once with it after :meth:`close`.
    """

    def __init__(
        self,
        link: socket.socket,
        service: str,
        name: str,
        on_close: Callable[[SocketService], None],
    ) -> None:
        link.setblocking(False)
        self._link = link
        self._service = service
        self._name = name
        self._on_close = on_close
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

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
