# SPDX-License-Identifier: Apache-2.0
"""Streams on a link that misbehaves; and that plain adb-shell fails on the same.

Each of the faults of adb-shell 0.4.4 that the direct transport cures is shown twice: the
scenario with adb-shell's own transport and methods, where the fault must appear (else the
cure can go), and with lmk.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from adb_shell import constants
from adb_shell.adb_device import AdbDeviceTcp
from adb_shell.adb_message import AdbMessage
from adb_shell.exceptions import (
    AdbTimeoutError,
    InvalidCommandError,
    TcpTimeoutException,
)
from direct_device import LARGE, RECORDS, SOON_S, Sink, Stopwatch, direct, record_then, seconds
from fake_adbd import FakeAdbd, FakeStream, Service, shell_packet

from lmk.device.service import ServiceRefusedError
from lmk.device.stream import ServiceStream
from lmk.errors import TransientError


def plain(adbd: FakeAdbd) -> AdbDeviceTcp:
    """adb-shell as it comes."""
    device = AdbDeviceTcp("127.0.0.1", adbd.port)
    device.connect(read_timeout_s=5)
    return device


# Fault 1: the end of the link is not seen ---------------------------------------------------


def test_plain_adb_shell_does_not_see_the_end_of_the_link() -> None:
    with FakeAdbd({RECORDS: record_then("hang up")}) as adbd:
        device = plain(adbd)
        records = device._streaming_service(b"localabstract", b"records", None, 1.0, False)
        assert next(records) == b"record"
        reads = 0
        read = device._io_manager._transport.bulk_read

        def counted(*arguments: Any) -> bytes:
            nonlocal reads
            reads += 1
            return bytes(read(*arguments))

        device._io_manager._transport.bulk_read = counted
        with pytest.raises(AdbTimeoutError):
            next(records)
        assert reads > 20, "it spins until its timeout"


@pytest.mark.parametrize("end", ["hang up", "reset"])
def test_broken_link_is_an_error_at_once_and_without_burning_cpu(end: str) -> None:
    with FakeAdbd({RECORDS: record_then(end)}) as adbd, direct(adbd) as device:
        records = device.open(RECORDS)
        assert records.read() == b"record"
        watch = Stopwatch()
        with pytest.raises(TransientError):
            records.read(timeout=seconds(10))
        assert watch.wall_s < SOON_S
        assert watch.cpu_s < 0.1


def test_orderly_close_by_the_peer_is_the_end_and_stays_the_end() -> None:
    with FakeAdbd({RECORDS: record_then("close")}) as adbd, direct(adbd) as device:
        records = device.open(RECORDS)
        assert records.read() == b"record"
        watch = Stopwatch()
        assert records.read(timeout=seconds(10)) == b""
        assert records.read() == b""
        assert watch.wall_s < SOON_S


# Fault 2: a refused service looks like a hang -----------------------------------------------


def test_plain_adb_shell_takes_a_refused_service_for_a_hang() -> None:
    with FakeAdbd() as adbd:
        device = plain(adbd)
        watch = Stopwatch()
        with pytest.raises((AdbTimeoutError, TcpTimeoutException)):
            device._open(b"localabstract:nobody", 1.0, 1.0, None)
        assert watch.wall_s >= 1.0


def test_refused_service_is_an_error_at_once_and_the_device_stays_usable() -> None:
    with FakeAdbd() as adbd, direct(adbd) as device:
        watch = Stopwatch()
        with pytest.raises(ServiceRefusedError, match="localabstract:nobody"):
            device.open("localabstract:nobody")
        assert watch.wall_s < SOON_S
        assert device.run("echo still here").text == "still here\n"


# Fault 3: a timeout in mid-packet loses what had come ---------------------------------------


class HalfPacket:
    """A service that sends a half of a packet, and the rest when told."""

    def __init__(self, cut: int) -> None:
        self.cut = cut
        self.go_on = threading.Event()

    def __call__(self, stream: FakeStream) -> None:
        whole = stream.packet(b"a record of some length")
        stream.connection.send(whole[: self.cut])
        self.go_on.wait(30)
        stream.connection.send(whole[self.cut :])
        stream.wait_acknowledged()
        stream.write(b"the next")


def test_plain_adb_shell_loses_its_place_after_a_timeout_in_mid_packet() -> None:
    half = HalfPacket(cut=30)
    with FakeAdbd({RECORDS: half}) as adbd:
        device = plain(adbd)
        info = device._open(b"localabstract:records", 0.3, 0.3, None)
        with pytest.raises((AdbTimeoutError, TcpTimeoutException)):
            device._read_until([constants.WRTE], info)
        half.go_on.set()
        with pytest.raises((InvalidCommandError, AdbTimeoutError, TcpTimeoutException)):
            device._read_until([constants.WRTE], info)


@pytest.mark.parametrize("cut", [1, 23, 24, 30])
def test_timeout_in_mid_packet_loses_nothing(cut: int) -> None:
    half = HalfPacket(cut)
    with FakeAdbd({RECORDS: half}) as adbd, direct(adbd) as device:
        records = device.open(RECORDS)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                records.read(timeout=seconds(0.05))
        half.go_on.set()
        assert records.read(timeout=seconds(10)) == b"a record of some length"
        assert records.read(timeout=seconds(10)) == b"the next"


# Fault 4: what does not fit the socket's buffer is dropped ----------------------------------


def test_plain_adb_shell_sends_only_what_fits_the_socket_buffer() -> None:
    sink = Sink()
    with FakeAdbd({RECORDS: sink}) as adbd:
        device = plain(adbd)
        link = device._io_manager._transport._connection
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        info = device._open(b"localabstract:records", 1.0, 1.0, None)
        message = AdbMessage(constants.WRTE, info.local_id, info.remote_id, LARGE)
        device._io_manager.send(message, info)
        with pytest.raises((AdbTimeoutError, TcpTimeoutException)):
            device._read_until([constants.OKAY], info)
        device.close()
        assert sink.all_of_it() == b""


def test_large_write_goes_out_as_a_whole_through_a_small_socket_buffer() -> None:
    sink = Sink()
    with FakeAdbd({RECORDS: sink}) as adbd, direct(adbd) as device:
        with device.open(RECORDS) as records:
            assert isinstance(records, ServiceStream)
            link = records.transport._socket
            assert link is not None
            link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            records.write(LARGE)
        assert sink.all_of_it() == LARGE


# Two ways at once ---------------------------------------------------------------------------


class Chatter:
    """A service that sends `count` records while it takes what the host writes."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken: list[bytes] = []
        self.ended = threading.Event()

    def __call__(self, stream: FakeStream) -> None:
        def speak() -> None:
            for number in range(self.count):
                stream.write(b"%08d" % number)
            stream.write(b"the end.")

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        while data := stream.read():
            self.taken.append(data)
        self.ended.set()


