# SPDX-License-Identifier: Apache-2.0
"""Packets, shell packets and names, whatever way the bytes are cut."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from fake_adbd import packet, shell_packet
from hypothesis import given, settings
from hypothesis import strategies as st

from lmk.device.packets import Deadline, LinkClosedError, PacketTransport
from lmk.device.shell import _take_packets
from lmk.errors import ProtocolError

COMMANDS = [b"WRTE", b"OKAY", b"CLSE"]
NOW = Deadline(0)


@contextmanager
def linked() -> Iterator[tuple[PacketTransport, socket.socket]]:
    """A transport and the socket at its other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport = PacketTransport("127.0.0.1", listener.getsockname()[1], "test")
        transport.connect(5)
        far, _ = listener.accept()
        with far:
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield transport, far
        transport.close()


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(COMMANDS),
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
            st.binary(max_size=200),
        ),
        min_size=1,
        max_size=5,
    ),
    st.data(),
)
def test_packets_cut_at_any_byte_come_whole_in_spite_of_timeouts(
    packets: list[tuple[bytes, int, int, bytes]], data: st.DataObject
) -> None:
    wire = b"".join(packet(*fields) for fields in packets)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=8)))
    received = []
    with linked() as (transport, far):
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
            far.sendall(wire[start:end])
            with suppress(TimeoutError):
                while True:
                    received.append(tuple(transport.receive(NOW)))
        while len(received) < len(packets):
            received.append(tuple(transport.receive(Deadline(10))))
    assert received == packets


@settings(max_examples=50)
@given(st.integers(0, 223))
def test_link_that_ends_in_mid_packet_is_an_error_and_never_a_packet(cut: int) -> None:
    with linked() as (transport, far):
        far.sendall(packet(b"WRTE", 1, 2, bytes(200))[:cut])
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(LinkClosedError):
            transport.receive(Deadline(10))


@settings(max_examples=50)
@given(st.binary(min_size=24, max_size=64))
def test_bytes_of_another_protocol_are_refused(noise: bytes) -> None:
    command, _, _, length, _, magic = struct.unpack("<6I", noise[:24])
    if magic == command ^ 0xFFFFFFFF and length <= 2**20:
        return
    with linked() as (transport, far):
        far.sendall(noise)
        with pytest.raises(ProtocolError):
            transport.receive(Deadline(10))


def test_length_that_no_packet_has_is_refused_before_it_is_waited_for() -> None:
    with linked() as (transport, far):
        far.sendall(struct.pack("<4s5I", b"WRTE", 1, 2, 2**31, 0, 0xFFFFFFFF ^ 0x45545257))
        with pytest.raises(ProtocolError):
            transport.receive(Deadline(10))


@given(st.lists(st.tuples(st.integers(1, 3), st.binary(max_size=50))), st.integers(1, 20))
def test_shell_packets_cut_anywhere_are_the_same(
    packets: list[tuple[int, bytes]], step: int
) -> None:
    wire = b"".join(shell_packet(*fields) for fields in packets)
    received = bytearray()
    taken = []
    for start in range(0, len(wire), step):
        received += wire[start : start + step]
        taken += _take_packets(received)
    assert taken == packets
    assert received == b""
