# SPDX-License-Identifier: Apache-2.0
"""lmkd replaced on a guest: who kills now, and what its lmkd and lmk have written down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from conftest import connected

import lmk
from lmk.bench.take_over import killers, server
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.errors import LmkError
from lmk.policy import Policy, parse
from lmk.proto.record_pb2 import Lifecycle
from lmk.report import Position
from lmk.session import Session

__all__ = [
    "LOG",
    "MUTE",
    "STUBBORN",
    "Detaching",
    "Noted",
    "Said",
    "harmless",
    "killers",
    "lmkd_pid",
    "noted",
    "only",
    "property_of",
    "replace",
    "said",
    "said_since",
    "server",
    "until",
]

#: The stand-in's journal; it will not stop while there is the second, nor answer while the third.
LOG, STUBBORN, MUTE = "/run/lmkd.log", "/run/lmkd.stubborn", "/run/lmkd.mute"
_DEADLINE_S = 90.0
T = TypeVar("T")


def harmless() -> Policy:
    """In force, and nobody could be its victim."""
    return parse('name: "harmless" only_uids { first: 4000000 last: 4000000 }')


def replace(
    device: Device, policy: Policy | None = None, *, lease: timedelta | None = None
) -> Session:
    """lmk in lmkd's place, under `policy`: by default nobody can be its victim."""
    wanted = harmless() if policy is None else policy
    return lmk.attach(device, wanted, lease=lease, replace_lmkd=True).keep()


class Detaching:
    """A detach by another host while the block runs; it has succeeded when the block ends."""

    def __init__(self, device: Device) -> None:
        self._serial = device.serial
        self._failed: list[LmkError] = []
        self._thread = threading.Thread(target=self._detach)

    def _detach(self) -> None:
        try:
            with connected(self._serial) as other:
                lmk.detach(other)
        except LmkError as error:
            self._failed.append(error)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._thread.join(_DEADLINE_S)
        assert not self._thread.is_alive()
        assert not self._failed


def until(condition: Callable[[], T | None], deadline_s: float = _DEADLINE_S) -> T:
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)
    return found


def property_of(root: Root, name: str) -> str:
    return root.run(f"getprop {name}").text.strip()


def lmkd_pid(root: Root) -> int:
    return int(property_of(root, "init.svc_debug_pid.lmkd") or 0)


@dataclass(frozen=True)
class Noted:
    """What the stand-in wrote down."""

    time_ns: int
    event: str
    pid: int


def noted(root: Root) -> list[Noted]:
    rows = [line.split() for line in root.run(f"cat {LOG}").text.splitlines()]
    return [Noted(int(when), event, int(pid)) for when, event, pid in rows]


@dataclass(frozen=True)
class Said:
    """One Lifecycle record."""

    time_ns: int
    kind: int
    life: Lifecycle


def said(session: Session, run: int = 1) -> list[Said]:
    """All from `run` on."""
    with session.records(Position(session.hello.boot_id, run, 1), follow=False) as stream:
        return [
            Said(record.time_ns, record.lifecycle.kind, record.lifecycle)
            for record in stream
            if record.HasField("lifecycle")
        ]


def said_since(device: Device, run: int) -> list[Said]:
    """What ended sessions left in the spool: a session in shadow reads it, lmkd goes on."""
    with lmk.attach(device, harmless(), dry_run=True) as session:
        return said(session, run)


def only(records: list[Said], kind: int) -> Said:
    (found,) = [record for record in records if record.kind == kind]
    return found
