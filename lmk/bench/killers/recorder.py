# SPDX-License-Identifier: Apache-2.0
"""A command of ``lmk-bench`` that runs beside a load and says what it sees."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.device.root import find_root
from lmk.errors import LmkError, ProtocolError, TransientError
from lmk.workload.conversation import LEASE, Conversation, Event
from lmk.workload.install import install

__all__ = ["Recorder"]

_FIRST_WORD = timedelta(minutes=2)
#: Under the pressure that is measured, what was said is long on its way.
_LAST_WORD = timedelta(minutes=2)


class Recorder(ABC):
    """Runs while the block does; what it said is complete once the block has ended.

    :param command: of ``lmk-bench``, with its arguments; it says at least one event at once.
    :raises lmk.errors.LmkError: it could not be installed or started.
    """

    def __init__(
        self, device: Device, command: Sequence[str], *, bundle: Bundle | None = None
    ) -> None:
        self._serial = device.serial
        self._name = f"lmk-bench {command[0]}"
        root = find_root(device)
        path = install(device, "lmk-bench", root=root, bundle=bundle)
        lease = ["--lease-s", str(int(LEASE.total_seconds()))]
        self._talk = Conversation(device, [path, *command, *lease], root=root)
        try:
            if not self.hear(_FIRST_WORD):
                raise TransientError(f"{self._serial}: {self._name} does not start")
        except BaseException:
            self._talk.close()
            raise

    @abstractmethod
    def _remember(self, event: Event) -> None:
        """Remember `event`; KeyError, TypeError or ValueError when it is none of its own."""

    def tell(self, line: str) -> None:
        """Send it one line."""
        self._talk.tell(line)

    def hear(self, timeout: timedelta) -> bool:
        """Take in the next thing that it says; False when nothing came in time.

        :raises lmk.errors.TransientError: it has ended.
        """
        try:
            event = self._talk.hear(timeout)
        except TimeoutError:
            return False
        if event is None:
            raise TransientError(f"{self._serial}: {self._name} has ended")
        self._take_in(event)
        return True

    def close(self) -> None:
        """End it and take in its last words. May be called twice."""
        end = time.monotonic() + _LAST_WORD.total_seconds()
        try:
            # What it has not said when it is told to end, it says then.
            self._talk.tell("quit")
            while (event := self._talk.hear(timedelta(seconds=end - time.monotonic()))) is not None:
                self._take_in(event)
        except (TransientError, TimeoutError):
            pass  # It ends with the stream all the same.
        finally:
            self._talk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(LmkError) if error else contextlib.nullcontext():
            self.close()

    def _take_in(self, event: Event) -> None:
        if event["event"] == "error":
            raise LmkError(f"{self._serial}: {self._name}: {event['message']}")
        try:
            self._remember(event)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"{self._serial}: {self._name} said {event!r}") from error
