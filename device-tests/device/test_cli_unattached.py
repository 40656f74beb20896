# SPDX-License-Identifier: Apache-2.0
"""The lmk command on a device that nothing is attached to."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lmk
from lmk.device.interface import Device


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("detach", 0, "nothing was attached"),
        ("status", 2, "nothing is attached; `lmk attach` does that"),
        ("stream", 2, "nothing is attached; `lmk attach` does that"),
    ],
)
def test_nothing_attached_is_said_and_only_detach_is_content(
    device: Device, device_serial: str, command: str, code: int, words: str
) -> None:
    lmk.detach(device)
    done = subprocess.run(
        [sys.executable, "-c", "import lmk.cli; lmk.cli.main()", command, "-s", device_serial],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stdout == ""
