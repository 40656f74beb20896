# SPDX-License-Identifier: Apache-2.0
"""A TCP link to adbd that hands out whole packets and writes whole buffers.

It is a transport of adb-shell (``AdbDevice(transport)`` takes any
``BaseTransport``) and cures what adb-shell 0.4.4's own ``TcpTransport`` gets
wrong for a connection that lives long:

* ``recv()`` returning ``b""`` is the end of the link and raised at once
  (there it is looped on, at full CPU, until the read timeout);
* nothing of a packet is handed out before all of it is here, so a timeout in
  mid-packet loses nothing (there the bytes read so far are dropped and the
  next read takes payload for a header);
* ``send()`` is repeated until the buffer is out (there its return value is
  ignored, and a large write loses what did not fit).

The packet is ADB's: six little-endian words (command, arg0, arg1, length of
data, sum of data bytes, command with its bits flipped), then the data.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from typing import NamedTuple

from adb_shell import constants
from adb_shell.adb_message import AdbMessage, unpack
from adb_shell.exceptions import TcpTimeoutException
from adb_shell.transport.base_transport import BaseTransport

from lmk.errors import ProtocolError, TransientError, UnsupportedError

__all__ = ["Deadline", "LinkClosedError", "Packet", "PacketTransport"]

_HEADER_BYTES: int = constants.MESSAGE_SIZE
_RECEIVE_BYTES = 256 * 1024
#: What a device of Android 11+ says instead of AUTH when it wants TLS (wireless debugging).
_STLS = int.from_bytes(b"STLS", "little")
#: How packets begin: by count of bytes, 4 for any more.
_COMMANDS = (b"SYNC", b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE", b"STLS")
_BEGINNINGS = [{command[:count] for command in _COMMANDS} for count in range(5)]
#: An idle link whose other end is gone is noticed by the kernel after 10 + 3 * 5 s.
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_PROBES = 10, 5, 3


class LinkClosedError(TransientError):
    """The TCP connection to the device ended, by the other side or by an error."""


class Deadline:
    """A moment on the monotonic clock; None means never."""

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    def remaining_s(self) -> float | None:
        """Seconds left, never below 0; None when there is no limit."""
        return None if self._at is None else max(0.0, self._at - time.monotonic())

    def remaining_ms(self) -> int | None:
        """Milliseconds left for ``poll``, rounded up so that it never spins."""
        left = self.remaining_s()
        return None if left is None else int(left * 1000 + 0.999)

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self._at is not None and time.monotonic() >= self._at


class Packet(NamedTuple):
    """One ADB packet; ``command`` is its four letters (``b"WRTE"``)."""

    command: bytes
    arg0: int
    arg1: int
    data: bytes


class PacketTransport(BaseTransport):  # type: ignore[misc]  # adb-shell has no types
    """One TCP connection to adbd.

    One thread may receive while another sends. ``close`` may come from any thread.

    :param host: name or address.
    :param port: TCP port of adbd.
    :param name: how errors call the device.
    """

    def __init__(self, host: str, port: int, name: str) -> None:
        self._address = (host, port)
        self._name = name
        self._socket: socket.socket | None = None
        self._received = bytearray()
        self._handed_out = bytearray()
        self._sending = threading.Lock()
        self._shut = False
        #: What the device's CNXN packet said; adb-shell drops the first and hides the second.
        self.banner = b""
        self.max_data = constants.MAX_LEGACY_ADB_DATA

    # What adb-shell calls -------------------------------------------------------------------

    def connect(self, transport_timeout_s: float | None) -> None:
        """Connect the socket.

        :raises lmk.errors.TransientError: nobody listens there, or nobody answers in time.
        """
        host, port = self._address
        try:
            connection = socket.create_connection(self._address, timeout=transport_timeout_s)
        except OSError as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror
            raise TransientError(
                f"{self._name}: cannot connect to {host} port {port}: {reason or error}",
                serial=self._name,
            ) from error
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
        self._socket = connection
        self._received.clear()
        self._handed_out.clear()
        self._shut = False

    def bulk_read(self, numbytes: int, transport_timeout_s: float | None) -> bytes:
        """Up to `numbytes` of the current packet, which is here as a whole."""
        if not self._handed_out:
            deadline = Deadline(transport_timeout_s)
            try:
                length = self._await_packet(deadline)
            except TimeoutError as error:
                raise TcpTimeoutException(str(error)) from error
            self._handed_out += self._received[:length]
            del self._received[:length]
            if self._handed_out.startswith(constants.CNXN):
                self.max_data = int.from_bytes(self._handed_out[8:12], "little")
                self.banner = bytes(self._handed_out[_HEADER_BYTES:])
        piece = bytes(self._handed_out[:numbytes])
        del self._handed_out[:numbytes]
        return piece

    def bulk_write(self, data: bytes, transport_timeout_s: float | None) -> int:
        """Write all of `data`."""
        try:
            self._write(data, Deadline(transport_timeout_s))
        except TimeoutError as error:
            raise TcpTimeoutException(str(error)) from error
        return len(data)

    def close(self) -> None:
        """Close the socket; no thread may be receiving (:meth:`shut_down` lets it out)."""
        self.shut_down()
        with self._sending:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    # What streams call ----------------------------------------------------------------------

    def receive(self, deadline: Deadline) -> Packet:
        """The next packet.

        The sum of the data is not checked: TCP has checked it, and Python does 100 MB/s.

        :raises TimeoutError: it is not here in whole by then; nothing is lost.
        :raises LinkClosedError: the link ended.
        :raises lmk.errors.ProtocolError: what came is no ADB packet.
        """
        end = self._await_packet(deadline)
        command, arg0, arg1, _, _ = unpack(bytes(self._received[:_HEADER_BYTES]))
        data = bytes(memoryview(self._received)[_HEADER_BYTES:end])
        del self._received[:end]
        return Packet(constants.WIRE_TO_ID.get(command, b""), arg0, arg1, data)

    def send(self, command: bytes, arg0: int, arg1: int, data: bytes, deadline: Deadline) -> None:
        """Send one packet as a whole.

        :raises TimeoutError: not all of it was taken in time; the link is unusable after it.
        :raises LinkClosedError: the link ended.
        """
        self._write(AdbMessage(command, arg0, arg1, data).pack() + data, deadline)

    def at_rest(self) -> bool:
        """Whether the link stands and nothing waits to be read."""
        if self._socket is None or self._shut or self._received or self._handed_out:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def shut_down(self) -> None:
        """End the connection; threads that wait in it get :class:`LinkClosedError`."""
        self._shut = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    # Below ----------------------------------------------------------------------------------

    def _await_packet(self, deadline: Deadline) -> int:
        """Wait until a whole packet is in ``_received``; returns its length in bytes."""
        needed = _HEADER_BYTES
        checked = False
        while True:
            if len(self._received) >= _HEADER_BYTES and not checked:
                needed = _HEADER_BYTES + self._data_length()
                checked = True
            if len(self._received) >= needed:
                return needed
            if (
                not checked
                and bytes(self._received[:4]) not in _BEGINNINGS[min(4, len(self._received))]
            ):
                raise self._not_adbd()  # which may wait for us now, with less than a header said
            self._wait(select.POLLIN, deadline)
            try:
                chunk = self._open_socket().recv(_RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise LinkClosedError(
                    f"{self._name}: the link broke: {error.strerror}", serial=self._name
                ) from error
            if not chunk:
                raise LinkClosedError(
                    f"{self._name}: the device closed the link", serial=self._name
                )
            self._received += chunk

    def _data_length(self) -> int:
        header = bytes(self._received[:_HEADER_BYTES])
        command, _, _, length, _, magic = struct.unpack(constants.MESSAGE_FORMAT, header)
        if magic != command ^ 0xFFFFFFFF or length > constants.MAX_ADB_DATA:
            raise self._not_adbd()
        if command == _STLS:
            raise UnsupportedError(
                f"{self._name}: the device wants TLS (wireless debugging): pair it with adb, then "
                "name it as `adb devices` calls it",
                serial=self._name,
            )
        return int(length)

    def _not_adbd(self) -> ProtocolError:
        got = bytes(self._received[:_HEADER_BYTES])
        return ProtocolError(
            f"{self._name}: what answers there is not adbd",
            detail=f"expected an ADB packet header, got {got!r}",
            serial=self._name,
        )

    def _write(self, data: bytes, deadline: Deadline) -> None:
        left = deadline.remaining_s()
        if not self._sending.acquire(timeout=-1 if left is None else left):
            raise TimeoutError(f"{self._name}: the link takes no data")
        try:
            view = memoryview(data)
            while view:
                try:
                    view = view[self._open_socket().send(view) :]
                except BlockingIOError:
                    self._wait(select.POLLOUT, deadline)
                except OSError as error:
                    raise LinkClosedError(
                        f"{self._name}: the link broke: {error.strerror}", serial=self._name
                    ) from error
        except TimeoutError:
            # Half a packet may be out: nothing sane can follow it.
            self.shut_down()
            raise
        finally:
            self._sending.release()

    def _wait(self, event: int, deadline: Deadline) -> None:
        poll = select.poll()  # not select(): a lab host may hold more than 1,024 descriptors
        poll.register(self._open_socket(), event)
        if not poll.poll(deadline.remaining_ms()):
            what = "sent nothing" if event == select.POLLIN else "takes no data"
            raise TimeoutError(f"{self._name}: the device {what}")

    def _open_socket(self) -> socket.socket:
        if self._socket is None or self._shut:
            raise LinkClosedError(f"{self._name}: the link is closed", serial=self._name)
        return self._socket
