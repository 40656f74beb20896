# SPDX-License-Identifier: Apache-2.0
"""Messages as plain Python values, for JSON: numbers stay numbers, absent fields stay absent."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.message import Message

__all__ = ["json_line", "plain"]


def plain(message: Message) -> dict[str, Any]:
    """`message` as a dictionary under the proto's field names.

    Enums are names, bytes hex. A field that was not measured (optional and absent) is left
    out; one that is merely 0 is there. Not protobuf's own JSON, which writes 64-bit
    numbers as strings and drops zeros.
    """
    values: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            values[field.name] = [_value(field, item) for item in getattr(message, field.name)]
        elif not field.has_presence or message.HasField(field.name):
            values[field.name] = _value(field, getattr(message, field.name))
    return values


def json_line(message: Message) -> str:
    """`message` as one line of JSON."""
    return json.dumps(plain(message), separators=(",", ":"))


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return value.hex() if isinstance(value, bytes) else value
