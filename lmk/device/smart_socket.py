# SPDX-License-Identifier: Apache-2.0
"""The adb server's smart socket: requests and answers.

A request is its length as four hex digits and its text; the answer is ``OKAY``, or ``FAIL``
with the reason in the same form. After ``host:transport:SERIAL`` the connection belongs to
that device, and after the name of a service it is that service, byte for byte. So one TCP
connection carries one service (:mod:`lmk.device.socket_service`), and its end is the
service's end. See AOSP
``packages/modules/adb/OVERVIEW.TXT`` and ``SERVICES.TXT``.
"""

from __future__ import annotations

import os
import socket

from lmk.closing import Closing
from lmk.device.packets import Deadline
from lmk.errors import ProtocolError, TransientError, UsageError

__all__ = ["RefusedRequestError", "SmartSocket", "server_address"]

_DEFAULT_PORT = 5037
#: What four hex digits can count, less one for a zero byte that adbd appends.
_REQUEST_BYTES = 0xFFFE


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


class SmartSocket(Closing):
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

    def _exactly(self, count: int, deadline: Deadline) -> bytes:
        received = bytearray()
        while len(received) < count:
            self._socket.settimeout(deadline.remaining_s())
            piece = self._socket.recv(count - len(received))
            if not piece:
                raise ConnectionResetError("it closed the connection")
            received += piece
        return bytes(received)
