# SPDX-License-Identifier: Apache-2.0
"""A memory eater on a device: ``lmk pressure``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from lmk.build import Bundle
from lmk.closing import Closing
from lmk.device.interface import Device
from lmk.device.root import find_root
from lmk.errors import LmkError, TransientError, UsageError
from lmk.workload.conversation import LEASE, Conversation, Event
from lmk.workload.install import install

__all__ = ["Eater", "EaterState"]

_FIRST_WORD = timedelta(seconds=10)
#: A process under memory pressure may take long to end.
_GONE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class EaterState:
    """What an eater said last.

    :ivar phase: ``start``, ``grow``, ``grown`` (has its size), ``floor`` (stopped at the
        floor), ``hold``, ``end``, ``killed`` (the device ended it: no last word).
    :ivar eaten_kb: memory it has, in KiB.
    :ivar available_kb: MemAvailable of the device, in KiB, before the last step.
    :ivar floor_kb: MemAvailable it will not cross, in KiB; 0 is none.
    """

    phase: str
    pid: int
    eaten_kb: int
    available_kb: int
    floor_kb: int


class Eater(Closing):
    """An eater that runs until it is closed; iterate over it for its states.

    :param size_mb: how much to eat, in MiB.
    :param rate_mb_per_s: how fast; 0 is as fast as it goes.
    :param adj: its oom_score_adj. Below 0 needs root.
    :param floor_mb: MemAvailable not to cross, in MiB; 0 is none, None 5 % of the
        device's memory and at least 32.
    :param uid: run as that user (needs root); None changes nothing.
    :param compressible_pct: share of each page that compresses.
    :param touch: keep touching it, so that it stays the working set.
    :param name: what it is called on the device.
    :raises lmk.errors.LmkError: it could not be installed or started.
    """

    def __init__(
        self,
        device: Device,
        size_mb: int,
        *,
        rate_mb_per_s: int = 0,
        adj: int = 900,
        floor_mb: int | None = None,
        uid: int | None = None,
        compressible_pct: int = 50,
        touch: bool = False,
        name: str = "lmk-eater",
        bundle: Bundle | None = None,
    ) -> None:
        self._device = device
        self._serial = device.serial
        self._closed = False
        # Raising oom_score_adj and eating need no right; the rest is root's.
        root = find_root(device) if adj < 0 or uid is not None else None
        path = install(device, "lmk-eater", root=root, bundle=bundle)
        arguments = [path, "--size-mb", str(size_mb), "--rate-mb-per-s", str(rate_mb_per_s)]
        arguments += ["--adj", str(adj), "--compressible-pct", str(compressible_pct)]
        arguments += ["--floor-mb", str(-1 if floor_mb is None else floor_mb), "--name", name]
        arguments += ["--lease-s", str(int(LEASE.total_seconds()))]
        if uid is not None:
            arguments += ["--uid", str(uid)]
        if touch:
            arguments.append("--touch")
        self._last = EaterState("start", 0, 0, 0, 0)
        self._talk = Conversation(device, arguments, root=root)

    def next(self, timeout: timedelta | None = None) -> EaterState | None:
        """Its next state; None after ``end`` or ``killed``.

        :raises TimeoutError: nothing came in time.
        :raises lmk.errors.UsageError: it refused its arguments or a right it lacks.
        """
        if self._last.phase in ("end", "killed"):
            return None
        event = self._talk.hear(timeout)
        if event is None:
            self._last = EaterState(
                "killed", self._last.pid, 0, self._last.available_kb, self._last.floor_kb
            )
            return self._last
        if event["event"] == "error":
            raise UsageError(f"{self._serial}: lmk-eater: {event['message']}", serial=self._serial)
        self._last = self._state(event)
        return self._last

    def await_phase(self, phase: str, timeout: timedelta | None = None) -> EaterState:
        """Its state once it is in `phase`.

        :param timeout: for each of its words on the way.
        :raises TimeoutError: nothing came in time.
        :raises lmk.errors.TransientError: it ended without.
        """
        while (state := self.next(timeout)) is not None:
            if state.phase == phase:
                return state
        raise TransientError(f"{self._serial}: lmk-eater ended before it was {phase!r}")

    def __iter__(self) -> Iterator[EaterState]:
        while (state := self.next()) is not None:
            yield state

    def close(self) -> None:
        """End it, and wait until it has given its memory back. May be called twice."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(LmkError, TimeoutError):
            # Its first word says who it is.
            while not self._last.pid and self.next(_FIRST_WORD) is not None:
                pass
        self._talk.close()
        if self._last.pid:
            with contextlib.suppress(TransientError):
                self._device.run(
                    f"while [ -d /proc/{self._last.pid} ]; do sleep 0.05; done", timeout=_GONE
                )

    def _state(self, event: Event) -> EaterState:
        last = self._last
        try:
            return EaterState(
                phase=event["event"],
                pid=int(event.get("pid", last.pid)),
                eaten_kb=int(event.get("kb", last.eaten_kb)),
                available_kb=int(event.get("available_kb", last.available_kb)),
                floor_kb=int(event.get("floor_kb", last.floor_kb)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise LmkError(f"{self._serial}: lmk-eater said {event!r}") from error
