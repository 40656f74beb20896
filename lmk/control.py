# SPDX-License-Identifier: Apache-2.0
"""The agent's two sockets from the host's side: session file, handshake, requests.

docs/wire-format.md has names and bytes. The session file (``DIR/session``, root-only)
names both sockets and holds the token; every message that the host sends is preceded by
its length as a varint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.message import DecodeError, Message

from lmk.device.interface import ByteStream, Device
from lmk.errors import ProtocolError, TransientError, UsageError
from lmk.proto.control_pb2 import ControlReply, ControlRequest, Error, StreamRequest
from lmk.proto.record_pb2 import Hello
from lmk.report.client import Position
from lmk.report.wire import decode_varint, encode_varint

__all__ = [
    "PROTOCOL_VERSION",
    "SessionFile",
    "check_hello",
    "open_records",
    "parse_session_file",
    "request",
]

PROTOCOL_VERSION = 1
#: A device short of memory answers late; one that is away answers never.
_REPLY_TIMEOUT = timedelta(seconds=20)
_MAX_REPLY_BYTES = 1 << 20
#: Errors of an agent that was not told the token: nothing proves who says them.
_UNPROVEN = (Error.BAD_TOKEN, Error.BAD_REQUEST)


@dataclass(frozen=True, slots=True)
class SessionFile:
    """What a session file says that a host needs.

    :ivar holder: who attached: ``USER@HOST``.
    :ivar other_killer: whom it was to stop: ``none``, ``any``, ``systemd-oomd``, ….
    :ivar lmkd_replaced: lmkd is stopped for as long as this session lasts.
    :ivar program: path of the agent that serves it: outside of `directory` where it was
        installed for good (`lmk package`).
    """

    directory: str
    record_socket: str
    control_socket: str
    token: bytes
    build_id: str
    boot_id: str
    run: int
    agent_pid: int
    kill_path: str
    holder: str = ""
    lmkd_replaced: bool = False
    program: str = ""
    other_killer: str = "none"


def parse_session_file(text: str, directory: str) -> SessionFile:
    """Read ``key=value`` lines; keys this version does not know are left out.

    :raises lmk.errors.ProtocolError: a key is missing or a value is not what it must be.
    """
    values: Mapping[str, str] = dict(
        line.split("=", 1) for line in text.splitlines() if "=" in line
    )
    try:
        session = SessionFile(
            directory=directory,
            record_socket=values["record_socket"],
            control_socket=values["control_socket"],
            token=bytes.fromhex(values["token"]),
            build_id=values["build_id"],
            boot_id=values["boot_id"],
            run=int(values["run"]),
            agent_pid=int(values["agent_pid"]),
            kill_path=values.get("kill_path", ""),
            holder=values.get("holder", ""),
            lmkd_replaced=values.get("lmkd") == "replaced",
            program=values.get("program", ""),
            other_killer=values.get("other_killer", "none"),
        )
    except (KeyError, ValueError) as error:
        raise ProtocolError(
            f"{directory}/session on the device is damaged: {error}; `lmk detach` clears it"
        ) from error
    if len(session.token) != 16:
        raise ProtocolError(f"{directory}/session on the device is damaged: token")
    return session


def check_hello(hello: Hello, session: SessionFile, expected_build_id: str | None = None) -> None:
    """Hold an agent's Hello against the session file and this host.

    :raises lmk.errors.ProtocolError: it does not know the token (somebody squats the socket's
        name), speaks another protocol version, or is of another build.
    """
    _check_proof(hello.token_proof, session)
    if hello.protocol_version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"the agent speaks protocol {hello.protocol_version}, this lmk {PROTOCOL_VERSION}: "
            "`lmk attach` replaces it"
        )
    if expected_build_id is not None and hello.build_id != expected_build_id:
        raise ProtocolError(
            f"the agent is of build {hello.build_id[:16]}, this lmk's is {expected_build_id[:16]}: "
            "`lmk attach` replaces it"
        )


def _check_proof(proof: bytes, session: SessionFile) -> None:
    if proof != hashlib.sha256(b"lmk-hello" + session.token).digest()[:16]:
        raise ProtocolError("what answered on the agent's socket does not know the session's token")


def open_records(
    device: Device, session: SessionFile, position: Position, *, follow: bool
) -> ByteStream:
    """Connect to the record socket and ask for what comes from `position` on.

    :raises lmk.errors.TransientError: the device is away, or nobody listens.
    """
    wanted = StreamRequest(
        token=session.token,
        boot_id=position.boot_id,
        run=position.run,
        from_seq=position.seq,
        follow=follow,
    )
    stream = device.open(f"localabstract:{session.record_socket}")
    try:
        stream.write(_framed(wanted))
    except BaseException:
        stream.close()
        raise
    return stream


def request(
    device: Device,
    session: SessionFile,
    wanted: ControlRequest,
    *,
    timeout: timedelta = _REPLY_TIMEOUT,
) -> ControlReply:
    """Send one request on a control connection of its own and return the reply.

    :raises lmk.errors.TransientError: the device is away, nobody listens, no reply in time.
    :raises lmk.errors.UsageError: the agent refuses the policy, or what it does not allow, and
        says why.
    :raises lmk.errors.ProtocolError: it refuses the token, does not know it itself, or answers
        nonsense.
    """
    wanted.token = session.token
    with device.open(f"localabstract:{session.control_socket}") as stream:
        stream.write(_framed(wanted))
        reply = _read_reply(stream, timeout, device.serial)
    if not (reply.HasField("error") and reply.error.code in _UNPROVEN):
        _check_proof(reply.token_proof, session)
    if reply.HasField("error"):
        said = reply.error.message
        if reply.error.code == Error.BAD_POLICY:
            raise UsageError(f"{device.serial}: the agent refuses the policy: {said}")
        if reply.error.code == Error.REFUSED:
            raise UsageError(f"{device.serial}: the agent refuses: {said}")
        raise ProtocolError(
            f"{device.serial}: the agent refuses the request: "
            f"{Error.Code.Name(reply.error.code)} {said}".rstrip(),
            serial=device.serial,
        )
    return reply


def _framed(message: Message) -> bytes:
    payload = message.SerializeToString()
    return encode_varint(len(payload)) + payload


def _read_reply(stream: ByteStream, timeout: timedelta, serial: str) -> ControlReply:
    received = bytearray()
    while True:
        head = decode_varint(received)
        if head is not None:
            length, begin = head
            if length > _MAX_REPLY_BYTES:
                raise ProtocolError(f"{serial}: the agent announces a reply of {length} bytes")
            if len(received) >= begin + length:
                break
        try:
            data = stream.read(timeout=timeout)
        except TimeoutError:
            raise TransientError(
                f"{serial}: the agent did not answer within {timeout.total_seconds():.0f} s",
                serial=serial,
            ) from None
        if not data:
            raise TransientError(f"{serial}: the agent hung up without an answer", serial=serial)
        received += data
    try:
        return ControlReply.FromString(bytes(received[begin : begin + length]))
    except DecodeError as error:
        raise ProtocolError(f"{serial}: the agent's reply does not decode") from error
