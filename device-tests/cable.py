# SPDX-License-Identifier: Apache-2.0
"""A cable between host and device that a test can cut: as a reset, as a black hole, at a byte.

``Cable(host, port)`` listens on a loopback port and carries every connection to there.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Self

_PIECE_BYTES = 65536


class Cable:
    """A TCP link to `host`:`port` by way of :attr:`port` on loopback.

    :ivar port: connect here.
    :ivar target: host and port it leads to.
    :ivar carried_bytes: how many bytes came from the device, over all connections.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self._state = threading.Condition()
        self._black_hole = False
        self._unplugged = False
        self._allowance: int | None = None
        self._at_allowance = "reset"
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.carried_bytes = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """Break every connection (RST) and refuse new ones until :meth:`mend`."""
        with self._state:
            self._unplugged = True
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _reset(end)

    def black_hole(self) -> None:
        """Carry nothing more, in either direction, and say nothing about it."""
        with self._state:
            self._black_hole = True

    def cut_after(self, device_bytes: int, how: str = "reset") -> None:
        """Cut as `how` (``reset``, ``black_hole``) after so many more bytes from the device."""
        with self._state:
            self._allowance, self._at_allowance = device_bytes, how

    def mend(self) -> None:
        """Carry new connections again; those in a black hole are reset, as after a reboot."""
        with self._state:
            was_hole, self._black_hole = self._black_hole, False
            self._allowance = None
            pairs, self._pairs = (self._pairs, []) if was_hole else ([], self._pairs)
            self._unplugged = False
            self._state.notify_all()
        for pair in pairs:
            for end in pair:
                _reset(end)

    def close(self) -> None:
        self.reset()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._state:
            self._black_hole = False
            self._state.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._state:
                self._state.wait_for(lambda: not self._black_hole)
                refused = self._unplugged
            try:
                if refused:
                    raise ConnectionRefusedError
                far = socket.create_connection(self.target)
            except OSError:
                _reset(near)
                continue
            with self._state:
                self._pairs.append((near, far))
            threading.Thread(target=self._carry, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self._carry, args=(far, near, True), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, from_device: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                with self._state:
                    allowed, cut = self._allow(piece) if from_device else (piece, None)
                    self._state.wait_for(lambda: not self._black_hole)
                sink.sendall(allowed)
                if cut == "reset":
                    self.reset()
                elif cut == "black_hole":
                    self.black_hole()
            sink.shutdown(socket.SHUT_WR)

    def _allow(self, piece: bytes) -> tuple[bytes, str | None]:
        if self._allowance is not None:
            if len(piece) >= self._allowance:
                piece = piece[: self._allowance]
                self._allowance = None
                self.carried_bytes += len(piece)
                return piece, self._at_allowance
            self._allowance -= len(piece)
        self.carried_bytes += len(piece)
        return piece, None


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # A thread blocked in recv() holds the socket: shut it for that thread, then reset.
        end.shutdown(socket.SHUT_RD)
    end.close()
