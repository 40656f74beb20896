# SPDX-License-Identifier: Apache-2.0
"""Clients of lmkd's socket: how many, who may be one, and what a bad one costs the others."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from lmkd_client import APP, Elsewhere, Server, adj_of, barrier, serves, until
from lmkd_parts import Command, Refusal, connect, packet, refusal_of
from running import Running

pytest_plugins = ("lmkd_plugin",)


# -- bad clients ---------------------------------------------------------------------------


def test_a_ninth_client_drops_nobody(server: Server) -> None:
    with ExitStack() as stack:
        eight = [stack.enter_context(server.connect()) for _ in range(8)]
        for link in eight:
            barrier(link)
        assert not serves(server)
        for link in eight:
            barrier(link)
    assert server.counters()["clients_refused"] == 1
    until(lambda: serves(server))


def test_a_client_that_never_reads_holds_up_nobody_and_is_dropped(
    server: Server, link: socket.socket
) -> None:
    """lmkd waits for it. Dropped, it knows that it has missed something."""
    with server.connect() as deaf:
        deaf.send(packet(Command.SUBSCRIBE, 0))
        barrier(deaf)
        kills = 0
        while not server.counters()["clients_deaf"]:
            kills += 1
            server.kill(kills)
        barrier(link)
        # What fitted it still finds, and then the end.
        for pid in range(1, kills):
            assert deaf.recv(256) == packet(6, pid, APP, 4096)
        assert deaf.recv(256) == b""
    counters = server.counters()
    assert (counters["clients_deaf"], counters["unsent"], counters["told"]) == (1, 1, kills - 1)
    # What did not fit is told when it comes again.
    with server.connect() as again:
        again.send(packet(Command.SUBSCRIBE, 0))
        assert again.recv(256) == packet(6, kills, APP, 4096)
        barrier(again)
    link.send(packet(Command.GETKILLCNT, 900, 900))
    assert link.recv(256) == packet(4, kills)


def test_a_client_that_reads_no_replies_is_dropped(server: Server, link: socket.socket) -> None:
    with server.connect() as asking:
        with suppress(BrokenPipeError, ConnectionResetError):
            while True:
                asking.send(packet(Command.GETKILLCNT, 1001, 0))
        barrier(link)
    assert server.counters()["clients_deaf"] == 1
    # Its place is somebody else's again.
    with ExitStack() as stack:
        for _ in range(7):
            barrier(stack.enter_context(server.connect()))


def test_a_client_with_much_to_say_lets_others_speak(
    server: Server, link: socket.socket, spawn: Callable[[], int]
) -> None:
    """What it says last comes after what another said while it was speaking."""
    pid = spawn()
    with server.connect() as brief:
        barrier(brief)
        barrier(link)
        os.kill(server.running.process.pid, signal.SIGSTOP)
        # With a time limit a socket is first asked for room, and says no at a quarter of it.
        link.settimeout(None)
        for _ in range(150):
            link.send(packet(Command.PROCPRIO, pid, APP, 900))
        brief.send(packet(Command.PROCPRIO, pid, APP, 500))
        os.kill(server.running.process.pid, signal.SIGCONT)
        barrier(link)
        barrier(brief)
    assert adj_of(pid) == 900


def test_clients_that_come_and_go_leave_nothing(server: Server, link: socket.socket) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{server.running.process.pid}/fd").iterdir()))

    barrier(link)
    before = descriptors()
    for turn in range(300):
        # One that comes before the server has heard that others left is a ninth client.
        with server.connect() as brief, suppress(BrokenPipeError, ConnectionResetError):
            if turn % 3:
                brief.send(packet(Command.SUBSCRIBE, 0))
            if turn % 3 == 2:
                brief.send(b"")
    barrier(link)
    until(lambda: descriptors() == before)
    assert serves(server)


def test_the_last_words_of_a_client_count(server: Server, spawn: Callable[[], int]) -> None:
    """It leaves with a report unread, so the kernel tells of a reset before it gives them."""
    pids = [spawn() for _ in range(3)]
    with server.connect() as leaving:
        leaving.send(packet(Command.SUBSCRIBE, 0))
        barrier(leaving)
        server.kill(77)
        server.counters()
        os.kill(server.running.process.pid, signal.SIGSTOP)
        for pid in pids:
            leaving.send(packet(Command.PROCPRIO, pid, APP, 900))
    os.kill(server.running.process.pid, signal.SIGCONT)
    until(lambda: [adj_of(pid) for pid in pids] == [900] * 3)
    until(lambda: server.record(pids[0])["owner"] == 0)


def test_descriptors_that_are_sent_along_are_not_kept(server: Server, link: socket.socket) -> None:
    folder = Path(f"/proc/{server.running.process.pid}/fd")
    barrier(link)
    before = len(list(folder.iterdir()))
    for _ in range(50):
        socket.send_fds(link, [packet(Command.START_MONITORING)], [0, 1, 2])
    barrier(link)
    assert len(list(folder.iterdir())) == before
    assert server.counters()["packets"] == 52


def test_malformed_packets_change_nothing(server: Server, link: socket.socket) -> None:
    refused: dict[Refusal, int] = {}
    taken = {(Command.GETKILLCNT, 12), (Command.UPDATE_PROPS, 4), (Command.BOOT_COMPLETED, 4)}
    replies = 0
    barrier(link)
    for command in (*range(14), 40, -1):
        whole = packet(command, *[0] * 64)
        for length in range(257):
            link.send(whole[:length])
            why, times = refusal_of(command, length), 1
            if not why and command in (Command.PROCPRIO, Command.PROCREMOVE):
                why = Refusal.PID
            elif not why and command == Command.PROCS_PRIO:
                # Each process for itself; they have four words, from Android 17 on five.
                words = length // 4 - 1
                why, times = Refusal.PID, words // (5 if words % 4 else 4)
            if not why and command == Command.TARGET and length > 12:
                why = Refusal.SOON
            if why:
                refused[why] = refused.get(why, 0) + times
            elif (command, length) in taken:
                assert link.recv(256)[:4] == packet(command)
                replies += 1
            if length % 32 == 0:
                barrier(link)
    barrier(link)
    assert replies == 3
    assert server.refused() == refused
    assert server.counters()["records"] == 0
    assert serves(server)


# -- who may speak -------------------------------------------------------------------------


def test_root_and_system_may_speak(open_server: Server) -> None:
    for uid in (0, 1000):
        client = Elsewhere(open_server.path, uid=uid)
        client.send(Command.GETKILLCNT, 1001, 0)
        assert client.receive() == packet(4, 0).hex()
        client.close()


@pytest.mark.parametrize("uid", [2000, 10123, 54321])
def test_another_uid_is_turned_away(open_server: Server, uid: int) -> None:
    client = Elsewhere(open_server.path, uid=uid)
    client.send(Command.SUBSCRIBE, 0)
    assert client.receive() in ("", "ConnectionResetError")
    client.close()
    assert open_server.counters()["clients_refused"] == 1
    assert serves(open_server)


def test_another_uid_cannot_use_a_connection_of_root(
    open_server: Server, spawn: Callable[[], int]
) -> None:
    pid = spawn()
    before = adj_of(pid)
    client = Elsewhere(open_server.path, uid=54321, when="late")
    assert client.send(Command.PROCPRIO, pid, APP, 900) == "sent"
    until(lambda: open_server.refused() == {Refusal.SENDER: 1})
    client.close()
    assert adj_of(pid) == before


def test_the_socket_is_of_system_and_closed_to_others(server: Server) -> None:
    status = Path(server.path).stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (1000, 1000, 0o660)


def test_a_socket_that_nobody_listens_at_is_replaced(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "lmkd"
    for _ in range(2):
        running = Running(program, path)
        running.until("start")
        connect(path).close()
        second = Running(program, path)
        heard = second.hear()
        assert heard is not None
        assert heard["event"] == "error"
        assert "in use" in heard["message"]
        second.close()
        running.close()
