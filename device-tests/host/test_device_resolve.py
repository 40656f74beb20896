# SPDX-License-Identifier: Apache-2.0
"""From a serial to a device: which one is meant, and what is said when none is."""

from __future__ import annotations

import platform
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from fake_adbd import FakeAdbd

from lmk import virtual
from lmk.device import resolve
from lmk.device.resolve import connect, parse_address
from lmk.device.server import ListedDevice, parse_devices
from lmk.errors import UsageError


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Names and ports of the virtual devices that run; none at first."""
    running: dict[str, int] = {}

    def guest(name: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, port=running[name])

    monkeypatch.setattr(virtual, "running", lambda: [guest(name) for name in running])
    monkeypatch.setattr(virtual, "find", lambda name: guest(name) if name in running else None)
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    monkeypatch.setattr(resolve, "list_devices", lambda: None)
    return running


def listed(text: str) -> Callable[[], list[ListedDevice]]:
    return lambda: list(parse_devices(text))


def test_a_device_of_the_adb_server_is_one_of_them(
    guests: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "R5CT1234567            device usb:1-1 model:Pixel_9 transport_id:3\n"
    monkeypatch.setattr(resolve, "list_devices", listed(text))
    guests["virtual:7.3"] = 1
    with pytest.raises(UsageError, match=r"several devices \(virtual:7\.3, R5CT1234567\)"):
        connect()


def test_a_virtual_device_that_the_server_knows_too_counts_once(
    guests: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeAdbd() as adbd:
        guests["virtual:7.3"] = adbd.port
        text = f"127.0.0.1:{adbd.port}   device transport_id:1\n"
        monkeypatch.setattr(resolve, "list_devices", listed(text))
        with connect() as device:
            assert (device.serial, device.transport) == ("virtual:7.3", "direct")


def test_devices_that_cannot_be_used_are_named_with_their_state(
    guests: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "R5CT1234567  unauthorized usb:1-1 transport_id:3\nemulator-5554  offline transport_id:4\n"
    )
    monkeypatch.setattr(resolve, "list_devices", listed(text))
    with pytest.raises(
        UsageError, match=r"R5CT1234567 is unauthorized, emulator-5554 is offline.*lmk virtual up"
    ):
        connect()


def test_a_list_of_devices_is_read_as_adb_writes_it() -> None:
    text = (
        "0123456789ABCDEF       device usb:2-1.4 product:raven model:Pixel_6 device:raven "
        "transport_id:12\n"
        "192.168.1.7:5555       offline transport_id:13\n"
        "a serial with spaces   device product:x\n"
        "????????????           no permissions (missing udev rules? user is in the plugdev group); "
        "see [http://developer.android.com/tools/device.html] usb:1-2 transport_id:14\n"
    )
    found = {device.serial: device for device in parse_devices(text)}
    assert found["0123456789ABCDEF"].state == "device"
    assert found["0123456789ABCDEF"].properties["model"] == "Pixel_6"
    assert found["192.168.1.7:5555"].state == "offline"
    assert found["a serial with spaces"].state == "device"
    assert found["????????????"].state.startswith("no permissions")
    assert list(parse_devices("")) == []


def test_no_device_says_how_to_get_one(guests: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"no device: .*lmk virtual up.*-s SERIAL"):
        connect()


def test_two_devices_and_no_choice_are_listed(guests: dict[str, int]) -> None:
    guests.update({"virtual:7.3": 1, "virtual:6.12": 2})
    with pytest.raises(UsageError, match=r"several devices \(virtual:6\.12, virtual:7\.3\)"):
        connect()


def test_the_only_virtual_device_is_taken(guests: dict[str, int]) -> None:
    with FakeAdbd() as adbd:
        guests["virtual:7.3"] = adbd.port
        with connect() as device:
            assert device.serial == "virtual:7.3"


def test_argument_comes_before_the_environment(
    guests: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeAdbd() as adbd:
        serial = f"tcp:127.0.0.1:{adbd.port}"
        monkeypatch.setenv("ANDROID_SERIAL", "virtual:none")
        with connect(serial) as device:
            assert device.serial == serial
        monkeypatch.setenv("ANDROID_SERIAL", serial)
        with connect() as device:
            assert device.serial == serial


def test_virtual_device_that_does_not_run_says_how_to_start_it(guests: dict[str, int]) -> None:
    guests["virtual:6.12"] = 1
    with pytest.raises(UsageError, match=r"lmk virtual up.*running: virtual:6\.12"):
        connect("virtual:7.3-arm64")


@pytest.mark.parametrize(
    "serial",
    ["tcp:", "tcp:host", "tcp:host:", "tcp::5555", "tcp:host:x", "tcp:host:0", "tcp:host:65536",
     "tcp:fe80::1:5555", "tcp:host:\u0665"],
)  # fmt: skip
def test_bad_serial_is_a_usage_error_that_shows_it(guests: dict[str, int], serial: str) -> None:
    with pytest.raises(UsageError) as caught:
        connect(serial)
    assert repr(serial) in str(caught.value)


def test_address_may_be_ipv6_in_brackets() -> None:
    assert parse_address("tcp:[::1]:5555") == ("::1", 5555)
    assert parse_address("host:5555") == ("host", 5555)


def test_direct_transport_takes_a_bare_address(guests: dict[str, int]) -> None:
    with FakeAdbd() as adbd, connect(f"127.0.0.1:{adbd.port}", transport="direct") as device:
        assert device.run("echo yes").text == "yes\n"


def test_local_is_this_machine(guests: dict[str, int]) -> None:
    with connect("local") as device:
        assert device.transport == "local"
        assert device.run("uname -n").text.strip() == platform.node()


@pytest.mark.parametrize("transport", ["direct", "server"])
def test_local_goes_by_no_transport(guests: dict[str, int], transport: str) -> None:
    with pytest.raises(UsageError, match="this machine"):
        connect("local", transport=transport)


def test_unknown_transport_is_a_usage_error(guests: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="direct, server"):
        connect("tcp:host:5555", transport="carrier-pigeon")
