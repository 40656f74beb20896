# SPDX-License-Identifier: Apache-2.0
"""The server transport beyond the contract: the real adb server, and what goes wrong with it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fake_adbd import FakeAdbd

import lmk
from lmk import virtual
from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.device.server import connect_by_server, list_devices
from lmk.errors import ProtocolError, TransientError, UsageError
from lmk.policy import parse
from lmk.proto.record_pb2 import Lifecycle
from lmk.virtual import Guest

pytestmark = [
    pytest.mark.virtual_only,
    pytest.mark.skipif(shutil.which("adb") is None, reason="adb is not installed"),
]

HARMLESS = parse('name: "harmless" only_uids { first: 4000000 last: 4000000 }')
SOON_S = 0.5


def adb(*arguments: str) -> str:
    """Stock adb, with the server of these tests."""
    return subprocess.run(
        ["adb", *arguments], capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.fixture
def by_server(device_serial: str) -> Iterator[Device]:
    with connect(device_serial, transport="server") as device:
        yield device


@pytest.fixture
def another_guest() -> Iterator[Guest]:
    guest = virtual.up(f"virtual#server-{os.getpid()}", detached=False)
    yield guest
    guest.down()


def test_devices_are_listed_as_adb_lists_them(by_server: Device) -> None:
    listed = list_devices()
    assert listed
    lines = [line.split() for line in adb("devices", "-l").splitlines()[1:] if line]
    assert [[one.serial, one.state] for one in listed] == [line[:2] for line in lines]
    for one, line in zip(listed, lines, strict=True):
        assert one.properties == dict(word.split(":", 1) for word in line[2:])


def test_a_device_is_named_as_adb_names_it(guest: Guest | None, by_server: Device) -> None:
    assert guest is not None
    with connect(f"127.0.0.1:{guest.port}") as device:
        assert device.transport == "server"
        assert device.run("hostname").text == by_server.run("hostname").text


def test_a_name_that_the_server_does_not_know_lists_those_it_has(
    guest: Guest | None, by_server: Device
) -> None:
    assert guest is not None
    with pytest.raises(
        UsageError, match=rf"no device of that name; it has.*127.0.0.1:{guest.port}"
    ):
        connect("no-such-device")


def test_an_unauthorized_device_says_what_to_do(by_server: Device) -> None:
    with FakeAdbd(auth="prompt") as fake:
        name = f"127.0.0.1:{fake.port}"
        adb("connect", name)
        assert f"{name}\tunauthorized" in adb("devices")
        with pytest.raises(UsageError, match=r"unauthorized: accept this host's key"):
            connect(name)
        adb("disconnect", name)


def test_a_device_that_dies_ends_its_streams_soon(another_guest: Guest) -> None:
    with connect(another_guest.name, transport="server") as device:
        name = f"127.0.0.1:{another_guest.port}"
        with device.open("exec:echo up; cat") as stream:
            assert stream.read(timeout=timedelta(seconds=30)) == b"up\n"
            another_guest.down()
            start = time.monotonic()
            assert stream.read(timeout=timedelta(seconds=30)) == b""
            assert time.monotonic() - start < SOON_S
        with pytest.raises((TransientError, UsageError)):
            device.run("true")
        with pytest.raises((TransientError, UsageError)):
            connect(name)


def test_a_session_lives_on_when_the_server_is_restarted(by_server: Device) -> None:
    lmk.detach(by_server)
    breaks: list[str] = []
    with lmk.attach(by_server, HARMLESS) as session:
        name = next(one.serial for one in list_devices() or [] if one.state == "device")
        with session.records(on_break=breaks.append) as stream:
            records = iter(stream)
            assert next(records).HasField("hello")
            subprocess.run(["adb", "kill-server"], check=True, timeout=60)
            connect_by_server(*_address(name))
            session.set_policy(parse('name: "after" only_uids { first: 4000000 last: 4000000 }'))
            for record in records:
                if record.lifecycle.kind == Lifecycle.POLICY_CHANGED:
                    assert record.lifecycle.text == "policy after"
                    break
    assert any("link lost" in line for line in breaks)
    assert any("link is back" in line for line in breaks)


def _address(name: str) -> tuple[str, int]:
    host, _, port = name.rpartition(":")
    return host, int(port)


def test_another_service_on_the_servers_port_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            link, _ = listener.accept()
            link.recv(100)
            link.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            link.close()

        threading.Thread(target=speak, daemon=True).start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(listener.getsockname()[1]))
        with pytest.raises(ProtocolError, match="no adb server"):
            connect("R5CT1234567")


def test_without_server_and_adb_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"no adb server runs at 127\.0\.0\.1:.*install adb"):
        connect("R5CT1234567")
    monkeypatch.setenv("ADB_SERVER_SOCKET", "localfilesystem:/tmp/x")
    with pytest.raises(UsageError, match="ADB_SERVER_SOCKET"):
        connect("R5CT1234567")


def test_devices_command_lists_virtual_devices_and_the_servers(
    device_serial: str, by_server: Device
) -> None:
    with FakeAdbd() as fake:
        name = f"127.0.0.1:{fake.port}"
        connect_by_server("127.0.0.1", fake.port)
        shown = subprocess.run(
            [sys.executable, "-c", "import lmk.cli; lmk.cli.main()", "devices", "--json"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        adb("disconnect", name)
    listed = {one["serial"]: one for one in json.loads(shown)}
    assert listed[device_serial]["transport"] == "direct"
    assert (listed[name]["transport"], listed[name]["state"]) == ("server", "device")
