# SPDX-License-Identifier: Apache-2.0
"""ActivityManager's end of lmkd's socket on a guest: a stand-in that connects and reconnects."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from take_over_parts import server, until

from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.policy import Policy, load
from lmk.virtual.stand_in import stand_in
from lmk.workload.eater import Eater

__all__ = [
    "APP_UID",
    "BOOT_COMPLETED",
    "GETKILLCNT",
    "MAIN_UID",
    "PROCKILL",
    "PROCPRIO",
    "PROCPURGE",
    "PROCREMOVE",
    "START_MONITORING",
    "STAT_KILL_OCCURRED",
    "UPDATE_PROPS",
    "ActivityManager",
    "Event",
    "adj_of",
    "app",
    "await_adj",
    "on_request",
]

PROCPRIO, PROCREMOVE, PROCPURGE, GETKILLCNT = 1, 2, 3, 4
PROCKILL, STAT_KILL_OCCURRED = 6, 8
UPDATE_PROPS, START_MONITORING, BOOT_COMPLETED = 7, 9, 10
#: Of an app as it runs, and as ActivityManager says.
APP_UID, MAIN_UID = 19001, 10123
_PATIENCE = timedelta(seconds=60)


@dataclass(frozen=True)
class Event:
    """What the stand-in wrote down: ``connected``, ``closed``, or ``got`` and what."""

    time_ns: int
    what: str
    packet: bytes


class ActivityManager:
    """The stand-in; ``started`` begins one.

    :ivar log: file of the guest's that it writes its events into.
    """

    def __init__(self, root: Root, name: str) -> None:
        self._root = root
        self._name = name
        self.log = f"/run/{name}.log"

    @classmethod
    def started(cls, device: Device, name: str) -> ActivityManager:
        """One that runs from now on, and a client of the socket that there is."""
        root = find_root(device)
        program = stand_in("activity_manager", device.run("uname -m").text.strip())
        device.push(program, f"/run/{name}", mode=0o755)
        options = f"--log /run/{name}.log --send /run/{name}.send"
        assert root.run(f"/run/{name} {options}").exit_code == 0
        return cls(root, name)

    def end(self) -> None:
        """It is gone, as after a crash of what it stands for."""
        assert self._root.run(f"kill -9 $(pidof {self._name})").exit_code == 0

    def events(self) -> list[Event]:
        rows = [line.split() for line in self._root.run(f"cat {self.log}").text.splitlines()]
        return [Event(int(row[0]), row[1], bytes.fromhex("".join(row[2:]))) for row in rows]

    def count(self, what: str) -> int:
        return sum(event.what == what for event in self.events())

    def send(self, *words: int) -> None:
        line = " ".join(f"{word & 0xFFFFFFFF:x}" for word in words)
        assert self._root.run(f"echo {line} > /run/{self._name}.send").exit_code == 0

    def connected(self) -> bool:
        lines = [event.what for event in self.events() if event.what != "got"]
        return lines[-1:] == ["connected"]

    def await_server(self, program: str) -> None:
        """Until that program serves, and it has come to it."""
        until(lambda: server(self._root) == program and self.connected())

    def packets(self, command: int) -> list[bytes]:
        packets = [event.packet for event in self.events() if event.what == "got"]
        return [packet for packet in packets if struct.unpack_from(">i", packet)[0] == command]

    def await_packet(self, command: int) -> bytes:
        return until(lambda: self.packets(command))[-1]

    def kill_count(self) -> int:
        before = len(self.packets(GETKILLCNT))
        self.send(GETKILLCNT, 1001, 0)
        reply = until(lambda: self.packets(GETKILLCNT)[before:])[0]
        count: int = struct.unpack(">ii", reply)[1]
        return count


def on_request() -> Policy:
    """Nobody dies but by request, and only these tests' apps: as they run, or are registered."""
    wanted = load("default")
    wanted.scarcity.available_below_pct = 0
    for uid in (APP_UID, MAIN_UID):
        wanted.only_uids.add(first=uid, last=uid)
    return wanted


@contextlib.contextmanager
def app(device: Device) -> Iterator[int]:
    with Eater(device, 4, adj=0, uid=APP_UID, name="com.example.app") as eater:
        yield eater.await_phase("grown", _PATIENCE).pid


def adj_of(root: Root, pid: int) -> int:
    return int(root.run(f"cat /proc/{pid}/oom_score_adj").text)


def await_adj(root: Root, pid: int, adj: int) -> None:
    until(lambda: adj_of(root, pid) == adj)
