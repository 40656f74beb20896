# SPDX-License-Identifier: Apache-2.0
"""Run a command through adbd's shell protocol v2: exit code, stdout and stderr apart.

The service is ``shell,v2,raw:COMMAND`` (no terminal). On it each packet is one
byte of kind, four bytes of length (little-endian), then the data; packets do
not end where the stream's pieces end, so they are put together from bytes.
See AOSP ``packages/modules/adb/shell_protocol.h``.
"""

from __future__ import annotations

import struct

from lmk.device.interface import CommandResult
from lmk.device.packets import Deadline
from lmk.device.service import Service

__all__ = ["run_shell", "shell_service"]

_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_HEADER = struct.Struct("<BI")


def shell_service(command: str) -> str:
    """The name of the service that runs `command` with the device's shell."""
    return f"shell,v2,raw:{command}"


def run_shell(stream: Service, stdin: bytes, deadline: Deadline) -> CommandResult:
    """Feed `stdin` to the command behind `stream`, and gather what it says until it exits.

    :raises TimeoutError: it has not ended by the deadline.
    :raises lmk.errors.TransientError: the link broke, or the stream ended with no exit code.
    """
    pending = memoryview(_stdin_packets(stdin, stream.packet_bytes))
    gathered = {_STDOUT: bytearray(), _STDERR: bytearray()}
    received = bytearray()
    while True:
        if pending and not stream.wait_readable_or_writable(deadline):
            stream.send_packet(bytes(pending[: stream.packet_bytes]), deadline)
            pending = pending[stream.packet_bytes :]
            continue
        piece = stream.read_until(deadline)
        if not piece:
            raise stream.failed("the shell ended without an exit code")
        received += piece
        for kind, data in _take_packets(received):
            if kind in gathered:
                gathered[kind] += data
            elif kind == _EXIT:
                return CommandResult(data[0], bytes(gathered[_STDOUT]), bytes(gathered[_STDERR]))


def _stdin_packets(stdin: bytes, packet_bytes: int) -> bytes:
    """`stdin` as shell packets, and the one that closes it."""
    body = packet_bytes - _HEADER.size
    packets = bytearray()
    for start in range(0, len(stdin), body):
        piece = stdin[start : start + body]
        packets += _HEADER.pack(_STDIN, len(piece)) + piece
    return bytes(packets + _HEADER.pack(_CLOSE_STDIN, 0))


def _take_packets(received: bytearray) -> list[tuple[int, bytes]]:
    """Remove the whole packets at the front of `received` and return them."""
    packets = []
    start = 0
    while len(received) - start >= _HEADER.size:
        kind, length = _HEADER.unpack_from(received, start)
        end = start + _HEADER.size + length
        if end > len(received):
            break
        packets.append((kind, bytes(received[start + _HEADER.size : end])))
        start = end
    del received[:start]
    return packets