def test_plain_adb_shell_throws_away_what_comes_while_it_waits_for_an_acknowledgement() -> None:
    def service(stream: FakeStream) -> None:
        stream.connection.send(stream.packet(b"lost record"))  # before the OKAY to any write

    with FakeAdbd({RECORDS: service}) as adbd:
        device = plain(adbd)
        info = device._open(b"localabstract:records", 1.0, 1.0, None)
        message = AdbMessage(constants.WRTE, info.local_id, info.remote_id, b"ping")
        device._io_manager.send(message, info)
        device._read_until([constants.OKAY], info)
        with pytest.raises((AdbTimeoutError, TcpTimeoutException)):
            device._read_until([constants.WRTE], info)


def test_reading_and_writing_at_once_loses_nothing_either_way() -> None:
    chatter = Chatter(count=500)
    written = [b"ping %d" % number for number in range(500)]
    with FakeAdbd({RECORDS: chatter}) as adbd, direct(adbd) as device:
        with device.open(RECORDS) as both:

            def write_all() -> None:
                for data in written:
                    both.write(data)

            writer = threading.Thread(target=write_all)
            writer.start()
            heard = b""
            while not heard.endswith(b"the end."):
                heard += both.read(timeout=seconds(30))
            writer.join(30)
        assert heard == b"".join(b"%08d" % number for number in range(500)) + b"the end."
        assert chatter.ended.wait(30)
        assert chatter.taken == written


