# SPDX-License-Identifier: Apache-2.0
"""An app of the device at the agent's sockets, and under their names."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from google.protobuf.message import Message
from loaded import FIRST_UID, PATIENCE, Loaded, calm_policy, loaded

import lmk
from lmk.control import SessionFile
from lmk.device.interface import Device
from lmk.errors import ProtocolError
from lmk.facts import gather
from lmk.proto.control_pb2 import ControlReply, ControlRequest, Done, GetStatus, StreamRequest
from lmk.proto.record_pb2 import Hello, Lifecycle, Record, Stream
from lmk.report import Position
from lmk.session import Session


@pytest.fixture
def attached(device: Device) -> Iterator[Session]:
    lmk.detach(device)
    try:
        yield lmk.attach(device, calm_policy()).keep()
    finally:
        lmk.detach(device)


@pytest.fixture
def apps(device: Device) -> Iterator[Loaded]:
    with loaded(device) as apps:
        yield apps


def framed(message: Message) -> str:
    payload = message.SerializeToString()
    assert len(payload) < 128
    return (bytes([len(payload)]) + payload).hex()


def session_file(apps: Loaded) -> SessionFile:
    found = gather(apps.root).session
    assert found is not None
    return found


def test_an_app_is_hung_up_on_and_recorded_even_with_the_token(
    attached: Session, apps: Loaded
) -> None:
    file = session_file(apps)
    stream_request = StreamRequest(token=file.token, run=1, from_seq=1)
    control_request = ControlRequest(token=file.token, get_status=GetStatus())
    for name, request in (
        (file.record_socket, stream_request),
        (file.control_socket, control_request),
    ):
        heard = apps.start("connect", adj=0, mb=0, more=f"{name} {framed(request)}", until="heard")
        assert heard.pid == 0, "bytes that it heard"
    start = Position(run=attached.hello.run, seq=1)
    with attached.records(start, follow=False) as stream:
        refused = [
            record.lifecycle
            for record in stream
            if record.lifecycle.kind == Lifecycle.CLIENT_REFUSED
        ]
    assert [life.uid for life in refused] == [FIRST_UID, FIRST_UID]
    assert all(life.pid for life in refused)


def test_an_app_that_takes_a_dead_agents_names_is_found_out(
    attached: Session, device: Device, apps: Loaded
) -> None:
    before = attached.status()
    file = session_file(apps)
    # As between an agent's death and the next one, only longer.
    apps.root.run(f"kill -STOP {before.guardian_pid} && kill -9 {before.agent_pid}")
    try:
        hello = Hello(protocol_version=1, token_proof=b"0" * 16, run=file.run, boot_id=file.boot_id)
        greeting = Stream(record=[Record(hello=hello)]).SerializeToString().hex()
        done = framed(ControlReply(done=Done(), token_proof=b"0" * 16))
        apps.start("squat", adj=0, mb=0, more=f"{file.record_socket} {greeting}")
        apps.start("squat", adj=0, mb=0, more=f"{file.control_socket} {done}")
        with pytest.raises(ProtocolError, match="does not know the session's token"):
            lmk.connect_session(device)
        with pytest.raises(ProtocolError, match="does not know the session's token"):
            attached.set_policy(calm_policy())
    finally:
        apps.root.run(f"kill -CONT {before.guardian_pid}")
    # The next agent has names and a token of its own.
    until = time.monotonic() + PATIENCE.total_seconds()
    while (new := session_file(apps)).agent_pid == before.agent_pid:
        assert time.monotonic() < until, "no new agent"
    assert new.token != file.token
    assert lmk.connect_session(device).status().agent_restarts == before.agent_restarts + 1
