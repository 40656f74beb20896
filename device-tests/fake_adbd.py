# SPDX-License-Identifier: Apache-2.0
"""An adbd for what the real one cannot be made to do.

Half packets, acknowledgements that come late, a link that falls silent, an AUTH exchange
that is refused. Everything else is tested on a real adbd. That this one speaks the protocol
is proven by the real ``adb`` client (test_device_fake_adbd.py).

A service is a function that gets a :class:`FakeStream`; it runs in a thread of its own.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

_HEADER = struct.Struct("<4s5I")
_MAX_DATA = 1024 * 1024
_TOKEN, _SIGNATURE, _PUBLIC_KEY = 1, 2, 3

Service = Callable[["FakeStream"], None]


def packet(command: bytes, arg0: int, arg1: int, data: bytes = b"") -> bytes:
    """One ADB packet."""
    magic = int.from_bytes(command, "little") ^ 0xFFFFFFFF
    return _HEADER.pack(command, arg0, arg1, len(data), sum(data) & 0xFFFFFFFF, magic) + data


def shell_packet(kind: int, data: bytes) -> bytes:
    """One packet of shell protocol v2."""
    return struct.pack("<BI", kind, len(data)) + data


class FakeStream:
    """The device's end of one open service."""

    def __init__(self, connection: _Connection, local_id: int, remote_id: int) -> None:
        self.connection = connection
        self.local_id, self.remote_id = local_id, remote_id
        self.incoming: queue.Queue[bytes] = queue.Queue()
        self.acknowledged = threading.Semaphore(0)

    def packet(self, data: bytes) -> bytes:
        """`data` as the packet that write() would send."""
        return packet(b"WRTE", self.local_id, self.remote_id, data)

    def write(self, data: bytes) -> None:
        """Send and wait for the acknowledgement, as adbd does."""
        self.connection.send(self.packet(data))
        self.wait_acknowledged()

    def wait_acknowledged(self, timeout_s: float = 30) -> None:
        if not self.acknowledged.acquire(timeout=timeout_s):
            raise TimeoutError("the host did not acknowledge")

    def read(self, timeout_s: float = 30) -> bytes:
        """The data of the next packet; b"" when the host has closed."""
        return self.incoming.get(timeout=timeout_s)

    def close(self) -> None:
        self.connection.send(packet(b"CLSE", self.local_id, self.remote_id))


class FakeAdbd:
    """A listener on a free loopback port.

    :param services: by full name; others run a command if they are a shell, else are refused.
    :param auth: None lets everyone in; ``prompt`` asks for a key and never accepts it;
        ``accept`` asks, accepts the first public key sent, and from then on its signatures.
    """

    def __init__(
        self,
        services: dict[str, Service] | None = None,
        *,
        auth: str | None = None,
        features: str = "shell_v2,stat_v2,cmd",
        greeting: Callable[[socket.socket], None] | None = None,
    ) -> None:
        self.services = services or {}
        self.auth = auth
        self.features = features
        self.greeting = greeting
        self.accepted_keys: list[rsa.RSAPublicKey] = []
        self.auth_log: list[str] = []
        #: Seconds to wait before an acknowledgement.
        self.ack_delay_s = 0.0
        #: Names of services that get no answer to their OPEN.
        self.unanswered: set[str] = set()
        self.connections: list[_Connection] = []
        self._thawed = threading.Event()
        self._thawed.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Fall silent: nothing is read, answered or closed any more."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def wait_thawed(self) -> None:
        self._thawed.wait()

    def close(self) -> None:
        self.thaw()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            connection = _Connection(self, accepted)
            self.connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()


