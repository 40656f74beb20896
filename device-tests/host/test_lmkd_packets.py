# SPDX-License-Identifier: Apache-2.0
"""Packets of lmkd's socket, byte for byte: what is taken, what is refused, what is sent.

The table is lmkd's ``ctrl_command_handler()`` (AOSP system/memory/lmkd/lmkd.cpp) with what
Android 17 adds; the bytes of replies are those that ActivityManager's ProcessList reads.
"""

from __future__ import annotations

import random
import struct

import pytest
from lmkd_parts import (
    Command,
    Killed,
    Refusal,
    killed,
    packet,
    parse,
    refusal_of,
    reply,
    report_bytes,
    stat,
    text,
)

#: Words that are an argument of every command wherever they stand: 1.
_FILL = struct.pack(">i", 1) * 64


@pytest.mark.parametrize("command", [*range(64), 255, 2**24, 2**31 - 1, -1, -(2**31)])
def test_a_command_is_taken_with_its_lengths_alone(command: int) -> None:
    whole = packet(command) + _FILL
    for length in range(257):
        assert parse(whole[:length]).refusal is refusal_of(command, length), length


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("words", [4, 5])
@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ((0, 10007, 900, 0, 0), Refusal.PID),
        ((-1, 10007, 900, 0, 0), Refusal.PID),
        ((8, 10008, 1001, 0, 0), Refusal.ADJ),
        ((8, 10008, -1001, 0, 0), Refusal.ADJ),
        ((8, 10008, 900, 2, 0), Refusal.TYPE),
        ((8, 10008, 900, 0, 2), Refusal.FLAG),
    ],
)
def test_a_bad_process_of_several_is_refused_for_itself(
    place: int, words: int, bad: tuple[int, ...], why: Refusal
) -> None:
    good = (7, 10007, 900, 0, 0)
    processes: list[tuple[int, ...]] = [good, good, good]
    processes[place] = bad
    found = parse(packet(11, *(word for each in processes for word in each[:words])))
    expected = [Refusal.TAKEN] * 3
    if words > 4 or why is not Refusal.FLAG:
        expected[place] = why
    assert (found.refusal, found.count, found.refusals) == (Refusal.TAKEN, 3, tuple(expected))
    others = [index for index in range(3) if index != place]
    assert [found.arguments[5 * index : 5 * index + 5] for index in others] == [good, good]


def test_a_packet_of_several_is_refused_whole_for_its_length_alone() -> None:
    good = (7, 10007, 900, 0)
    assert parse(packet(11, *good, *good, *good)).arguments == (*good, 0) * 3
    assert parse(packet(11, *good, *good, 8, 10008, 900)).refusal is Refusal.LENGTH
    assert parse(packet(11, *good, *good, *good) + b"\0").refusal is Refusal.UNALIGNED


@pytest.mark.parametrize("adj", [-1001, 1001, -10000, 2**31 - 1, -(2**31)])
def test_an_oom_score_adj_out_of_range_is_refused(adj: int) -> None:
    for words in ((1, 7, 10007, adj), (1, 7, 10007, adj, 1), (0, 1, adj)):
        assert parse(packet(*words)).refusal is Refusal.ADJ
    assert parse(packet(11, 7, 10007, adj, 0)).refusals == (Refusal.ADJ,)


@pytest.mark.parametrize("adj", [-1000, -1, 0, 1000])
def test_an_oom_score_adj_in_range_is_taken(adj: int) -> None:
    assert parse(packet(1, 7, 10007, adj)).arguments == (7, 10007, adj, 0, 0)


@pytest.mark.parametrize("pid", [0, -1, -(2**31)])
def test_what_is_no_pid_is_refused(pid: int) -> None:
    for words in ((1, pid, 10007, 0), (2, pid)):
        assert parse(packet(*words)).refusal is Refusal.PID
    assert parse(packet(11, pid, 10007, 0, 0)).refusals == (Refusal.PID,)


def test_each_argument_is_checked() -> None:
    assert parse(packet(1, 7, 10007, 0, 2)).refusal is Refusal.TYPE
    assert parse(packet(1, 7, 10007, 0, -1)).refusal is Refusal.TYPE
    assert parse(packet(1, 7, 10007, 0, 0, 2)).refusal is Refusal.FLAG
    assert parse(packet(0, -1, 0)).refusal is Refusal.MINFREE
    assert parse(packet(5, 2)).refusal is Refusal.SUBSCRIPTION
    assert parse(packet(5, -1)).refusal is Refusal.SUBSCRIPTION


def test_arguments_are_read_in_their_order() -> None:
    android_11, android_14 = parse(packet(1, 7, 10007, 900)), parse(packet(1, 7, 10007, 900, 1))
    android_17 = parse(packet(1, 7, 10007, 900, 1, 1))
    assert android_11.arguments == (7, 10007, 900, 0, 0)
    assert android_14.arguments == (7, 10007, 900, 1, 0)
    assert android_17.arguments == (7, 10007, 900, 1, 1)
    assert parse(packet(2, 7)).arguments == (7,)
    assert parse(packet(4, 900, 999)).arguments == (900, 999)
    assert parse(packet(5, 1)).arguments == (1,)
    targets = (18432, 0, 23040, 100, 27648, 200, 32256, 250, 55296, 900, 80640, 950)
    six = parse(packet(0, *targets))
    assert (six.count, six.arguments) == (6, targets)


