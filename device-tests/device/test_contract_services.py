# SPDX-License-Identifier: Apache-2.0
"""What every Device does, whatever carries it: services opened as two-way streams.

Each test runs on each transport (contract_plugin.py).
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from payload import MIB, pseudo_random

from lmk.device.interface import ByteStream, Device
from lmk.errors import TransientError

pytest_plugins = ("contract_plugin",)

SOON_S = 0.5


def read_all(stream: ByteStream, timeout_s: float = 60) -> bytes:
    received = b""
    while data := stream.read(timeout=timedelta(seconds=timeout_s)):
        received += data
    return received


def test_service_is_a_two_way_stream(subject: Device) -> None:
    with subject.open("exec:cat") as stream:
        for number in range(50):
            sent = b"ping %d\n" % number
            stream.write(sent)
            heard = b""
            while len(heard) < len(sent):
                heard += stream.read(timeout=timedelta(seconds=30))
            assert heard == sent


def test_stream_that_writes_and_reads_at_once_loses_nothing(subject: Device) -> None:
    data = pseudo_random(4 * MIB)
    heard = bytearray()
    with subject.open("exec:cat") as stream:
        writer = threading.Thread(target=stream.write, args=(data,))
        writer.start()
        while len(heard) < len(data):
            heard += stream.read(timeout=timedelta(seconds=60))
        writer.join(60)
    assert bytes(heard) == data


def test_end_of_a_service_is_seen_soon_and_costs_no_cpu(subject: Device) -> None:
    with subject.open("exec:echo $$; read line") as stream:
        assert int(stream.read(timeout=timedelta(seconds=30)))
        cpu = time.thread_time()
        stream.write(b"go\n")
        start = time.monotonic()
        assert stream.read(timeout=timedelta(seconds=30)) == b""
        assert time.monotonic() - start < SOON_S
        assert time.thread_time() - cpu < 0.1
        assert stream.read() == b""


def test_a_service_that_ends_with_something_unread_has_just_ended(subject: Device) -> None:
    """As a program that is killed while it is being told something."""
    with subject.open("exec:read line; echo $line; kill -9 $$") as stream:
        stream.write(b"first\nsecond\n")
        assert read_all(stream) == b"first\n"


def test_read_timeout_loses_nothing(subject: Device) -> None:
    with subject.open("exec:read go; echo first; read go; echo second") as stream:
        for word in (b"first\n", b"second\n"):
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    stream.read(timeout=timedelta(seconds=0.05))
            stream.write(b"go\n")
            assert stream.read(timeout=timedelta(seconds=30)) == word


def test_read_gives_no_more_than_asked_and_keeps_the_rest(subject: Device) -> None:
    with subject.open("exec:echo 0123456789") as stream:
        assert stream.read(4, timeout=timedelta(seconds=30)) == b"0123"
        assert read_all(stream) == b"456789\n"


@pytest.mark.parametrize("service", ["localabstract:nobody-listens-here", "tcp:1", "no-such-kind:"])
def test_refused_service_is_a_transient_error_soon(subject: Device, service: str) -> None:
    start = time.monotonic()
    with pytest.raises(TransientError, match=service):
        subject.open(service)
    assert time.monotonic() - start < SOON_S
    assert subject.run("echo next").text == "next\n"


def test_stream_idle_for_over_ten_seconds_lives_and_holds_nobody_up(subject: Device) -> None:
    with subject.open("exec:sleep 11; echo late") as stream:
        ran = 0
        while True:
            try:
                heard = stream.read(timeout=timedelta(seconds=1))
                break
            except TimeoutError:
                assert subject.run("true").exit_code == 0
                ran += 1
        assert heard == b"late\n"
        assert ran >= 9


def test_close_by_another_thread_lets_a_blocked_read_return(subject: Device) -> None:
    stream = subject.open("exec:cat")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(stream.read()))
    reader.start()
    time.sleep(0.1)  # gives the reader time to block; it must return either way
    start = time.monotonic()
    stream.close()
    reader.join(10)
    assert got == [b""]
    assert time.monotonic() - start < SOON_S
    stream.close()


def test_closing_a_stream_ends_the_service(subject: Device) -> None:
    with subject.open("exec:echo $$; exec cat") as stream:
        pid = int(stream.read(timeout=timedelta(seconds=30)))
        assert subject.stat(f"/proc/{pid}") is not None
    deadline = time.monotonic() + 30
    while subject.stat(f"/proc/{pid}") is not None:
        assert time.monotonic() < deadline


def test_many_streams_and_commands_at_once(subject: Device) -> None:
    answers: dict[int, bytes] = {}

    patient = timedelta(seconds=60)  # eight at once are slow on a machine that is busy itself

    def talk(number: int) -> None:
        with subject.open("exec:cat", timeout=patient) as stream:
            stream.write(b"%d" % number)
            heard = stream.read(timeout=patient)
            answers[number] = heard + subject.run(f"echo {number}", timeout=patient).stdout

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert answers == {number: b"%d%d\n" % (number, number) for number in range(8)}
