# SPDX-License-Identifier: Apache-2.0
"""The server of lmkd's socket over a real one: what ActivityManager asks for, and what it gets."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from lmkd_client import APP, Elsewhere, Server, adj_of, barrier, until
from lmkd_parts import Command, Killed, Refusal, killed, packet, stat

pytest_plugins = ("lmkd_plugin",)


# -- processes -----------------------------------------------------------------------------


def test_a_process_gets_its_oom_score_adj(
    server: Server, link: socket.socket, spawn: Callable[[], int]
) -> None:
    pid = spawn()
    # Below 0 needs CAP_SYS_RESOURCE, which not every machine's root has.
    for words in ((900,), (50, 0), (1000, 1), (0, 0, 0)):
        link.send(packet(Command.PROCPRIO, pid, APP, *words))
        barrier(link)
        assert adj_of(pid) == words[0]
    expected = {"event": "record", "pid": pid, "uid": APP, "adj": 0, "owner": os.getpid()}
    assert server.record(pid) == expected
    assert server.refused() == {}


def test_it_is_written_again_where_another_changed_it(
    link: socket.socket, spawn: Callable[[], int]
) -> None:
    pid = spawn()
    for _ in range(2):
        link.send(packet(Command.PROCPRIO, pid, APP, 900))
        barrier(link)
        assert adj_of(pid) == 900
        Path(f"/proc/{pid}/oom_score_adj").write_text("17")


def test_for_lmkd_only_leaves_the_process_as_it_is(
    server: Server, link: socket.socket, spawn: Callable[[], int]
) -> None:
    pid, before = spawn(), adj_of(os.getpid())
    link.send(packet(Command.PROCPRIO, pid, APP, 900, 0, 1))
    barrier(link)
    assert adj_of(pid) == before
    assert server.record(pid)["adj"] == 900


def test_one_that_is_gone_does_not_keep_the_others_out(
    server: Server, link: socket.socket, spawn: Callable[[], int]
) -> None:
    first, last = spawn(), spawn()
    gone = subprocess.Popen(["true"])
    os.waitid(os.P_PID, gone.pid, os.WEXITED | os.WNOWAIT)
    zombie = gone.pid
    words = (first, APP, 901, 0, zombie, APP, 902, 0, last, APP, 903, 0)
    link.send(packet(Command.PROCS_PRIO, *words))
    barrier(link)
    gone.wait()
    link.send(packet(Command.PROCS_PRIO, *words))
    barrier(link)
    assert (adj_of(first), adj_of(last)) == (901, 903)
    assert server.refused() == {Refusal.GONE: 2}
    assert server.counters()["records"] == 2


def test_a_bad_one_does_not_keep_the_others_out(
    server: Server, link: socket.socket, spawn: Callable[[], int]
) -> None:
    """Each is counted by its own reason; lmkd's apply_proc_prio() leaves out the bad one alone."""
    first, bad, last = spawn(), spawn(), spawn()
    before = adj_of(bad)
    wrong = {
        Refusal.PID: (0, APP, 902, 0),
        Refusal.ADJ: (bad, APP, 1001, 0),
        Refusal.TYPE: (bad, APP, 902, 2),
    }
    for turn, (why, words) in enumerate(wrong.items()):
        adj = 910 + turn
        good = ((first, APP, adj, 0), (last, APP, adj + 10, 0))
        for three in ((words, *good), (good[0], words, good[1]), (*good, words)):
            link.send(packet(Command.PROCPRIO, first, APP, 1))
            link.send(packet(Command.PROCPRIO, last, APP, 1))
            link.send(packet(Command.PROCS_PRIO, *(word for each in three for word in each)))
            barrier(link)
            assert (adj_of(first), adj_of(bad), adj_of(last)) == (adj, before, adj + 10)
        assert server.refused()[why] == 3
    assert server.refused() == dict.fromkeys(wrong, 3)
    assert server.counters()["records"] == 2