def test_slow_acknowledgements_slow_a_write_and_lose_nothing() -> None:
    sink = Sink()
    with FakeAdbd({RECORDS: sink}) as adbd, direct(adbd) as device:
        adbd.ack_delay_s = 0.1
        with device.open(RECORDS) as records:
            records.write(LARGE)
        assert sink.all_of_it() == LARGE


def test_device_stops_when_nobody_reads_and_goes_on_when_somebody_does() -> None:
    piece = bytes(65536)
    sent = []

    def flood(stream: FakeStream) -> None:
        for _ in range(64):
            stream.write(piece)
            sent.append(len(piece))
        stream.close()

    with FakeAdbd({RECORDS: flood}) as adbd, direct(adbd) as device:
        both = device.open(RECORDS)
        for _ in range(300):
            both.write(b"makes the host take in packets, though nobody reads them")
        assert sum(sent) <= 2 * 1024 * 1024
        total = 0
        while data := both.read(timeout=seconds(30)):
            total += len(data)
        assert total == 64 * len(piece)


# An idle stream -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def idle_for_eleven_seconds() -> tuple[list[Any], list[Any]]:
    """What plain adb-shell and lmk got from a service that is silent for 11 s: waits at once."""

    def service(stream: FakeStream) -> None:
        threading.Event().wait(11)
        stream.write(b"late record")

    got_plain: list[Any] = []
    got_direct: list[Any] = []
    with FakeAdbd({RECORDS: service}) as adbd, direct(adbd) as device:

        def by_adb_shell() -> None:
            records = plain(adbd)._streaming_service(b"localabstract", b"records", decode=False)
            try:
                got_plain.append(next(records))
            except Exception as error:  # noqa: BLE001  # which one it is, the test says
                got_plain.append(error)

        waiter = threading.Thread(target=by_adb_shell)
        waiter.start()
        with device.open(RECORDS) as records:
            got_direct.append(records.read(timeout=seconds(30)))
        waiter.join(30)
    return got_plain, got_direct


def test_plain_adb_shell_gives_up_a_stream_that_is_idle_for_ten_seconds(
    idle_for_eleven_seconds: tuple[list[Any], list[Any]],
) -> None:
    (got,), _ = idle_for_eleven_seconds
    assert isinstance(got, TcpTimeoutException | AdbTimeoutError)


def test_stream_that_is_idle_for_over_ten_seconds_lives(
    idle_for_eleven_seconds: tuple[list[Any], list[Any]],
) -> None:
    _, (got,) = idle_for_eleven_seconds
    assert got == b"late record"


# Text cut between packets -------------------------------------------------------------------


def split_text(version2: bool) -> Service:
    def service(stream: FakeStream) -> None:
        for half in (b"\xc3", b"\xa9"):
            stream.write(shell_packet(1, half) if version2 else half)
        if version2:
            stream.write(shell_packet(3, b"\0"))
        stream.close()

    return service


def test_plain_adb_shell_breaks_a_character_that_two_packets_share() -> None:
    with FakeAdbd({"shell:say": split_text(version2=False)}) as adbd:
        assert "é" not in "".join(plain(adbd).streaming_shell("say"))


def test_character_that_two_packets_share_is_whole() -> None:
    with FakeAdbd({"shell,v2,raw:say": split_text(version2=True)}) as adbd, direct(adbd) as device:
        assert device.run("say").text == "é"


def test_shell_packets_may_be_cut_at_any_byte() -> None:
    def service(stream: FakeStream) -> None:
        whole = shell_packet(1, b"out") + shell_packet(2, b"err") + shell_packet(3, b"\7")
        for number in range(len(whole)):
            stream.write(whole[number : number + 1])
        stream.close()

    with FakeAdbd({"shell,v2,raw:say": service}) as adbd, direct(adbd) as device:
        result = device.run("say")
        assert (result.exit_code, result.stdout, result.stderr) == (7, b"out", b"err")
