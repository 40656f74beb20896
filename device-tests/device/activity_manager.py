# SPDX-License-Identifier: Apache-2.0
"""ActivityManager's end of lmkd's socket on a guest: a stand-in that connects and reconnects.

:class:`ActivityManager` sends what a test tells it to, packet by packet; :class:`ProcessList` what
AOSP's class of that name does as processes start, change and end.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

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
    "MINFREE_LEVELS",
    "PROCKILL",
    "PROCPRIO",
    "PROCPURGE",
    "PROCREMOVE",
    "PROCS_PRIO",
    "START_MONITORING",
    "STAT_KILL_OCCURRED",
    "UPDATE_PROPS",
    "ActivityManager",
    "Event",
    "ProcessList",
    "Registered",
    "adj_of",
    "app",
    "await_adj",
    "on_request",
]

PROCPRIO, PROCREMOVE, PROCPURGE, GETKILLCNT = 1, 2, 3, 4
PROCKILL, STAT_KILL_OCCURRED = 6, 8
UPDATE_PROPS, START_MONITORING, BOOT_COMPLETED = 7, 9, 10
PROCS_PRIO, PROCS_MAX = 11, 3
#: ``sys.lmk.minfree_levels`` as the stand-in's LMK_TARGET has it: pages, oom_score_adj.
MINFREE_LEVELS = "18432:0,23040:100,27648:200,32256:250,55296:900,80640:950"
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
    def started(cls, device: Device, name: str) -> Self:
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

    def kill_count(self, lowest: int = 1001, highest: int = 0) -> int:
        """Of those with such an oom_score_adj; as it is: of all.

        The reply is told apart as by LmkdConnection.isReplyExpected(): of that length, and that
        command. Whatever else comes meanwhile is none.
        """

        def replies() -> list[bytes]:
            return [packet for packet in self.packets(GETKILLCNT) if len(packet) == 8]

        before = len(replies())
        self.send(GETKILLCNT, lowest, highest)
        (reply,) = until(lambda: replies()[before:])
        count: int = struct.unpack(">ii", reply)[1]
        return count

    def kills(self) -> list[tuple[int, int]]:
        """pid and uid of each LMK_PROCKILL that has come."""
        packets = self.packets(PROCKILL)
        return [(pid, uid) for _, pid, uid in (struct.unpack(">iii", one[:12]) for one in packets)]


@dataclass(frozen=True)
class Registered:
    """A process as ProcessList knows it."""

    uid: int
    adj: int
    service: bool


class ProcessList(ActivityManager):
    """It says what it knows as AOSP's does: when a process starts, changes and ends.

    A new connection is told of nobody: that is ProcessList's way, too. Who it knows comes back
    with the next change of adj.
    """

    def __init__(self, root: Root, name: str) -> None:
        super().__init__(root, name)
        self.processes: dict[int, Registered] = {}

    def begin(self, pid: int, uid: int, adj: int, *, service: bool = False) -> None:
        """A process starts."""
        self.processes[pid] = Registered(uid, adj, service)
        self.send(PROCPRIO, *self._words(pid))

    def move(self, adjs: Mapping[int, int]) -> None:
        """One or several, by pid, get another adj: several at once in one packet, as of 15."""
        for pid, adj in adjs.items():
            known = self.processes[pid]
            self.processes[pid] = Registered(known.uid, adj, known.service)
        pids = list(adjs)
        if len(pids) == 1:
            self.send(PROCPRIO, *self._words(pids[0]))
            return
        for first in range(0, len(pids), PROCS_MAX):
            some = pids[first : first + PROCS_MAX]
            self.send(PROCS_PRIO, *(word for pid in some for word in self._words(pid)))

    def forget(self, pid: int) -> None:
        """A process has ended, or is to be killed by ActivityManager itself."""
        del self.processes[pid]
        self.send(PROCREMOVE, pid)

    def await_adjs(self) -> None:
        """Until each has the adj that it was given."""
        for pid, known in self.processes.items():
            await_adj(self._root, pid, known.adj)

    def _words(self, pid: int) -> tuple[int, int, int, int]:
        known = self.processes[pid]
        return pid, known.uid, known.adj, int(known.service)


def on_request() -> Policy:
    """Nobody dies but by request, and only these tests' apps: as they run, or are registered."""
    wanted = load("default")
    wanted.scarcity.available_below_pct = 0
    wanted.only_uids.add(first=APP_UID, last=APP_UID)
    wanted.only_uids.add(first=MAIN_UID, last=MAIN_UID + 9)
    return wanted


@contextlib.contextmanager
def app(device: Device) -> Iterator[int]:
    with Eater(device, 4, adj=0, uid=APP_UID, name="com.example.app") as eater:
        yield eater.await_phase("grown", _PATIENCE).pid


def adj_of(root: Root, pid: int) -> int:
    return int(root.run(f"cat /proc/{pid}/oom_score_adj").text)


def await_adj(root: Root, pid: int, adj: int) -> None:
    until(lambda: adj_of(root, pid) == adj)
