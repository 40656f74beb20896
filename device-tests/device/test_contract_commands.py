# SPDX-License-Identifier: Apache-2.0
"""What every Device does, whatever carries it: commands, and the device that runs them.

Each test runs on each transport (contract_plugin.py). Where plain adb-shell fails, the same
is shown on the same device with adb-shell as it comes.
"""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest
from adb_shell.adb_device import AdbDeviceTcp
from payload import MIB, pseudo_random

from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.errors import TransientError, UsageError

pytest_plugins = ("contract_plugin",)


def test_exit_code_stdout_and_stderr_come_apart(subject: Device) -> None:
    result = subject.run("echo out; echo err >&2; exit 7")
    assert (result.exit_code, result.stdout, result.stderr) == (7, b"out\n", b"err\n")


def test_command_that_a_signal_ends_has_128_and_the_signal(subject: Device) -> None:
    assert subject.run("kill -9 $$").exit_code == 128 + 9


def test_unknown_command_is_a_result_not_an_error(subject: Device) -> None:
    result = subject.run("no-such-command-at-all")
    assert result.exit_code == 127
    assert "not found" in result.error_text


def test_stdin_reaches_the_command_and_its_end_too(subject: Device) -> None:
    assert subject.run("cat", stdin=b"line\nlast").stdout == b"line\nlast"
    assert subject.run("cat").stdout == b""


def test_stdin_and_output_of_several_mebibytes_pass_at_once(subject: Device) -> None:
    data = pseudo_random(4 * MIB)
    assert subject.run("cat", stdin=data, timeout=timedelta(seconds=120)).stdout == data


def test_command_that_answers_after_all_of_its_stdin_gets_it(subject: Device) -> None:
    result = subject.run("wc -c", stdin=bytes(4 * MIB), timeout=timedelta(seconds=120))
    assert int(result.text) == 4 * MIB


def test_command_that_leaves_its_stdin_unread_still_ends(subject: Device) -> None:
    result = subject.run("exit 5", stdin=bytes(4 * MIB), timeout=timedelta(seconds=60))
    assert result.exit_code == 5


def test_both_outputs_of_several_mebibytes_are_complete(subject: Device) -> None:
    result = subject.run(
        "head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2", timeout=timedelta(seconds=120)
    )
    assert (len(result.stdout), len(result.stderr)) == (3_000_000, 2_000_000)


def test_text_cut_between_writes_is_whole(subject: Device) -> None:
    assert subject.run(r"printf '\303'; sleep 0.3; printf '\251'").text == "é"


def test_plain_adb_shell_breaks_text_cut_between_writes(plain: AdbDeviceTcp) -> None:
    said = "".join(plain.streaming_shell(r"printf '\303'; sleep 0.3; printf '\251'"))
    assert "é" not in said


def test_command_over_its_timeout_is_a_transient_error(subject: Device) -> None:
    # A device so busy that it has not even begun by then says so.
    with pytest.raises(TransientError, match=r"did not (end within|answer)"):
        subject.run("sleep 60", timeout=timedelta(seconds=0.5))
    assert subject.run("echo next").text == "next\n"


def test_output_that_is_no_utf8_is_kept_as_bytes(subject: Device) -> None:
    result = subject.run(r"printf 'a\377\000b'")
    assert result.stdout == b"a\xff\0b"
    assert result.text == "a\N{REPLACEMENT CHARACTER}\0b"


def test_command_longer_than_a_packet_is_a_usage_error(subject: Device) -> None:
    with pytest.raises(UsageError, match="longer than"):
        subject.run("true " + "x" * 2 * MIB)


def test_properties_are_what_getprop_says(subject: Device) -> None:
    properties = subject.properties()
    if subject.run("command -v getprop").exit_code:
        assert properties == {}
    else:
        assert properties
        for name, value in list(properties.items())[:10]:
            assert subject.run(f"getprop {shlex.quote(name)}").text == value + "\n"


def test_closed_device_says_so_and_closes_twice(device_serial: str) -> None:
    device = connect(device_serial)
    device.close()
    device.close()
    with pytest.raises(UsageError, match="closed"):
        device.run("true")