def test_of_a_packet_of_a_wrong_length_none_is_changed(
    server: Server, link: socket.socket, spawn: Callable[[], int]
) -> None:
    pid = spawn()
    before = adj_of(pid)
    link.send(packet(Command.PROCS_PRIO, pid, APP, 900, 0, pid, APP, 901))
    barrier(link)
    assert adj_of(pid) == before
    assert server.refused() == {Refusal.LENGTH: 1}


def test_a_thread_is_no_process(server: Server, link: socket.socket) -> None:
    end, before = threading.Event(), adj_of(os.getpid())
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert thread.native_id is not None
    link.send(packet(Command.PROCPRIO, thread.native_id, APP, 900))
    barrier(link)
    end.set()
    thread.join()
    assert adj_of(os.getpid()) == before
    assert server.refused() == {Refusal.THREAD: 1}


def kernel_thread() -> int | None:
    for stat_file in Path("/proc").glob("[1-9]*/stat"):
        with suppress(OSError):
            words = stat_file.read_text().rpartition(")")[2].split()
            if int(words[6]) & 0x00200000:
                return int(stat_file.parent.name)
    return None


def test_a_kernel_thread_keeps_its_oom_score_adj(server: Server, link: socket.socket) -> None:
    pid = kernel_thread()
    if pid is None:
        pytest.skip("no kernel thread is to be seen here")
    before = adj_of(pid)
    link.send(packet(Command.PROCPRIO, pid, 0, 1 if before != 1 else 2))
    barrier(link)
    assert adj_of(pid) == before
    assert server.refused() == {Refusal.KERNEL: 1}


def test_a_recycled_pid_is_another_process(
    server: Server, link: socket.socket, spawn: Callable[[], int]
) -> None:
    pid = spawn()
    link.send(packet(Command.PROCPRIO, pid, APP, 900))
    barrier(link)
    # As if the process that was registered had died, and this were a later one.
    server.running.tell(f"age {pid}")
    other = Elsewhere(server.path)
    other.send(Command.PROCPRIO, pid, 10777, 700)
    other.send(Command.GETKILLCNT, 0, -1)
    other.receive()
    record = server.record(pid)
    other.close()
    assert (record["uid"], record["owner"]) == (10777, other.process.pid)
    assert adj_of(pid) == 700
    assert server.refused() == {}


def test_another_clients_process_stays_as_it_is(
    server: Server, link: socket.socket, spawn: Callable[[], int]
) -> None:
    pid = spawn()
    link.send(packet(Command.PROCPRIO, pid, APP, 900))
    barrier(link)
    other = Elsewhere(server.path)
    other.send(Command.PROCPRIO, pid, APP, 0)
    other.send(Command.PROCREMOVE, pid)
    other.send(Command.PROCPURGE)
    other.send(Command.GETKILLCNT, 0, -1)
    other.receive()
    assert adj_of(pid) == 900
    assert server.record(pid)["owner"] == os.getpid()
    assert server.refused() == {Refusal.OWNER: 2}
    # Until its connection closes; all of them.
    second = server.connect()
    link.close()
    second.send(packet(Command.PROCPRIO, pid, APP, 901))
    barrier(second)
    other.send(Command.PROCPRIO, pid, APP, 0)
    other.send(Command.GETKILLCNT, 0, -1)
    other.receive()
    assert adj_of(pid) == 901
    second.close()
    until(lambda: server.record(pid)["owner"] == 0)
    other.send(Command.PROCPRIO, pid, APP, 500)
    other.send(Command.GETKILLCNT, 0, -1)
    other.receive()
    assert adj_of(pid) == 500
    other.close()


def test_a_purge_forgets_but_does_not_touch(
    server: Server, link: socket.socket, spawn: Callable[[], int]
) -> None:
    pid = spawn()
    link.send(packet(Command.PROCPRIO, pid, APP, 900))
    link.send(packet(Command.PROCPURGE))
    barrier(link)
    assert server.counters()["records"] == 0
    assert adj_of(pid) == 900


