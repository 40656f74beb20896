# SPDX-License-Identifier: Apache-2.0
"""The record stream as bytes: ``message Stream { repeated Record record = 1; }``, bit by bit.

Each record is the tag byte 0x0A, its length as a varint, and that many bytes of
``lmk.v1.Record`` (docs/wire-format.md). So captures concatenate, and a cut costs
only the record it went through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.message import DecodeError

from lmk.errors import ProtocolError
from lmk.proto.record_pb2 import Record

__all__ = [
    "MAX_RECORD_BYTES",
    "StreamParser",
    "decode_varint",
    "encode_record",
    "encode_stream",
    "encode_varint",
]

#: No record of the agent comes near it (docs/wire-format.md); what claims more is not a stream.
MAX_RECORD_BYTES = 1 << 20
_TAG = 0x0A
#: Spool files of the device carry a CRC-32C (field 15, fixed32) before each record.
_CHECKSUM_TAG, _CHECKSUM_BYTES = 0x7D, 5
_MAX_VARINT_BYTES = 10


class StreamParser:
    """Takes bytes as they come, gives records as they are complete.

    :param source: what errors call it: a file, a device.
    """

    def __init__(self, source: str = "stream") -> None:
        self._source = source
        self._rest = bytearray()
        self._offset = 0

    @property
    def offset(self) -> int:
        """Bytes of complete records so far."""
        return self._offset

    @property
    def pending_bytes(self) -> int:
        """Bytes of a record that is not complete yet."""
        return len(self._rest)

    def feed(self, data: bytes) -> Iterator[Record]:
        """Records that `data` completes, in order.

        :raises lmk.errors.ProtocolError: the bytes are not a stream of records; says at
            which offset. Records before that one have been given.
        """
        self._rest += data
        at = 0
        try:
            while (frame := self._frame(at)) is not None:
                begin, end = frame
                record = self._decode(begin, end)
                self._offset += end - at
                at = end
                yield record
        finally:
            del self._rest[:at]

    def finish(self) -> None:
        """Say that no more bytes come.

        :raises lmk.errors.ProtocolError: they end within a record.
        """
        if self._rest:
            raise ProtocolError(
                f"{self._source} is truncated: the record at offset {self._offset} "
                f"has only {len(self._rest)} of its bytes"
            )

    def _frame(self, at: int) -> tuple[int, int] | None:
        """Where the payload of the record at `at` begins and ends; None when it is not all here."""
        rest = self._rest
        if rest[at : at + 1] == bytes([_CHECKSUM_TAG]):
            at += _CHECKSUM_BYTES
        if at >= len(rest):
            return None
        if rest[at] != _TAG:
            raise self._foreign(f"byte 0x{rest[at]:02x} where a record begins")
        decoded = decode_varint(rest, at + 1)
        if decoded is None:
            if len(rest) - at > _MAX_VARINT_BYTES:
                raise self._foreign("a length of more than 10 bytes")
            return None
        length, begin = decoded
        if length > MAX_RECORD_BYTES:
            raise self._foreign(f"a record of {length} bytes")
        return (begin, begin + length) if begin + length <= len(rest) else None

    def _decode(self, begin: int, end: int) -> Record:
        try:
            record = Record.FromString(bytes(memoryview(self._rest)[begin:end]))
        except DecodeError as error:
            raise self._foreign("a record that does not decode") from error
        if record.WhichOneof("body") is None and not record.time_ns:
            raise self._foreign("a record with nothing in it")
        return record

    def _foreign(self, what: str) -> ProtocolError:
        return ProtocolError(
            f"{self._source} is not an lmk record stream: {what}, at offset {self._offset}"
        )


def encode_record(record: Record) -> bytes:
    """The bytes of one record in a stream or capture."""
    payload = record.SerializeToString()
    return bytes([_TAG]) + encode_varint(len(payload)) + payload


def encode_varint(value: int) -> bytes:
    """`value` as protobuf's base-128 varint."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_varint(data: bytes | bytearray, at: int = 0) -> tuple[int, int] | None:
    """The varint at `at` and the offset after it; None when `data` ends within it."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= len(data):
            return None
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    return None


def encode_stream(records: Iterable[Record]) -> bytes:
    """The bytes of several records."""
    return b"".join(map(encode_record, records))
