# SPDX-License-Identifier: Apache-2.0
"""What a phone's tools find of a kill: log line, killinfo, mark in the trace, minfree levels."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import android_log
import pytest

from lmk.build.compiler import host_compiler
from lmk.build.sources import source_root

_INFO, _DEBUG, _ERROR = 4, 3, 6
#: pid, uid, adj, min_adj, rss_kb, swap_bytes, reason, thrashing and its maximum.
_KILLED = (77, 10123, 900, 201, 123, 40 * 1024, 8, 30, 60)
_MEMINFO = b"""MemTotal:         756784 kB
Buffers:               5 kB
Cached:             5860 kB
SwapCached:            4 kB
Active:             4916 kB
Active(anon):       4915 kB
Inactive(anon):      432 kB
Unevictable:        1300 kB
SUnreclaim:        13432 kB
KernelStack:        1232 kB
PageTables:          872 kB
SecPageTables:         1 kB
"""
_PRESSURE = (
    b"some avg10=15.50 avg60=4.27 avg300=0.96 total=2954318\n"
    b"full avg10=14.25 avg60=4.01 avg300=0.90 total=2744847\n",
    b"some avg10=3.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=2.00 avg60=0.00 total=1\n",
    b"some avg10=1.25 avg60=0.00 avg300=0.00 total=1\n",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    root = source_root()
    output = tmp_path_factory.mktemp("traces") / "traces.so"
    names = ("lmkd_traces", "android_log", "process", "exit_code")
    sources = [root / "bpf/agent" / f"{name}.c" for name in names]
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-D_GNU_SOURCE"]
    flags += ["-Ibpf/include", "-Ibpf", "-Ibpf/agent", "-shared", "-fPIC"]
    sources.append(root / "device-tests/lmkd/traces_flat.c")
    command = [host_compiler(), *flags, *map(str, sources), "-o", str(output)]
    subprocess.run(command, check=True, cwd=root, timeout=120)
    return ctypes.CDLL(str(output))


def numbers(values: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(values))(*values)


def log_kill(library: ctypes.CDLL, reason: int, name: bytes = b"com.example.app") -> bytes:
    out = ctypes.create_string_buffer(1024)
    length = library.flat_log_kill(out, numbers(_KILLED), name, reason)
    return out.raw[:length]


def test_the_line_is_lmkds_up_to_the_reason(library: ctypes.CDLL) -> None:
    before_ns = time.time_ns()
    line = android_log.read(log_kill(library, 9))
    assert isinstance(line, android_log.Line)
    assert (line.priority, line.tag) == (_INFO, "lowmemorykiller")
    wanted = (
        "Kill 'com.example.app' (77), uid 10123, oom_score_adj 900 to free 123kB rss, 40kB swap"
    )
    assert line.text == f"{wanted}; reason: little memory"
    assert before_ns <= line.time_ns <= time.time_ns()
    assert line.tid == os.getpid() & 0xFFFF


@pytest.mark.parametrize("reason", [*range(1, 11), 100, 1000, 1007])
def test_every_reason_has_words(library: ctypes.CDLL, reason: int) -> None:
    line = android_log.read(log_kill(library, reason))
    assert isinstance(line, android_log.Line)
    _, _, words = line.text.partition("; reason: ")
    assert words
    assert "(null)" not in words


@pytest.mark.parametrize("reason", [0, 11, 99])
def test_what_is_no_reason_has_none(library: ctypes.CDLL, reason: int) -> None:
    line = android_log.read(log_kill(library, reason))
    assert isinstance(line, android_log.Line)
    assert line.text.endswith("40kB swap")


def test_the_longest_name_fits(library: ctypes.CDLL) -> None:
    line = android_log.read(log_kill(library, 9, b"n" * 127))
    assert isinstance(line, android_log.Line)
    assert "n" * 127 in line.text
    assert line.text.endswith("little memory")


@pytest.mark.parametrize(
    ("end", "priority", "text"),
    [
        ((10_000_000, 35_999_999, 0, 11_000_000), _DEBUG, "Process 77 was reaped in 25ms"),
        ((10_000_000, 35_000_000, 0, 0), _DEBUG, "Process 77 was reaped in 25ms"),
        # Its memory came back before the call that signals had returned.
        ((10_000_000, 9_000_000, 0, 0), _DEBUG, "Process 77 was reaped in 0ms"),
        (
            (10_000_000, 35_000_000, -errno.ESRCH, 11_000_000),
            _ERROR,
            "process_mrelease 77 failed: No such process",
        ),
    ],
)
def test_what_came_of_its_memory(
    library: ctypes.CDLL, end: tuple[int, ...], priority: int, text: str
) -> None:
    out = ctypes.create_string_buffer(1024)
    length = library.flat_log_end(out, numbers(end))
    line = android_log.read(out.raw[:length])
    assert isinstance(line, android_log.Line)
    assert (line.priority, line.text) == (priority, text)


def killinfo(
    library: ctypes.CDLL, meminfo: bytes, pressure: Sequence[bytes]
) -> tuple[int | float, ...]:
    out = ctypes.create_string_buffer(1024)
    sample = (ctypes.c_uint64 * 8)(1000, 776, 409_596, 391_604, 900, 300, 1260, 11)
    length = library.flat_log_killinfo(
        out,
        numbers(_KILLED),
        sample,
        ctypes.c_uint64(5_000_000),
        ctypes.c_uint64(12_999_999),
        meminfo,
        (ctypes.c_char_p * 3)(*pressure),
    )
    event = android_log.read(out.raw[:length])
    assert isinstance(event, android_log.Event)
    assert event.tag == 10_195_355
    return event.values


def test_killinfo_has_38_values_in_lmkds_order(library: ctypes.CDLL) -> None:
    values = killinfo(library, _MEMINFO, _PRESSURE)
    assert len(values) == 38
    assert values[:6] == (77, 10123, 900, 201, 123, 8)
    memory = (1000, 5860, 4, 5, 776, 1300, 409_596, 391_604, 4915, 432, 600, 300)
    assert values[6:18] == memory
    assert values[18:25] == (1260, 13432, 1232, 872, 0, 0, 11)
    assert values[25:33] == (7, 0, 0, 0, 40, 0, 30, 60)
    assert values[33:] == (15.5, 14.25, 3.0, 2.0, 1.25)
    assert [type(value) for value in values[33:]] == [float] * 5


def test_killinfo_has_them_also_where_files_say_nothing(library: ctypes.CDLL) -> None:
    values = killinfo(library, b"", (b"", b"some", b"full avg10"))
    assert len(values) == 38
    assert values[7] == 0
    assert values[33:] == (0, 0, 0, 0, 0)


def test_the_mark_is_one_of_a_track(library: ctypes.CDLL) -> None:
    out = ctypes.create_string_buffer(160)
    length = library.flat_trace_mark(out, 4711, numbers(_KILLED))
    assert out.raw[:length] == b"N|4711|lowmemorykiller|lmk,77,8,900,201,60"


@pytest.mark.parametrize(
    ("size", "value"),
    [
        (92, b"18432:0,23040:100,147456:-950"),
        (30, b"18432:0,23040:100,147456:-950"),
        # Never half a pair.
        (29, b"18432:0,23040:100"),
        (8, b"18432:0"),
        (7, b""),
    ],
)
def test_minfree_levels_are_whole_pairs(library: ctypes.CDLL, size: int, value: bytes) -> None:
    words = (ctypes.c_int32 * 6)(18432, 0, 23040, 100, 147456, -950)
    out = ctypes.create_string_buffer(size)
    library.flat_minfree_levels(words, 3, out, ctypes.c_size_t(size))
    assert out.value == value


def test_a_log_daemon_gets_it(library: ctypes.CDLL, tmp_path: Path) -> None:
    path = tmp_path / "logdw"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        assert library.flat_send(str(path).encode(), b"x" * 2000) == 0
        line = android_log.read(daemon.recv(4096))
    assert isinstance(line, android_log.Line)
    # Cut, and whole all the same.
    assert line.text == "x" * 511


def test_no_log_daemon_and_one_that_does_not_read_hold_up_nobody(
    library: ctypes.CDLL, tmp_path: Path
) -> None:
    path = tmp_path / "logdw"
    assert library.flat_send(str(path).encode(), b"") == -errno.ENOENT
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        results = [library.flat_send(str(path).encode(), b"") for _ in range(5000)]
    assert results[-1] == -errno.EAGAIN
    assert library.flat_send(str(path).encode(), b"") == -errno.ECONNREFUSED