def test_ten_thousand_changes_cost_less_than_a_second(
    server: Server, link: socket.socket, spawn: Callable[[], int]
) -> None:
    """Of the server's own time, which other work on this machine does not add to."""
    pids = [spawn() for _ in range(50)]
    before = cpu_s(server.running.process.pid)
    for change in range(10_000):
        pid = pids[change % len(pids)]
        link.send(packet(Command.PROCPRIO, pid, APP, change // len(pids), 0))
    barrier(link)
    assert cpu_s(server.running.process.pid) - before < 1
    assert {adj_of(pid) for pid in pids} == {199}
    assert server.refused() == {}


def cpu_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


# -- requests ------------------------------------------------------------------------------


def test_boot_and_properties_are_answered_as_by_lmkd(server: Server, link: socket.socket) -> None:
    def boot() -> bytes:
        link.send(packet(Command.BOOT_COMPLETED))
        return link.recv(256)

    assert boot() == packet(10, -1)
    server.running.tell("booted")
    server.counters()
    assert [boot(), boot()] == [packet(10, 0), packet(10, 1)]
    link.send(packet(Command.UPDATE_PROPS))
    assert link.recv(256) == packet(7, 0)
    server.running.until("update_props")
    server.running.tell("props 0")
    server.counters()
    link.send(packet(Command.UPDATE_PROPS))
    assert link.recv(256) == packet(7, -1)


def test_start_monitoring_has_no_reply(server: Server, link: socket.socket) -> None:
    link.send(packet(Command.START_MONITORING))
    server.running.until("monitoring")
    link.send(packet(Command.GETKILLCNT, 1001, 0))
    assert link.recv(256) == packet(4, 0)


def test_targets_are_taken_once_a_second(server: Server, link: socket.socket) -> None:
    link.send(packet(Command.TARGET, 18432, 0, 23040, 100))
    link.send(packet(Command.TARGET, 1, 0))
    barrier(link)
    assert server.counters()["targets"] == 2
    assert server.refused() == {Refusal.SOON: 1}
    time.sleep(1.05)
    link.send(packet(Command.TARGET, 1, 0))
    barrier(link)
    assert server.counters()["targets"] == 1


# -- kills ---------------------------------------------------------------------------------


def test_a_kill_is_told_to_those_who_subscribed(server: Server, link: socket.socket) -> None:
    with server.connect() as both, server.connect() as neither:
        link.send(packet(Command.SUBSCRIBE, 0))
        both.send(packet(Command.SUBSCRIBE, 0))
        both.send(packet(Command.SUBSCRIBE, 1))
        for client in (link, both, neither):
            barrier(client)
        server.kill(77, adj=900)
        report = Killed(
            pid=77, uid=APP, rss_kb=4096, page_faults=0, major_page_faults=0, rss_bytes=0,
            cache_bytes=0, swap_bytes=0, start_time_ns=0, adj=900,
        )  # fmt: skip
        told = killed(report, with_rss_kb=True)
        assert link.recv(256) == told == packet(6, 77, APP, 4096)
        assert both.recv(256) == stat(report, b"hog")
        assert both.recv(256) == told
        neither.send(packet(Command.GETKILLCNT, 900, 900))
        assert neither.recv(256) == packet(4, 1)


def test_an_older_android_is_told_in_12_bytes(server: Server, link: socket.socket) -> None:
    server.running.tell("short")
    link.send(packet(Command.SUBSCRIBE, 0))
    barrier(link)
    server.kill(77)
    assert link.recv(256) == packet(6, 77, APP)


def test_a_kill_is_told_with_the_uid_that_was_registered(
    server: Server, link: socket.socket, spawn: Callable[[], int]
) -> None:
    pid = spawn()
    link.send(packet(Command.SUBSCRIBE, 0))
    link.send(packet(Command.PROCPRIO, pid, 99001, 900))
    barrier(link)
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    server.kill(pid, start_ns=ticks * 10**7 + 4_000_000)
    assert link.recv(256) == packet(6, pid, 99001, 4096)
    assert server.record(pid) == {"event": "record", "pid": 0}
