# SPDX-License-Identifier: Apache-2.0
"""The connection under streams and commands: silent, broken, closed, kept, shared, lacking."""

from __future__ import annotations

import threading
import time

import pytest
from direct_device import LARGE, RECORDS, SOON_S, Sink, Stopwatch, direct, record_then, seconds
from fake_adbd import FakeAdbd, FakeStream, shell_packet

from lmk.device import direct as direct_module
from lmk.device import stream as stream_module
from lmk.device.stream import ServiceStream
from lmk.errors import TransientError, UnsupportedError, UsageError

# Silence ------------------------------------------------------------------------------------


def test_black_hole_ends_open_run_and_write_by_their_deadlines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "_WRITE_TIMEOUT_S", 0.3)
    sink = Sink()
    with FakeAdbd({RECORDS: sink}) as adbd, direct(adbd) as device:
        records = device.open(RECORDS)
        device.run("true")  # leaves a connection to be used again
        adbd.freeze()
        for attempt in (
            lambda: records.write(b"less than a packet"),
            lambda: records.write(LARGE),
            lambda: device.run("true", timeout=seconds(0.3)),  # on the connection kept
            lambda: device.run("true", timeout=seconds(0.3)),  # on a new one
            lambda: device.open(RECORDS, timeout=seconds(0.3)),
        ):
            watch = Stopwatch()
            with pytest.raises(TransientError):
                attempt()
            assert watch.wall_s < 3
        with pytest.raises(TimeoutError):
            records.read(timeout=seconds(0.1))
        adbd.thaw()
        assert device.run("echo back").text == "back\n"


def test_open_without_an_answer_is_a_transient_error() -> None:
    with FakeAdbd() as adbd, direct(adbd) as device:
        adbd.unanswered.add("localabstract:mute")
        with pytest.raises(TransientError, match="did not answer"):
            device.open("localabstract:mute", timeout=seconds(0.2))


def test_command_that_outlives_its_timeout_is_a_transient_error() -> None:
    def never(stream: FakeStream) -> None:
        stream.write(shell_packet(1, b"so far"))

    with FakeAdbd({"shell,v2,raw:sleep": never}) as adbd, direct(adbd) as device:
        with pytest.raises(TransientError, match=r"did not end within 0\.2 s"):
            device.run("sleep", timeout=seconds(0.2))
        assert device.run("echo next").text == "next\n"


def test_link_that_breaks_in_a_command_is_a_transient_error() -> None:
    with (
        FakeAdbd({"shell,v2,raw:reboot": record_then("reset")}) as adbd,
        direct(adbd) as device,
        pytest.raises(TransientError),
    ):
        device.run("reboot", timeout=seconds(10))


# Close --------------------------------------------------------------------------------------


@pytest.mark.parametrize("closer", ["stream", "device"])
def test_close_by_another_thread_lets_a_blocked_read_return(closer: str) -> None:
    with FakeAdbd({RECORDS: Sink()}) as adbd:
        device = direct(adbd)
        records = device.open(RECORDS)
        assert isinstance(records, ServiceStream)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(records.read()))
        reader.start()
        while not records._receiving:
            time.sleep(0.001)
        watch = Stopwatch()
        (records if closer == "stream" else device).close()
        reader.join(10)
        assert got == [b""]
        assert watch.wall_s < SOON_S
        device.close()
        records.close()
        with pytest.raises(UsageError):
            device.run("true")


def test_connection_is_kept_after_an_orderly_end_and_replaced_when_the_device_left() -> None:
    with FakeAdbd() as adbd, direct(adbd) as device:
        for _ in range(5):
            assert device.run("exit 3").exit_code == 3
        assert len(adbd.connections) == 1
        adbd.connections[0].hang_up()
        assert device.run("echo again").text == "again\n"
        assert len(adbd.connections) == 2


def test_tail_of_an_earlier_service_does_not_reach_the_next() -> None:
    ended: list[FakeStream] = []

    def first(stream: FakeStream) -> None:
        ended.append(stream)
        stream.write(shell_packet(3, b"\0"))
        stream.close()

    def second(stream: FakeStream) -> None:
        stream.connection.send(ended[0].packet(b"tail"))
        ended[0].close()
        stream.write(shell_packet(1, b"second") + shell_packet(3, b"\0"))
        stream.close()

    with (
        FakeAdbd({"shell,v2,raw:first": first, "shell,v2,raw:second": second}) as adbd,
        direct(adbd) as device,
    ):
        device.run("first")
        assert device.run("second", timeout=seconds(10)).text == "second"
        assert len(adbd.connections) == 1


def test_connection_that_was_idle_for_long_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_module, "_IDLE_S", 0.0)
    with FakeAdbd() as adbd, direct(adbd) as device:
        device.run("true")
        device.run("true")
        assert len(adbd.connections) == 3


def test_many_threads_run_commands_beside_an_idle_stream() -> None:
    answers: dict[int, str] = {}
    with FakeAdbd({RECORDS: Sink()}) as adbd, direct(adbd) as device:
        records = device.open(RECORDS)
        reader = threading.Thread(target=records.read)
        reader.start()

        def work(number: int) -> None:
            answers[number] = device.run(f"echo {number}").text

        workers = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
        assert answers == {number: f"{number}\n" for number in range(16)}
        records.close()
        reader.join(10)
        assert not reader.is_alive()


# What a device may lack ---------------------------------------------------------------------


def test_adbd_without_shell_v2_cannot_run_and_the_error_says_so() -> None:
    with (
        FakeAdbd(features="cmd,stat_v2") as adbd,
        direct(adbd) as device,
        pytest.raises(UnsupportedError, match="shell_v2"),
    ):
        device.run("true")


def test_adbd_without_stat_v2_cannot_move_files_and_the_error_says_so() -> None:
    with (
        FakeAdbd(features="cmd,shell_v2") as adbd,
        direct(adbd) as device,
        pytest.raises(UnsupportedError, match="stat_v2"),
    ):
        device.stat("/")
