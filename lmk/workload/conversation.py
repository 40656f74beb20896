# SPDX-License-Identifier: Apache-2.0
"""Talking to a program on the device: command lines in, one JSON object a line out.

The program runs behind adbd's ``exec:`` service, so its stdin and stdout are one
stream of ours: when the stream or the link ends, the program sees end of input and
ends too. A link that falls silent without closing is covered by a lease: an empty
line goes out every second, and the program ends itself when they stop coming.
"""

from __future__ import annotations

import contextlib
import json
import queue
import shlex
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from lmk.closing import Closing
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.errors import LmkError, ProtocolError, TransientError

__all__ = ["KEEPALIVE", "LEASE", "Conversation", "Event"]

#: One JSON line of a program; ``event`` says what it is.
Event = dict[str, Any]

#: An empty line goes out this often …
KEEPALIVE = timedelta(seconds=1)
#: … and a program that hears nothing for this long ends. Long, since under the very
#: pressure that it makes the device answers late.
LEASE = timedelta(seconds=30)


class Conversation(Closing):
    """A running program.

    :param arguments: program and arguments; quoted for the device's shell here.
    :param root: run it as root.
    :raises lmk.errors.TransientError: the device refused it, or is away.
    """

    def __init__(
        self, device: Device, arguments: Sequence[str], *, root: Root | None = None
    ) -> None:
        self._name = arguments[0].rpartition("/")[2]
        self._serial = device.serial
        command = "exec " + shlex.join(arguments)
        if root is not None:
            command = root.wrap(command)
        self._stream = device.open(f"exec:{command}")
        self._events: queue.SimpleQueue[Event | LmkError | None] = queue.SimpleQueue()
        self._over: LmkError | None = None
        self._ended = False
        self._closed = False
        self._listener = threading.Thread(
            target=self._listen, name=f"{self._name} on {self._serial}", daemon=True
        )
        self._listener.start()

    def tell(self, line: str) -> None:
        """Send one command line.

        :raises lmk.errors.TransientError: the program or the link has gone.
        """
        self._stream.write(line.encode() + b"\n")

    def hear(self, timeout: timedelta | None = None) -> Event | None:
        """The next event, or None once the program has ended.

        :raises TimeoutError: nothing came in time.
        :raises lmk.errors.LmkError: the link broke, or the program printed what is no event.
        """
        if self._ended:
            return None
        try:
            heard = self._events.get(
                timeout=None if timeout is None else max(0.0, timeout.total_seconds())
            )
        except queue.Empty:
            raise TimeoutError(f"{self._serial}: {self._name} said nothing") from None
        if heard is None or isinstance(heard, LmkError):
            self._ended = True
            if heard is not None:
                raise heard
            return None
        return heard

    def close(self) -> None:
        """End the conversation, and with it the program. May be called twice."""
        self._closed = True
        self._stream.close()
        if threading.current_thread() is not self._listener:
            self._listener.join(timeout=10)

    def _listen(self) -> None:
        pending = b""
        alive_s = time.monotonic()
        try:
            while True:
                heard: bytes | None
                try:
                    heard = self._stream.read(timeout=KEEPALIVE)
                except TimeoutError:
                    heard = None
                # Also to one that talks all the time: its lease knows nothing of that.
                if heard != b"" and time.monotonic() - alive_s >= KEEPALIVE.total_seconds():
                    # The program may end between our read and this write: the next read says so.
                    with contextlib.suppress(TransientError):
                        self._stream.write(b"\n")
                    alive_s = time.monotonic()
                if heard is None:
                    continue
                if not heard:
                    break
                *lines, pending = (pending + heard).split(b"\n")
                for line in lines:
                    self._events.put(self._parse(line))
        except LmkError as error:
            if not self._closed:
                self._events.put(error)
                return
        if pending and not self._closed:
            self._events.put(
                ProtocolError(f"{self._serial}: {self._name} ended in the middle of a line")
            )
        self._events.put(None)

    def _parse(self, line: bytes) -> Event:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            # Its shell's words, when it could not be started.
            text = line.decode("utf-8", "replace").strip()
            raise ProtocolError(f"{self._serial}: {self._name}: {text}", serial=self._serial)
        return event
