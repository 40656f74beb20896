# SPDX-License-Identifier: Apache-2.0
"""The agent's sockets: who may speak, what is said, and what a bad client costs."""

from __future__ import annotations

import hashlib
import itertools
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from agent_process import Agent, RecordClient, connect, until

from lmk.control import check_hello, parse_session_file
from lmk.proto.control_pb2 import (
    ControlRequest,
    Error,
    GetStatus,
    RenewLease,
    SetPolicy,
    StreamRequest,
)
from lmk.proto.record_pb2 import Lifecycle, Record
from lmk.report.wire import encode_varint

pytest_plugins = ("agent_plugin",)

_SILENCE_S = 0.3


@pytest.fixture
def agent(binary: Path, tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(binary, tmp_path / "lmk")
    agent.serve("--build-id", "0123abcd", "--device-name", "bench-7")
    yield agent
    agent.end()


def refusals(agent: Agent) -> list[Record]:
    return [
        record for record in agent.records() if record.lifecycle.kind == Lifecycle.CLIENT_REFUSED
    ]


def is_hung_up(link: socket.socket) -> bool:
    """Closed without a byte; a reset, where it had not read all we said."""
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def test_hello_proves_the_token_and_names_both_clocks(agent: Agent) -> None:
    session = parse_session_file((agent.directory / "session").read_text(), str(agent.directory))
    hello = agent.records()[0].hello
    check_hello(hello, session, "0123abcd")
    assert hello.device_name == "bench-7"
    assert hello.abi == os.uname().machine
    assert hello.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert abs(hello.boottime_ns - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) < 10**9
    assert abs(hello.realtime_ns - time.time_ns()) < 10**9
    assert (hello.run, hello.first_seq, hello.next_seq) == (1, 1, 2)


def test_the_session_file_is_for_root_only(agent: Agent) -> None:
    assert (agent.directory / "session").stat().st_mode & 0o777 == 0o600
    assert agent.directory.stat().st_mode & 0o777 == 0o700


def test_nothing_is_said_before_the_request(agent: Agent) -> None:
    with RecordClient(agent.session) as client:
        assert client.is_silent(_SILENCE_S)
        client.ask(from_seq=1, run=1)
        assert next(iter(client)).HasField("hello")


def test_a_request_may_come_byte_by_byte(agent: Agent) -> None:
    with RecordClient(agent.session) as client:
        token = bytes.fromhex(agent.session["token"])
        request = StreamRequest(token=token, run=1, from_seq=1).SerializeToString()
        for byte in encode_varint(len(request)) + request:
            client.link.send(bytes([byte]))
        assert [record.seq for record in client] == [0, 1]


@pytest.mark.parametrize("token", [b"", b"\0" * 16, b"\xff" * 15])
def test_a_wrong_token_is_answered_with_silence_and_logged(agent: Agent, token: bytes) -> None:
    with RecordClient(agent.session) as client:
        client.ask(token=token, from_seq=1)
        assert list(client) == []
    (record,) = refusals(agent)
    assert "token" in record.lifecycle.text
    assert record.lifecycle.pid == os.getpid()


def test_an_unprivileged_process_is_refused_and_logged(agent: Agent) -> None:
    session = agent.session
    child = os.fork()
    if child == 0:
        os.setuid(54321)
        closed = 1
        with RecordClient(session) as client:
            try:
                client.ask(from_seq=1)
                closed = 0 if list(client) == [] else 1
            except (BrokenPipeError, ConnectionResetError):
                closed = 0
        os._exit(closed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    (record,) = refusals(agent)
    assert (record.lifecycle.uid, record.lifecycle.pid) == (54321, child)


def test_a_flood_of_refused_clients_does_not_flood_the_spool(agent: Agent) -> None:
    for _ in range(100):
        with RecordClient(agent.session) as client:
            client.ask(token=b"\0" * 16)
            assert list(client) == []
    assert 1 <= len(refusals(agent)) <= 10


def test_a_request_that_is_too_large_is_refused(agent: Agent) -> None:
    with connect(agent.session["record_socket"]) as link:
        link.sendall(encode_varint(1 << 20) + b"x" * 100)
        assert is_hung_up(link)
    assert len(refusals(agent)) == 1


def test_a_request_that_is_no_message_is_refused(agent: Agent) -> None:
    for name in ("record_socket", "control_socket"):
        with connect(agent.session[name]) as link:
            link.sendall(encode_varint(4) + b"\xff\xff\xff\xff")
            with suppress(ConnectionResetError):
                while link.recv(4096):
                    pass


def test_clients_are_bounded_and_a_slot_comes_free(agent: Agent) -> None:
    with ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(RecordClient(agent.session))
            client.ask(from_seq=1, run=1, follow=True)
            assert next(iter(client)).HasField("hello")
        with RecordClient(agent.session) as ninth:
            assert is_hung_up(ninth.link)

    def served() -> list[Record] | None:
        # Until the agent has heard that the eight are gone, this one is turned away as well.
        with suppress(OSError):
            return agent.records() or None
        return None

    assert until(served)


def test_a_client_that_speaks_after_its_request_is_dropped(agent: Agent) -> None:
    with RecordClient(agent.session) as client:
        client.ask(from_seq=1, run=1, follow=True)
        assert next(iter(client)).HasField("hello")
        client.link.sendall(b"more")
        with suppress(ConnectionResetError):
            list(client)


def test_a_follower_hears_what_comes_and_a_heartbeat_each_second(agent: Agent) -> None:
    with RecordClient(agent.session) as client:
        client.ask(follow=True)
        records = iter(client)
        assert next(records).HasField("hello")
        with RecordClient(agent.session) as stranger:
            stranger.ask(token=b"\0" * 16)
            assert list(stranger) == []
        assert next(records).lifecycle.kind == Lifecycle.CLIENT_REFUSED
        beats = [record.heartbeat for record in (next(records), next(records), next(records))]
        assert all(beat.next_seq == 3 and beat.lease_left_ms > 0 for beat in beats)
        apart = [
            (late.boottime_ns - early.boottime_ns) / 1e9
            for early, late in itertools.pairwise(beats)
        ]
        assert all(0.5 < seconds < 2.5 for seconds in apart)


def test_status_and_lease(agent: Agent) -> None:
    status = agent.control(ControlRequest(get_status=GetStatus())).status
    assert status.agent_pid == int(agent.session["agent_pid"])
    assert status.guardian_pid == int(agent.session["guardian_pid"])
    assert status.hello.build_id == "0123abcd"
    assert status.spool_limit_bytes == 8 << 20
    assert 0 < status.lease_left_ms <= 15 * 60 * 1000
    assert agent.control(ControlRequest(renew_lease=RenewLease(lease_ms=5_000_000))).HasField(
        "done"
    )
    status = agent.control(ControlRequest(get_status=GetStatus())).status
    assert status.lease_left_ms > 4_000_000


def test_control_refuses_a_wrong_token_with_a_reason(agent: Agent) -> None:
    reply = agent.control(ControlRequest(get_status=GetStatus()), token=b"\1" * 16)
    assert reply.error.code == Error.BAD_TOKEN
    assert len(refusals(agent)) == 1


def test_control_refuses_what_it_does_not_know(agent: Agent) -> None:
    assert agent.control(ControlRequest()).error.code == Error.BAD_REQUEST
    # Nothing is attached here: there is no policy to set.
    reply = agent.control(ControlRequest(set_policy=SetPolicy()))
    assert reply.error.code == Error.BAD_REQUEST


def test_several_requests_on_one_connection(agent: Agent) -> None:
    token = bytes.fromhex(agent.session["token"])
    request = ControlRequest(token=token, renew_lease=RenewLease()).SerializeToString()
    proof = hashlib.sha256(b"lmk-hello" + token).digest()[:16]
    # Length 20, the proof, and `done` with no bytes of it.
    reply = b"\x14" + b"\x0a\x10" + proof + b"\x5a\x00"
    with connect(agent.session["control_socket"]) as link:
        link.sendall(3 * (encode_varint(len(request)) + request))
        replies = b""
        while len(replies) < 3 * len(reply):
            replies += link.recv(64)
        assert replies == 3 * reply


def test_one_agent_at_a_time_and_the_second_is_told_who(agent: Agent) -> None:
    error = agent.run("serve", code=2)["error"]
    assert f"agent pid {agent.session['agent_pid']}" in error


def test_a_reader_that_stops_costs_the_others_nothing(binary: Path, tmp_path: Path) -> None:
    agent = Agent(binary, tmp_path / "lmk")
    agent.fill(2_000, "--full")
    agent.serve()
    try:
        with RecordClient(agent.session) as stuck:
            stuck.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.ask(run=1, from_seq=1, follow=True)
            assert stuck.link.recv(1)
            kills = [record for record in agent.records() if record.HasField("kill")]
            assert len(kills) == 2_000
    finally:
        agent.end()