def test_processes_of_android_17_have_a_fifth_word() -> None:
    three = parse(packet(11, *(word for pid in (7, 8, 9) for word in (pid, 10000, 900, 0, 0))))
    assert (three.count, three.arguments) == (3, (*(7, 10000, 900, 0, 0), 8, *(10000, 900, 0, 0),
                                                  9, 10000, 900, 0, 0))  # fmt: skip


def test_a_range_of_kill_counts_may_be_any() -> None:
    for words in ((1001, 0), (0, -1), (-(2**31), 2**31 - 1)):
        assert parse(packet(4, *words)).arguments == words


def test_random_packets_are_taken_or_refused_for_a_reason() -> None:
    source = random.Random(4)
    for _ in range(20000):
        data = bytearray(source.randbytes(source.randrange(0, 80)))
        if len(data) > 3 and source.random() < 0.8:
            data[:4] = packet(source.randrange(12))
        assert text(parse(bytes(data)).refusal)


def test_every_refusal_has_a_text_of_its_own() -> None:
    assert len({text(refusal) for refusal in Refusal}) == len(Refusal)


@pytest.mark.parametrize(
    ("command", "value", "data"),
    [
        (Command.GETKILLCNT, 5, "00000004 00000005"),
        (Command.GETKILLCNT, 0, "00000004 00000000"),
        (Command.UPDATE_PROPS, 0, "00000007 00000000"),
        (Command.UPDATE_PROPS, -1, "00000007 ffffffff"),
        (Command.BOOT_COMPLETED, 0, "0000000a 00000000"),
        (Command.BOOT_COMPLETED, 1, "0000000a 00000001"),
        (Command.BOOT_COMPLETED, -1, "0000000a ffffffff"),
    ],
)
def test_a_reply_is_the_command_and_a_number(command: Command, value: int, data: str) -> None:
    assert reply(command, value) == bytes.fromhex(data)


def test_a_kill_is_told_in_16_bytes_or_12() -> None:
    report = Killed(pid=0x1234, uid=10123, rss_kb=0x00ABCDEF)
    long = bytes.fromhex("00000006 00001234 0000278b 00abcdef")
    assert killed(report, with_rss_kb=True) == long
    assert killed(report, with_rss_kb=False) == long[:12]


def test_the_statistics_of_a_kill_byte_for_byte() -> None:
    report = Killed(
        pid=1,
        uid=10123,
        page_faults=0x0102030405060708,
        major_page_faults=2,
        rss_bytes=3 << 32,
        cache_bytes=-1,
        swap_bytes=5,
        start_time_ns=6_000_000_000,
        adj=-17,
        min_adj=201,
        free_kb=1000,
        free_swap_kb=2000,
        reason=8,
        thrashing_pct=30,
        max_thrashing_pct=60,
    )
    data = stat(report, b"hog")
    assert data == bytes.fromhex(
        "00000008"
        "0102030405060708 0000000000000002 0000000300000000"
        "ffffffffffffffff 0000000000000005 0000000165a0bc00"
        "0000278b ffffffef 000000c9 000003e8 000007d0 00000008 0000001e 0000003c"
        "0003 686f67 00"
    )
    assert len(data) == 90


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 500])
def test_a_name_is_cut_at_127_bytes(length: int) -> None:
    data = stat(Killed(), b"n" * length)
    kept = min(length, 127)
    assert data[84:] == struct.pack(">H", kept) + b"n" * kept + b"\0"
    assert len(data) == 86 + kept + 1


def test_statistics_that_are_not_known_are_minus_one() -> None:
    data = stat(Killed(), b"")
    assert struct.unpack_from(">6q", data, 4) == (-1,) * 6
    assert struct.unpack_from(">i", data, 72) == (-1,)


#: pid, uid, adj, start; anon, file, shmem, swap KiB; minor, major faults; reason, floor, free swap,
#: thrashing, its maximum; free KiB; 0, 1 in a dry run, or -errno of the kill call.
_KILL = (77, 10123, 900, 5 * 10**9, 100, 20, 3, 40, 11, 12, 9, 201, 2000, 30, 60, 1000, 0)


def test_a_kill_of_ours_is_told_in_lmkds_words() -> None:
    told = Killed(
        pid=77,
        uid=10123,
        rss_kb=123,
        page_faults=11,
        major_page_faults=12,
        rss_bytes=123 * 1024,
        swap_bytes=40 * 1024,
        start_time_ns=5 * 10**9,
        adj=900,
        min_adj=201,
        free_kb=1000,
        free_swap_kb=2000,
        reason=8,
        thrashing_pct=30,
        max_thrashing_pct=60,
    )
    assert report_bytes(_KILL, b"com.example.app", b"example.app") == stat(told, b"com.example.app")
    # A command name of all 16 bytes has no end of its own.
    assert report_bytes(_KILL, b"", b"c" * 16) == stat(told, b"c" * 16)


@pytest.mark.parametrize(
    ("reason", "wire"), [(1, 0), (9, 8), (10, 9), (100, -1), (0, -1), (1000, 1000), (1007, 1007)]
)
def test_a_reason_has_lmkds_number_where_it_is_lmkds(reason: int, wire: int) -> None:
    data = report_bytes((*_KILL[:10], reason, *_KILL[11:]))
    assert struct.unpack_from(">i", data, 72) == (wire,)


@pytest.mark.parametrize("result", [1, -3, -16])
def test_who_was_not_killed_is_not_reported(result: int) -> None:
    assert report_bytes((*_KILL[:16], result), b"hog") == b""
