# SPDX-License-Identifier: Apache-2.0
"""Sessions with a device that answers what a test wants: each fault is one clear error."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from scripted_device import (
    FACTS,
    SESSION,
    TOKEN,
    ScriptedDevice,
    ScriptedStream,
    as_device,
    session_lines,
)

from lmk import control
from lmk.control import SessionFile, check_hello, parse_session_file
from lmk.device.interface import CommandResult
from lmk.device.root import Root
from lmk.device.service import ServiceRefusedError
from lmk.errors import (
    ProtocolError,
    TransientError,
    UsageError,
)
from lmk.proto.control_pb2 import ControlReply, ControlRequest, Done, Error, GetStatus
from lmk.proto.record_pb2 import Hello, Record
from lmk.report import encode_record, parse_position
from lmk.report.wire import encode_varint
from lmk.session import Session

# -- the agent's words -------------------------------------------------------------------------


def session_file() -> SessionFile:
    return parse_session_file(SESSION, "/data/lmk")


def proved(**changes: Any) -> Hello:
    proof = hashlib.sha256(b"lmk-hello" + TOKEN).digest()[:16]
    return Hello(**{"protocol_version": 1, "build_id": "ab" * 32, "token_proof": proof, **changes})


def test_a_hello_with_the_right_proof_is_taken() -> None:
    check_hello(proved(), session_file(), "ab" * 32)


def test_a_squatter_who_does_not_know_the_token_is_found_out() -> None:
    with pytest.raises(ProtocolError, match="does not know the session's token"):
        check_hello(proved(token_proof=b"x" * 16), session_file())


def test_another_protocol_version_and_another_build_are_said_with_the_cure() -> None:
    with pytest.raises(ProtocolError, match=r"protocol 2, this lmk 1: `lmk attach`"):
        check_hello(proved(protocol_version=2), session_file())
    with pytest.raises(ProtocolError, match=r"build abab.*, this lmk's is cdcd.*`lmk attach`"):
        check_hello(proved(), session_file(), "cd" * 32)


def ask(device: ScriptedDevice) -> ControlReply:
    wanted = ControlRequest(get_status=GetStatus())
    return control.request(as_device(device), session_file(), wanted)


@pytest.fixture
def device() -> ScriptedDevice:
    return ScriptedDevice()


def framed(reply: ControlReply, *, proved: bool = True) -> bytes:
    if proved:
        reply.token_proof = hashlib.sha256(b"lmk-hello" + TOKEN).digest()[:16]
    payload = reply.SerializeToString()
    return encode_varint(len(payload)) + payload


def test_a_reply_in_small_pieces_is_whole(device: ScriptedDevice) -> None:
    device.reply = framed(ControlReply(done=Done()))
    assert ask(device).HasField("done")


def test_a_refused_policy_is_the_users_mistake_and_a_refused_token_is_not(
    device: ScriptedDevice,
) -> None:
    device.reply = framed(ControlReply(error=Error(code=Error.BAD_POLICY, message="stall_ms")))
    with pytest.raises(UsageError, match="refuses the policy: stall_ms"):
        ask(device)
    device.reply = framed(ControlReply(error=Error(code=Error.BAD_TOKEN)), proved=False)
    with pytest.raises(ProtocolError, match="BAD_TOKEN"):
        ask(device)


@pytest.mark.parametrize(
    "reply", [ControlReply(done=Done()), ControlReply(error=Error(code=Error.BAD_POLICY))]
)
def test_a_squatter_cannot_answer_a_request(device: ScriptedDevice, reply: ControlReply) -> None:
    device.reply = framed(reply, proved=False)
    with pytest.raises(ProtocolError, match="does not know the session's token"):
        ask(device)


@pytest.mark.parametrize("cut", range(3))
def test_a_connection_that_ends_before_the_reply_does_is_worth_another_try(
    device: ScriptedDevice, cut: int
) -> None:
    device.reply = framed(ControlReply(done=Done()))[:cut]
    with pytest.raises(TransientError, match="hung up"):
        ask(device)


def test_nonsense_instead_of_a_reply_is_a_protocol_error(device: ScriptedDevice) -> None:
    device.reply = b"\x03\xff\xff\xff"
    with pytest.raises(ProtocolError, match="does not decode"):
        ask(device)
    device.reply = b"\xff\xff\xff\xff\x7f"
    with pytest.raises(ProtocolError, match="announces a reply of"):
        ask(device)


# -- places in a stream ------------------------------------------------------------------------


def test_places_in_a_stream() -> None:
    place = parse_position
    assert (place("start").run, place("start").seq) == (1, 1)
    assert (place("17").run, place("17").seq) == (0, 17)
    assert (place("2:9").run, place("2:9").seq) == (2, 9)
    for wrong in ("", "x", "0", "1:", ":1", "0:1", "-1", "1:2:3", "\u0661"):
        with pytest.raises(UsageError, match="is not a place in a stream"):
            place(wrong)


# -- an agent that is being replaced ---------------------------------------------------------------


class DyingAgent(ScriptedDevice):
    """Its first agent takes connections and hangs up, then is gone; the second has other names."""

    def __init__(self, *answers: str | CommandResult) -> None:
        super().__init__(*answers)
        self.opened: list[str] = []
        hello = Hello(
            protocol_version=1,
            build_id="ab" * 32,
            boot_id="boot-1",
            run=4,
            first_seq=1,
            next_seq=1,
            token_proof=hashlib.sha256(b"lmk-hello" + TOKEN).digest()[:16],
        )
        self.hello = encode_record(Record(time_ns=1, hello=hello))

    def open(self, service: str, **_options: Any) -> ScriptedStream:
        self.opened.append(service)
        if service.endswith("-2"):
            return ScriptedStream(self.hello)
        if self.opened.count(service) > 1:
            raise ServiceRefusedError(f"{service} is refused")
        return ScriptedStream(b"")


def test_an_agent_that_dies_before_its_hello_is_not_waited_for_on_its_own_names() -> None:
    old = f"{FACTS}owner=0 directory\nserves=1\n{session_lines()}"
    device = DyingAgent(old, old.replace("lmk-records-1", "lmk-records-2"))
    root = Root(as_device(device), "{}")
    file = parse_session_file(SESSION, "/data/lmk")
    session = Session(root, file, None, detach_at_exit=False)
    assert session.hello.run == 4
    # Asked once more, as after a broken link, and then of whoever came after it.
    assert set(device.opened) == {
        "localabstract:lmk-records-1",
        "localabstract:lmk-records-2",
    }
    assert len(device.opened) <= 5
