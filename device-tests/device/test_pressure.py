# SPDX-License-Identifier: Apache-2.0
"""``lmk pressure`` on a device."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from lmk.device.interface import Device
from lmk.errors import ExitCode

_DEADLINE_S = 60.0
_NAME = "lmk-eater"


def _pressure(serial: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from lmk.cli import main; main()"]
    return subprocess.Popen(
        [*command, "pressure", "-s", serial, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _eaters(device: Device) -> list[int]:
    listed = device.run("for d in /proc/[0-9]*; do echo ${d#/proc/} $(cat $d/comm); done 2>&1")
    return [int(line.split()[0]) for line in listed.text.splitlines() if line.endswith(_NAME)]


def _await_no_eater(device: Device) -> None:
    end = time.monotonic() + _DEADLINE_S
    while _eaters(device):
        assert time.monotonic() < end, "the eater lives on"
        time.sleep(0.1)


def _await_line(process: subprocess.Popen[str], pattern: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(pattern, line):
            return
    raise AssertionError(f"ended without {pattern}")


def test_it_ends_after_its_duration(device: Device, device_serial: str) -> None:
    process = _pressure(device_serial, "--size", "16M", "--duration", "2s")
    _out, said = process.communicate(timeout=_DEADLINE_S)
    assert process.returncode == ExitCode.OK
    assert "holding: 16 of 16 MB" in said
    _await_no_eater(device)


def test_interrupt_ends_the_eater(device: Device, device_serial: str) -> None:
    process = _pressure(device_serial, "--size", "16M", "--rate", "8M/s")
    _await_line(process, "eating: [1-9]")
    assert _eaters(device)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=_DEADLINE_S)
    assert process.returncode == ExitCode.INTERRUPTED
    _await_no_eater(device)


def test_killed_host_process_ends_the_eater(device: Device, device_serial: str) -> None:
    process = _pressure(device_serial, "--size", "16M")
    _await_line(process, "holding")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=_DEADLINE_S)
    _await_no_eater(device)


def test_floor_is_said_with_what_lifts_it(device: Device, device_serial: str) -> None:
    arguments = ("--size", "60G", "--floor", "64G", "--duration", "2s")
    process = _pressure(device_serial, *arguments)
    _out, said = process.communicate(timeout=_DEADLINE_S)
    assert process.returncode == ExitCode.OK
    assert "Stopped at 0 MB" in said
    assert "--no-floor" in said
    del device


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--size", "100"), "100"),
        (("--size", "100M", "--rate", "50M"), "50M/s"),
        (("--size", "100M", "--duration", "30"), "30s"),
        (("--size", "100M", "--floor", "1G", "--no-floor"), "contradict"),
        (("--rate", "50M/s"), "--size"),
    ],
)
def test_number_without_its_unit_is_refused(
    device_serial: str, arguments: tuple[str, ...], words: str
) -> None:
    process = _pressure(device_serial, *arguments)
    _out, said = process.communicate(timeout=_DEADLINE_S)
    assert process.returncode == ExitCode.USAGE
    assert words in said
