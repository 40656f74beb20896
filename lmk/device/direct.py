# SPDX-License-Identifier: Apache-2.0
"""A device reached by TCP, with no adb server between: the direct transport.

adb-shell makes every connection (:mod:`lmk.device.link`): CNXN, the AUTH exchange with its
signers, key generation, the packet's layout. It does so over :mod:`lmk.device.packets`,
which cures its reads and writes. What runs on a connection is ours, each part for a
reason told where it stands: streams (:mod:`lmk.device.stream`), and on them commands with exit
code and stderr, which adb-shell does not offer (:mod:`lmk.device.shell`), and files
(:mod:`lmk.device.sync`), the same as on the other transport (:mod:`lmk.device.adbd`).

Every operation has a TCP connection of its own, so that an idle stream holds up nobody
and no packets need sorting. Connections that ended in order are kept for the next
command: connecting costs 60 ms on the emulated device, and a signature on a phone.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from lmk.device.adbd import AdbdDevice
from lmk.device.link import Link, connect_link
from lmk.device.packets import Deadline
from lmk.device.service import ServiceRefusedError
from lmk.device.stream import ServiceStream
from lmk.errors import TransientError, UsageError

__all__ = ["DirectDevice"]

_IDLE_LINKS = 4
#: After so long a kept connection may be dead with nothing to show it (a cable, a NAT).
_IDLE_S = 10.0


class DirectDevice(AdbdDevice):
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
        super().__init__(serial or f"tcp:{host}:{port}")
        self._address = (host, port)
        self._connect_s = connect_timeout.total_seconds()
        self._accept_s = accept_timeout.total_seconds()
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._idle: list[Link] = []
        self._streams: dict[ServiceStream, Link] = {}
        self._closed = False
        self._give_back(self._connect(Deadline(None)))

    @property
    def transport(self) -> str:
        """``direct``."""
        return "direct"

    def close(self) -> None:
        """Close every connection and stream."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        for stream in streams:
            stream.close()
        self._drop_idle()

    # Services -------------------------------------------------------------------------------

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
