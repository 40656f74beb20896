# SPDX-License-Identifier: Apache-2.0
"""The device under test.

``device`` is what most device tests want: a fresh connection to the device named by
``--device``, else to one virtual guest that the whole session shares.
``device_without_swap`` is a second guest with no zram, booted when the first test
asks for it; ``each_device`` runs a test on both. Guests end with the session,
and with the process however it dies. Tests in ``host`` use none of this.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from cable import Cable
from hypothesis import HealthCheck, settings

import lmk
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.virtual import Guest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        metavar="SERIAL",
        default=None,
        help="run device tests on SERIAL instead of booting a virtual device for them",
    )
    parser.addoption(
        "--kernel",
        metavar="NAME",
        default=None,
        help="run device tests on virtual devices of this kernel: 6.1, 6.12-arm64, …",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "virtual_only: needs a virtual device of its own; skipped with --device"
    )
    config.addinivalue_line(
        "markers", "in_kernel: kills with no agent; skipped where a probe finds another kill path"
    )
    # No test fails because the machine was slow.
    settings.register_profile(
        "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("untimed")
    # Ended from outside (`timeout`, a CI runner), a run still takes its guests down:
    # as an interrupt it reaches every fixture's clean-up.
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt("terminated")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--device") is None:
        return
    skip = pytest.mark.skip(reason="needs a virtual device of its own; --device names another")
    for item in items:
        if "virtual_only" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def adb_server() -> Iterator[int]:
    """The port of an adb server of this run alone; it is started when something asks for it.

    So a server that somebody works with shows no devices in tests, and is not stopped by them.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    patch = pytest.MonkeyPatch()
    patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    patch.delenv("ADB_SERVER_SOCKET", raising=False)
    patch.delenv("ANDROID_ADB_SERVER_ADDRESS", raising=False)
    yield port
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(b"0009host:kill")
        link.recv(4)
    patch.undo()


#: As Android's common kernels have it: no PSI of cgroups.
KERNEL_ARGUMENTS = ("cgroup_disable=pressure",)


@contextmanager
def booted(
    variant: str, *, zram_mb: int | None = None, kernel: str | None = None
) -> Iterator[Guest]:
    """A guest of this process alone: another run at the same time has another."""
    from lmk import virtual

    name = f"virtual:{kernel}" if kernel else "virtual"
    guest = virtual.up(
        f"{name}#{variant}-{os.getpid()}",
        zram_mb=zram_mb,
        kernel_arguments=KERNEL_ARGUMENTS,
        detached=False,
    )
    try:
        yield guest
    finally:
        guest.down()


@contextmanager
def connected(serial: str) -> Iterator[Device]:
    """A connection that is closed with the test."""
    from lmk.device.resolve import connect

    with connect(serial) as device:
        yield device


@pytest.fixture(scope="session")
def guest(pytestconfig: pytest.Config) -> Iterator[Guest | None]:
    """The session's virtual guest; None when --device names a device."""
    if pytestconfig.getoption("--device") is not None:
        yield None
        return
    with booted("test", kernel=pytestconfig.getoption("--kernel")) as guest:
        yield guest


@pytest.fixture(scope="session")
def device_serial(pytestconfig: pytest.Config, guest: Guest | None) -> str:
    """The serial of the device under test."""
    return guest.name if guest is not None else str(pytestconfig.getoption("--device"))


@pytest.fixture(scope="session")
def guest_without_swap(pytestconfig: pytest.Config) -> Iterator[Guest]:
    """A second guest of the session, with no swap at all."""
    if pytestconfig.getoption("--device") is not None:
        pytest.skip("the device without swap is a virtual one; --device names another")
    with booted("test-noswap", zram_mb=0, kernel=pytestconfig.getoption("--kernel")) as guest:
        yield guest


@pytest.fixture(scope="session")
def kill_path(device_serial: str) -> str:
    """The kill path of the device under test, as it is probed."""
    from lmk.attachment import probe

    with connected(device_serial) as device:
        return probe(device).kill_path


@pytest.fixture(autouse=True)
def _path_is_there(request: pytest.FixtureRequest) -> None:
    if "in_kernel" in request.keywords:
        path = request.getfixturevalue("kill_path")
        if path != "in_kernel":
            pytest.skip(f"the device's kill path is {path}")


@pytest.fixture
def device(device_serial: str) -> Iterator[Device]:
    """The device under test, connected."""
    with connected(device_serial) as device:
        yield device


@pytest.fixture
def root(device: Device) -> Root:
    return find_root(device)


@pytest.fixture(scope="module")
def detached_after(device_serial: str) -> Iterator[None]:
    """The device is given back after the last test of the file."""
    yield
    with connected(device_serial) as device:
        lmk.detach(device)


@pytest.fixture
def device_without_swap(guest_without_swap: Guest) -> Iterator[Device]:
    """A virtual device with no swap, connected."""
    with connected(guest_without_swap.name) as device:
        yield device


@pytest.fixture(params=["swap", "no-swap"])
def each_device(request: pytest.FixtureRequest) -> Device:
    """The device under test, then the one without swap: the test runs on both."""
    name = "device" if request.param == "swap" else "device_without_swap"
    device: Device = request.getfixturevalue(name)
    return device


@pytest.fixture
def cable(device_serial: str) -> Iterator[Cable]:
    """A cable to the device under test, to be cut."""
    from lmk import virtual
    from lmk.device.resolve import parse_address

    if device_serial.startswith("virtual"):
        guest = virtual.find(device_serial)
        assert guest is not None
        host, port = "127.0.0.1", guest.port
    elif device_serial.startswith("tcp:"):
        host, port = parse_address(device_serial)
    else:
        pytest.skip("a cable can be put before TCP devices only")
    with Cable(host, port) as cable:
        yield cable