class _Connection:
    def __init__(self, adbd: FakeAdbd, connected: socket.socket) -> None:
        self.adbd = adbd
        self.socket = connected
        self._sending = threading.Lock()
        self._streams: dict[int, FakeStream] = {}
        self._token = os.urandom(20)
        self._last_id = 100

    def send(self, data: bytes) -> None:
        """Send raw bytes: a packet, or a part of one."""
        self.adbd.wait_thawed()
        with self._sending:
            self.socket.sendall(data)

    def hang_up(self) -> None:
        """Close the link in order (FIN)."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def reset(self) -> None:
        """Break the link (RST)."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.shutdown(socket.SHUT_RD)  # lets serve() out of recv(), which holds the socket
        self.socket.close()

    def serve(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            if self.adbd.greeting is not None:
                self.adbd.greeting(self.socket)
            while True:
                self.adbd.wait_thawed()
                command, arg0, arg1, length, _, _ = _HEADER.unpack(self._read(_HEADER.size))
                data = self._read(length)
                self.adbd.wait_thawed()
                self._handle(command, arg0, arg1, data)
        for stream in self._streams.values():
            stream.incoming.put(b"")

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def _handle(self, command: bytes, arg0: int, arg1: int, data: bytes) -> None:
        if command == b"CNXN":
            if self.adbd.auth is None:
                self._welcome()
            else:
                self.send(packet(b"AUTH", _TOKEN, 0, self._token))
        elif command == b"AUTH":
            self._authenticate(arg0, data)
        elif command == b"OPEN":
            self._open(arg0, data.rstrip(b"\0").decode())
        elif command == b"WRTE":
            if self.adbd.ack_delay_s:
                threading.Event().wait(self.adbd.ack_delay_s)
            self.send(packet(b"OKAY", arg1, arg0))
            if arg1 in self._streams:
                self._streams[arg1].incoming.put(data)
        elif command == b"OKAY" and arg1 in self._streams:
            self._streams[arg1].acknowledged.release()
        elif command == b"CLSE" and arg1 in self._streams:
            self._streams.pop(arg1).incoming.put(b"")

    def _welcome(self) -> None:
        banner = f"device::ro.product.name=fake;features={self.adbd.features}"
        self.send(packet(b"CNXN", 0x01000000, _MAX_DATA, banner.encode()))

    def _authenticate(self, kind: int, data: bytes) -> None:
        if kind == _SIGNATURE:
            self.adbd.auth_log.append("signature")
            if any(self._signed_by(key, data) for key in self.adbd.accepted_keys):
                self._welcome()
            else:
                self.send(packet(b"AUTH", _TOKEN, 0, self._token))
        elif kind == _PUBLIC_KEY:
            self.adbd.auth_log.append("public key")
            if self.adbd.auth == "accept":
                self.adbd.accepted_keys.append(_android_public_key(data))
                self._welcome()

    def _signed_by(self, key: rsa.RSAPublicKey, signature: bytes) -> bool:
        try:
            scheme = utils.Prehashed(hashes.SHA1())
            key.verify(signature, self._token, padding.PKCS1v15(), scheme)
        except InvalidSignature:
            return False
        return True

    def _open(self, host_id: int, name: str) -> None:
        if name in self.adbd.unanswered:
            return
        service = self.adbd.services.get(name) or _shell_service(name)
        if service is None:
            self.send(packet(b"CLSE", 0, host_id))
            return
        self._last_id += 1
        stream = FakeStream(self, self._last_id, host_id)
        self._streams[stream.local_id] = stream
        self.send(packet(b"OKAY", stream.local_id, host_id))
        threading.Thread(target=_run_service, args=(service, stream), daemon=True).start()


def _run_service(service: Service, stream: FakeStream) -> None:
    with contextlib.suppress(OSError):  # a test that cuts the link ends its services
        service(stream)


def _shell_service(name: str) -> Service | None:
    kind, _, command = name.partition(":")
    if kind.split(",")[0] != "shell":
        return None

    def run(stream: FakeStream) -> None:
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False)
        if ",v2" in kind:
            for number, data in ((1, done.stdout), (2, done.stderr)):
                if data:
                    stream.write(shell_packet(number, data))
            stream.write(shell_packet(3, bytes([done.returncode & 0xFF])))
        else:
            stream.write(done.stdout + done.stderr)
        stream.close()

    return run


def _android_public_key(data: bytes) -> rsa.RSAPublicKey:
    """The key in Android's own struct: word count, n0inv, modulus, rr, exponent."""
    import base64

    raw = base64.b64decode(data.split()[0].rstrip(b"\0"))
    modulus = int.from_bytes(raw[8 : 8 + 256], "little")
    exponent = int.from_bytes(raw[-4:], "little")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()
