# SPDX-License-Identifier: Apache-2.0
"""A service of the device as a two-way byte stream: OPEN, OKAY, WRTE, CLSE.

adb-shell cannot do this part: while it waits for the OKAY of something it has
written it throws away what the device writes meanwhile, unacknowledged, so a
two-way stream loses records and then stops; and it does not take CLSE as the
answer to OPEN, so a refused service looks like a hang. So a stream speaks
these four packets itself, over a connection that adb-shell made.

There is no thread behind a stream. Whoever waits for something (a reader for
data, a writer for the acknowledgement) receives packets on behalf of all who
wait; the others sleep until it has one. Data is acknowledged as it arrives, so
that the device prepares the next packet while this one is read, until
``_BUFFER_BYTES`` wait unread; then the acknowledgement waits for the reader and
the device stops: nothing grows without bound.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from adb_shell import constants

from lmk.closing import Closing
from lmk.device.packets import Deadline, Packet, PacketTransport
from lmk.device.service import ServiceRefusedError
from lmk.errors import LmkError, TransientError

__all__ = ["ServiceStream"]

_BUFFER_BYTES = 1024 * 1024
#: adbd takes packets of up to 1 MiB; smaller ones keep the pipe full and progress fluent.
_WRITE_BYTES = 256 * 1024
#: How long a write may wait for the device to take one packet.
_WRITE_TIMEOUT_S = 10.0


class ServiceStream(Closing):
    """An open service; see :class:`lmk.device.interface.ByteStream` for what it promises.

    :param transport: a connection that is past CNXN and has no other stream.
    :param local_id: not used before on this connection.
    :param name: how errors call the device.
    :param max_data: the longest packet that the device takes, in bytes.
    :param on_close: called once after :meth:`close` with whether the connection can be used again.
    """

    def __init__(
        self,
        transport: PacketTransport,
        local_id: int,
        service: str,
        name: str,
        max_data: int,
        on_close: Callable[[ServiceStream, bool], None],
    ) -> None:
        self._service = service
        self._transport = transport
        self._local_id = local_id
        self._remote_id = 0
        self._name = name
        self._packet_bytes = min(_WRITE_BYTES, max_data)
        self._on_close = on_close
        self._state = threading.Condition()
        self._writing = threading.Lock()
        self._receiving = False
        self._opened = False
        self._data = bytearray()
        self._owes_ack = False
        self._awaits_ack = False
        self._peer_closed = False
        self._closed = False
        self._failure: LmkError | None = None

    @property
    def service(self) -> str:
        """Its name."""
        return self._service

    @property
    def transport(self) -> PacketTransport:
        """The connection that carries it."""
        return self._transport

    def open(self, deadline: Deadline) -> None:
        """Ask the device for the service.

        :raises ServiceRefusedError: the device has no such service, or nobody listens on it.
        :raises lmk.errors.TransientError: no answer by the deadline, or the link broke.
        """
        self._send(constants.OPEN, self.service.encode() + b"\0", deadline)
        try:
            self._wait_until(lambda: self._opened or self._peer_closed, deadline)
        except TimeoutError as error:
            raise self.failed("the device did not answer the open") from error
        if not self._opened:
            raise ServiceRefusedError(
                f"{self._name}: the device refused {self._label}", serial=self._name
            )

    def read(self, max_bytes: int = 65536, timeout: timedelta | None = None) -> bytes:
        """Next bytes, or ``b""`` after the end; see the interface."""
        return self.read_until(
            Deadline(None if timeout is None else timeout.total_seconds()), max_bytes
        )

    def read_until(self, deadline: Deadline, max_bytes: int = _BUFFER_BYTES) -> bytes:
        """As :meth:`read`, with a deadline.

        :raises TimeoutError: nothing came by then; nothing is lost.
        """
        self._wait_until(lambda: self._data or self._peer_closed, deadline)
        return self._take(max_bytes)

    def read_exactly(self, count: int, deadline: Deadline) -> bytes:
        """Exactly `count` bytes.

        :raises TimeoutError: they are not all here by then.
        :raises EOFError: the peer closed before.
        """
        self._wait_until(lambda: len(self._data) >= count or self._peer_closed, deadline)
        if len(self._data) < count:
            raise EOFError(f"{self._label} ended in the middle")
        return self._take(count)

    def write(self, data: bytes) -> None:
        """Write all of `data`; returns once the device has taken it.

        :raises lmk.errors.TransientError: the peer is gone, or took nothing for 10 s.
        """
        with self._writing:
            view = memoryview(data)
            while view:
                deadline = Deadline(_WRITE_TIMEOUT_S)
                self.send_packet(bytes(view[: self._packet_bytes]), deadline)
                view = view[self._packet_bytes :]
            self._await_ack(Deadline(_WRITE_TIMEOUT_S))

    # For services that must write and read at once (shell, sync) ---------------------------

    @property
    def packet_bytes(self) -> int:
        """The most that :meth:`send_packet` takes."""
        return self._packet_bytes

    @property
    def has_data(self) -> bool:
        """Whether a read would return at once."""
        return bool(self._data) or self._peer_closed

    def send_packet(self, data: bytes, deadline: Deadline) -> None:
        """Send one packet when the one before it is acknowledged; does not await its own."""
        self._await_ack(deadline)
        with self._state:
            self._awaits_ack = True
        self._send(constants.WRTE, data, deadline)

    def wait_readable_or_writable(self, deadline: Deadline) -> bool:
        """Wait until there is something to read (True) or a packet may be sent (False).

        :raises TimeoutError: neither by then.
        """
        self._wait_until(lambda: self.has_data or not self._awaits_ack, deadline)
        return self.has_data or self._closed

    def failed(self, what: str) -> TransientError:
        """The error for a service that did not do what it should."""
        return TransientError(f"{self._name}: {what} ({self._label})", serial=self._name)

    # Close ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close; waiting threads return. The connection lives on only after an orderly end."""
        with self._state:
            if self._closed:
                return
            self._closed = True
            reusable = self._peer_closed and not self._receiving and self._failure is None
            if not reusable:
                self._transport.shut_down()
                # Whoever receives is in poll() on that socket: let it out before it is closed.
                self._state.wait_for(lambda: not self._receiving, timeout=5)
            self._state.notify_all()
        if not reusable:
            self._transport.close()
        self._on_close(self, reusable)

    # Below ----------------------------------------------------------------------------------

    @property
    def _label(self) -> str:
        return self.service if len(self.service) <= 80 else self.service[:77] + "..."

    def _take(self, max_bytes: int) -> bytes:
        with self._state:
            if self._closed:
                return b""
            taken = bytes(self._data[:max_bytes])
            del self._data[: len(taken)]
            acknowledge = self._owes_ack and len(self._data) < _BUFFER_BYTES
            if acknowledge:
                self._owes_ack = False
        if acknowledge:
            self._acknowledge()
        return taken

    def _acknowledge(self) -> None:
        """Send OKAY. If the link fails here the data is still good: the next wait reports it."""
        try:
            self._send(constants.OKAY, b"", Deadline(_WRITE_TIMEOUT_S))
        except TransientError as error:
            with self._state:
                self._failure = self._failure or error

    def _await_ack(self, deadline: Deadline) -> None:
        try:
            self._wait_until(lambda: not self._awaits_ack or self._peer_closed, deadline)
        except TimeoutError as error:
            raise self.failed("the device does not take what is written") from error
        if self._closed:
            raise TransientError(f"{self._name}: {self._label} is closed", serial=self._name)
        if self._awaits_ack:
            raise TransientError(
                f"{self._name}: the other side closed {self._label}", serial=self._name
            )

    def _send(self, command: bytes, data: bytes, deadline: Deadline) -> None:
        try:
            self._transport.send(command, self._local_id, self._remote_id, data, deadline)
        except TimeoutError as error:
            raise self.failed(str(error)) from error

    def _wait_until(self, arrived: Callable[[], object], deadline: Deadline) -> None:
        """Receive packets, or let another thread do it, until `arrived` or :meth:`close`."""
        while True:
            with self._state:
                while not arrived() and not self._closed:
                    if self._failure is not None:
                        raise self._failure
                    if not self._receiving:
                        break
                    if not self._state.wait(deadline.remaining_s()):
                        raise TimeoutError(f"{self._name}: nothing came ({self._label})")
                else:
                    return
                self._receiving = True
            self._receive_one(deadline)

    def _receive_one(self, deadline: Deadline) -> None:
        acknowledge = False
        packet: Packet | None = None
        failure: LmkError | None = None
        try:
            packet = self._transport.receive(deadline)
        except TimeoutError:
            raise
        except LmkError as error:
            failure = error
        finally:
            with self._state:
                self._receiving = False
                if packet is not None:
                    acknowledge = self._take_in(packet)
                elif failure is not None and not self._closed:
                    self._failure = failure
                self._state.notify_all()
        if acknowledge:
            self._acknowledge()

    def _take_in(self, packet: Packet) -> bool:
        """Note what a packet says; returns whether to acknowledge it now."""
        if packet.arg1 != self._local_id:
            return False  # the tail of an earlier service on this connection
        if packet.command == constants.WRTE and not self._peer_closed:
            self._data += packet.data
            if len(self._data) < _BUFFER_BYTES:
                return True
            self._owes_ack = True
        elif packet.command == constants.OKAY:
            self._remote_id = packet.arg0
            self._opened = True
            self._awaits_ack = False
        elif packet.command == constants.CLSE:
            self._peer_closed = True
        return False
