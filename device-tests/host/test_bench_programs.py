# SPDX-License-Identifier: Apache-2.0
"""``lmk-bench``, run on this machine: what its commands say and do. Not its killer, of course."""

from __future__ import annotations

import functools
import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Running

pytest_plugins = ("programs_plugin",)


@pytest.fixture
def run(run: Callable[..., Running]) -> Callable[..., Running]:
    """``run(COMMAND, ARGUMENT…)`` of ``lmk-bench``."""
    return functools.partial(run, "lmk-bench")


def test_probe_records_rounds_in_order_until_it_is_told_to_quit(
    run: Callable[..., Running],
) -> None:
    probe = run("probe", "--size-kb", "256", "--period-ms", "5")
    begun = probe.until("start")
    assert begun["period_ns"] == 5_000_000
    flat = probe.until("rounds")["rounds"] + probe.until("rounds")["rounds"]
    numbers, latencies = flat[::2], flat[1::2]
    assert numbers == sorted(set(numbers))
    assert all(latency > 0 for latency in latencies)
    probe.tell("quit")
    ended = probe.until("exit")
    assert (ended["asked"], ended["signal"]) == (True, signal.SIGKILL)
    assert probe.process.wait() == 0


def test_probe_says_that_it_was_killed(run: Callable[..., Running]) -> None:
    probe = run("probe", "--size-kb", "256", "--adj", "17")
    pid = probe.until("start")["pid"]
    probe.until("rounds")
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "17"
    os.kill(pid, signal.SIGKILL)
    ended = probe.until("exit")
    assert (ended["asked"], ended["signal"]) == (False, signal.SIGKILL)


def test_watch_samples_memory_and_sees_how_large_a_process_is(run: Callable[..., Running]) -> None:
    watch = run("watch", "--interval-ms", "50")
    first, second = watch.until("sample"), watch.until("sample")
    assert second["time_ns"] > first["time_ns"]
    meminfo = Path("/proc/meminfo").read_text()
    assert 0 < first["available_kb"] < int(meminfo.split()[1])
    flat = watch.until("sizes")["sizes"]
    sizes = dict(zip(flat[::2], flat[1::2], strict=True))
    assert sizes, "no process is resident"
    assert all(size > 0 and size % 4 == 0 for size in sizes.values())
    watch.tell("quit")
    watch.until("end")


def test_reader_goes_round_its_file_and_refuses_one_that_is_too_short(
    run: Callable[..., Running], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 64 * 1024)
    reader = run("reader", "--file", file, "--file-kb", "64", "--round-ms", "10")
    reader.until("start")
    smaps = Path(f"/proc/{reader.process.pid}/smaps")
    while "Rss:                  64 kB" not in smaps.read_text().partition(str(file))[2][:300]:
        pass
    reader.tell("quit")
    reader.until("end")
    error = run("reader", "--file", file, "--file-kb", "68").until("error")
    assert str(file) in error["message"]


def test_guard_gives_its_program_a_socket_as_init_does_and_ends_it(
    run: Callable[..., Running], tmp_path: Path
) -> None:
    place, log = tmp_path / "lmkd", tmp_path / "log"
    shell = "ls -l /proc/self/fd/$ANDROID_SOCKET_lmkd; exec sleep 600"
    guard = run("guard", "--socket", place, "--log", log, "--", "/bin/sh", "-c", shell)
    pid = guard.until("start")["pid"]
    assert place.is_socket()
    while not (log.exists() and "socket:" in log.read_text()):
        pass  # until it has run
    guard.tell("usage")
    usage = guard.until("usage")
    assert usage["rss_kb"] > 0
    assert usage["cpu_ns"] > 0
    guard.tell("quit")
    ended = guard.until("exit")
    assert (ended["asked"], ended["signal"]) == (True, signal.SIGTERM)
    assert guard.process.wait() == 0
    assert not Path(f"/proc/{pid}").exists()
    assert not place.exists()


def test_guard_says_how_its_program_ended_by_itself(
    run: Callable[..., Running], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    shell = "echo no such option >&2; exit 7"
    ended = run("guard", "--log", log, "--", "/bin/sh", "-c", shell).until("exit")
    assert (ended["asked"], ended["signal"], ended["code"]) == (False, 0, 7)
    assert log.read_text() == "no such option\n"


def test_registrar_tells_lmkd_what_activity_manager_would(
    run: Callable[..., Running], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as lmkd:
        lmkd.bind(str(tmp_path / "lmkd"))
        lmkd.listen()
        registrar = run("register", "--socket", tmp_path / "lmkd")
        with lmkd.accept()[0] as peer:
            purge = peer.recv(64)
            registrar.until("start")
            registrar.tell("prio 4711 99003 -800")
            priority = peer.recv(64)
            registrar.tell("remove 4711")
            remove = peer.recv(64)
    # lmkd.h: LMK_PROCPURGE 3; LMK_PROCPRIO 1 pid uid adj type; LMK_PROCREMOVE 2 pid.
    assert purge == struct.pack(">i", 3)
    assert priority == struct.pack(">5i", 1, 4711, 99003, -800, 0)
    assert remove == struct.pack(">2i", 2, 4711)


def test_registrar_without_an_lmkd_says_so(run: Callable[..., Running], tmp_path: Path) -> None:
    error = run("register", "--socket", tmp_path / "nobody").until("error")
    assert "cannot reach lmkd" in error["message"]


def test_unknown_option_is_refused(run: Callable[..., Running]) -> None:
    watch = run("watch", "--often", "1")
    assert "--often" in watch.until("error")["message"]
    assert watch.process.wait() == 2
