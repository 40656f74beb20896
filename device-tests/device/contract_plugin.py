# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the contract tests: ``subject``, a Device by each transport; ``plain``, adb-shell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from adb_shell.adb_device import AdbDeviceTcp

from lmk import virtual
from lmk.device.interface import Device
from lmk.device.resolve import connect, parse_address

TRANSPORTS = ["direct", "server"]
#: Everything above, and the machine that the tests run on.
SUBJECTS = [*TRANSPORTS, "local"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test on each subject; what shows adb-shell as it comes only where there is an adbd."""
    if "subject" in metafunc.fixturenames:
        named = TRANSPORTS if "plain" in metafunc.fixturenames else SUBJECTS
        metafunc.parametrize("subject", named, indirect=True)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[Device]:
    """The device under test by each transport; and this machine."""
    if request.param == "local":
        device = connect("local")
    else:
        device = connect(request.getfixturevalue("device_serial"), transport=request.param)
    with device:
        yield device


@pytest.fixture
def plain(device_serial: str) -> Iterator[AdbDeviceTcp]:
    """The same device by adb-shell as it comes."""
    if device_serial.startswith("virtual"):
        guest = virtual.find(device_serial)
        assert guest is not None
        host, port = "127.0.0.1", guest.port
    elif device_serial.startswith("tcp:"):
        host, port = parse_address(device_serial)
    else:
        pytest.skip("adb-shell reaches TCP devices only")
    device = AdbDeviceTcp(host, port)
    device.connect(read_timeout_s=30)
    yield device
    device.close()
