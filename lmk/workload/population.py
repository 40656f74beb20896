# SPDX-License-Identifier: Apache-2.0
"""A population of processes on a device, and the record of how they lived and died."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from lmk.build import Bundle
from lmk.closing import Closing
from lmk.device.interface import Device
from lmk.device.root import find_root
from lmk.errors import LmkError, ProtocolError, TransientError
from lmk.workload.conversation import LEASE, Conversation, Event
from lmk.workload.history import History
from lmk.workload.install import install
from lmk.workload.record import Death, Life

__all__ = ["Population", "Row"]

#: Starting a population means filling it page by page; on an emulated device that takes.
_START, _START_EACH = timedelta(minutes=3), timedelta(seconds=0.2)
#: What was said before the end is on its way.
_LAST_WORD = timedelta(seconds=5)
_QUIT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Row:
    """Processes of one kind.

    :ivar count: above 1 they are called ``name1``, ``name2`` … with uids from `uid` on.
    :ivar compressible_pct: share of each page that compresses.
    :ivar touch_ms: how long to go round all its memory once; 0: it never looks at it again.
    """

    name: str
    uid: int
    adj: int
    size_kb: int
    count: int = 1
    compressible_pct: int = 50
    touch_ms: int = 0

    def __str__(self) -> str:
        return (
            f"{self.name} {self.uid} {self.adj} {self.size_kb} {self.count} "
            f"{self.compressible_pct} {self.touch_ms}"
        )


class Population(Closing):
    """Processes of `rows` on a device, all running and filled when this returns.

    :param on_event: called with each event as it is taken in, from the calling thread.
    :raises lmk.errors.LmkError: it could not be installed or started, or a process could
        not become what its row says (uids and adj below 0 need root).

    Events are taken in while one of the methods waits; :meth:`listen` does only that.
    """

    def __init__(
        self,
        device: Device,
        rows: Iterable[Row],
        *,
        bundle: Bundle | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        #: All that its parent said of who lived and died.
        self.history = History()
        #: Whether the keeper of the record itself is beyond any killer (oom_score_adj -1000).
        self.protected = False
        self._on_event = on_event
        self._serial = device.serial
        root = find_root(device)
        path = install(device, "lmk-population", root=root, bundle=bundle)
        arguments = [path, "--lease-s", str(int(LEASE.total_seconds()))]
        self._talk = Conversation(device, arguments, root=root)
        self._patience = _START
        try:
            for row in rows:
                self._tell(str(row))
                self._patience += row.count * _START_EACH
            self._tell("go")
            self._await(lambda event: event["event"] == "ready", self._patience, "start")
        except BaseException:
            self.close()
            raise

    @property
    def lives(self) -> list[Life]:
        """All that were ever started, in that order."""
        return self.history.lives

    @property
    def deaths(self) -> list[Death]:
        """All that ended, in that order."""
        return self.history.deaths

    @property
    def alive(self) -> dict[str, Life]:
        """Who lives, by name."""
        return self.history.alive

    def grow(self, name: str, size_mb: int, rate_mb_per_s: int) -> None:
        """Tell `name` to grow by `size_mb` at that rate (0: as fast as it goes); does not wait."""
        self._tell(f"grow {name} {size_mb} {rate_mb_per_s}")

    def await_sized(self, name: str, timeout: timedelta) -> bool:
        """Wait until `name` has the size it was told; False when it died instead.

        :raises TimeoutError: neither in time.
        """

        def settled(event: Event) -> bool:
            return event["event"] in ("sized", "exit", "gone") and event["name"] == name

        return bool(self._await(settled, timeout, f"{name} to grow")["event"] == "sized")

    def shrink(self, name: str, timeout: timedelta = timedelta(seconds=30)) -> None:
        """Have `name` give back what it grew by, and wait for it."""
        self._tell(f"shrink {name}")
        self.await_sized(name, timeout)

    def shrink_soon(self, name: str) -> None:
        """Have `name` give back what it grew by; does not wait."""
        self._tell(f"shrink {name}")

    def spawn(self, row: Row) -> None:
        """Start one more process, or a dead one as what `row` says now; does not wait.

        One that is not in the table gives its place up when it dies.
        """
        self._tell(
            f"spawn {row.name} {row.uid} {row.adj} {row.size_kb} "
            f"{row.compressible_pct} {row.touch_ms}"
        )

    def set_adj(self, name: str, adj: int) -> None:
        """Give `name` another oom_score_adj, as ActivityManager does; does not wait."""
        self._tell(f"adj {name} {adj}")

    def end(self, name: str) -> None:
        """Have `name` exit by itself; does not wait."""
        self._tell(f"exit {name}")

    def watch(self, interval: timedelta) -> None:
        """Have the device's memory among the events, that often, from now on."""
        self._tell(f"watch {round(interval.total_seconds() * 1000)}")

    def refill(self) -> None:
        """Start what has died again, and wait until it is filled."""
        self._tell("refill")
        self._await(lambda event: event["event"] == "ready", self._patience, "refill")

    def listen(self, duration: timedelta) -> None:
        """Take in what happens for that long."""
        end = time.monotonic() + duration.total_seconds()
        while (left := end - time.monotonic()) > 0:
            try:
                if self._hear(timedelta(seconds=left)) is None:
                    raise TransientError(f"{self._serial}: lmk-population has ended")
            except TimeoutError:
                return

    def close(self) -> None:
        """End all of it, and wait for it. May be called twice."""
        end = time.monotonic() + _QUIT.total_seconds()
        try:
            self._tell("quit")
            while self._hear(timedelta(seconds=end - time.monotonic())) is not None:
                pass
        except (LmkError, TimeoutError):
            pass  # It ends with the stream all the same.
        finally:
            self._talk.close()

    def _tell(self, line: str) -> None:
        try:
            self._talk.tell(line)
        except TransientError as broken:
            # It ended on what it was told before: its last word says why.
            with contextlib.suppress(TimeoutError):
                while self._hear(_LAST_WORD) is not None:
                    pass
            raise broken

    def _await(self, wanted: Callable[[Event], bool], timeout: timedelta, what: str) -> Event:
        end = time.monotonic() + timeout.total_seconds()
        while True:
            left = timedelta(seconds=max(0.0, end - time.monotonic()))
            try:
                event = self._hear(left)
            except TimeoutError:
                raise TimeoutError(
                    f"{self._serial}: {what} took over {timeout.total_seconds():g} s"
                ) from None
            if event is None:
                raise TransientError(f"{self._serial}: lmk-population has ended ({what})")
            if wanted(event):
                return event

    def _hear(self, timeout: timedelta) -> Event | None:
        event = self._talk.hear(timeout)
        if event is None:
            return None
        try:
            self._take_in(event)
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"{self._serial}: lmk-population said {event!r}") from error
        if self._on_event is not None:
            self._on_event(event)
        return event

    def _take_in(self, event: Event) -> None:
        kind = event["event"]
        if kind == "error":
            raise LmkError(f"{self._serial}: lmk-population: {event['message']}")
        if kind == "hello":
            self.protected = bool(event["protected"])
        else:
            self.history.take_in(event)
