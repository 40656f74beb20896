# SPDX-License-Identifier: Apache-2.0
"""Kills that were made while nobody listened: told once each to who comes next."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from lmkd_client import APP, Server, barrier
from lmkd_parts import Command, packet

pytest_plugins = ("lmkd_plugin",)

_ROOM = 64


def subscribed(server: Server, *which: int) -> socket.socket:
    link = server.connect()
    for subscription in which:
        link.send(packet(Command.SUBSCRIBE, subscription))
    return link


def told(link: socket.socket) -> list[tuple[int, bytes]]:
    """Commands and packets that came, up to now."""
    link.send(packet(Command.GETKILLCNT, 0, -1))
    found = []
    while (came := link.recv(256))[:4] != packet(Command.GETKILLCNT):
        found.append((int.from_bytes(came[:4], "big"), came))
    return found


def kill(server: Server, *pids: int) -> None:
    """Made, one after the other, when this returns."""
    for pid in pids:
        server.kill(pid)
    server.counters()


def pids(link: socket.socket) -> list[int]:
    """Those that LMK_PROCKILL named."""
    return [int.from_bytes(came[4:8], "big") for command, came in told(link) if command == 6]


def test_who_subscribes_hears_of_kills_before_that_once_and_in_order(server: Server) -> None:
    kill(server, 71, 73, 72)
    with subscribed(server, 0) as link:
        assert pids(link) == [71, 73, 72]
        # The other packet waits for who asks for that one.
        with subscribed(server, 1) as other:
            assert [command for command, _ in told(other)] == [8, 8, 8]
        kill(server, 74)
        assert pids(link) == [74]
    with subscribed(server, 0, 1) as late:
        assert [command for command, _ in told(late)] == [8], "the last one as a report alone"
    counters = server.counters()
    assert (counters["told"], counters["told_later"], counters["dropped"]) == (1, 3, 0)


def test_asking_twice_tells_nothing_twice(server: Server) -> None:
    kill(server, 71)
    with subscribed(server, 0, 0) as link:
        assert pids(link) == [71]
        link.send(packet(Command.SUBSCRIBE, 0))
        assert pids(link) == []


def test_a_client_that_has_not_subscribed_gets_none(server: Server, link: socket.socket) -> None:
    barrier(link)
    kill(server, 71)
    assert told(link) == []
    link.send(packet(Command.SUBSCRIBE, 0))
    assert pids(link) == [71]


def test_the_uid_is_the_one_that_was_registered_when_it_was_killed(
    server: Server, spawn: Callable[[], int]
) -> None:
    pid = spawn()
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    with server.connect() as link:
        link.send(packet(Command.PROCPRIO, pid, 99001, 900))
        barrier(link)
        server.kill(pid, start_ns=ticks * 10**7)
        server.counters()
    # It purges what it knew of an earlier lmkd before it asks for anything.
    with server.connect() as link:
        link.send(packet(Command.PROCPURGE))
        link.send(packet(Command.SUBSCRIBE, 0))
        assert told(link) == [(6, packet(6, pid, 99001, 4096))]


def test_android_15_hears_of_them_in_12_bytes(server: Server) -> None:
    server.running.tell("short")
    kill(server, 71)
    with subscribed(server, 0) as link:
        assert told(link) == [(6, packet(6, 71, APP))]


def test_there_is_room_for_some_and_the_oldest_are_counted(server: Server) -> None:
    kill(server, *range(1, _ROOM + 4))
    with subscribed(server, 0) as link:
        assert pids(link) == [*range(4, _ROOM + 4)]
    assert server.counters()["dropped"] == 3


def test_reports_that_nobody_asks_for_are_no_loss(server: Server) -> None:
    """Older Androids subscribe to LMK_PROCKILL alone."""
    with subscribed(server, 0) as link:
        barrier(link)
        kill(server, *range(1, 2 * _ROOM))
        assert len(pids(link)) == 2 * _ROOM - 1
    assert server.counters()["dropped"] == 0


def test_what_is_too_old_to_be_of_use_is_not_told(server: Server) -> None:
    kill(server, 70)
    server.running.tell("stale")
    kill(server, 71)
    with subscribed(server, 0) as link:
        assert pids(link) == [70]
    assert server.counters()["dropped"] == 1
