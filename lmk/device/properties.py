# SPDX-License-Identifier: Apache-2.0
"""System properties of an Android device, as ``getprop`` lists them."""

from __future__ import annotations

import re

from lmk.device.interface import CommandResult
from lmk.errors import TransientError

__all__ = ["parse_properties"]

_GETPROP = re.compile(r"^\[([^\]\n]+)\]: \[(.*?)\]$(?=\n\[|\n?\Z)", re.DOTALL | re.MULTILINE)


def parse_properties(listed: CommandResult, name: str) -> dict[str, str]:
    """What `listed`, the end of a ``getprop``, says; empty when there is no such command.

    :param name: how errors call the device.
    :raises lmk.errors.TransientError: it ended with an error.
    """
    if listed.exit_code == 127:
        return {}
    if listed.exit_code:
        raise TransientError(
            f"{name}: getprop ended with {listed.exit_code}",
            detail=listed.error_text,
            serial=name,
        )
    return dict(_GETPROP.findall(listed.text.replace("\r\n", "\n")))
