# SPDX-License-Identifier: Apache-2.0
"""Connecting: who answers, who is let in, and with which key."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from adb_shell.auth import keygen
from cable import Cable
from fake_adbd import FakeAdbd, packet

from lmk.device import keys
from lmk.device.direct import DirectDevice
from lmk.errors import ProtocolError, TransientError, UnsupportedError, UsageError


@pytest.fixture
def key_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty place for keys, and a umask that hides nothing."""
    home = tmp_path / "android"
    monkeypatch.setenv("ANDROID_USER_HOME", str(home))
    monkeypatch.delenv("ADB_VENDOR_KEYS", raising=False)
    before = os.umask(0o022)
    yield home
    os.umask(before)


def direct(adbd: FakeAdbd, seconds: float = 5) -> DirectDevice:
    limit = timedelta(seconds=seconds)
    return DirectDevice("127.0.0.1", adbd.port, connect_timeout=limit, accept_timeout=limit)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Who answers --------------------------------------------------------------------------------


def test_nobody_listening_is_a_transient_error_that_names_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(TransientError, match=f"port {port}: Connection refused"):
        DirectDevice("127.0.0.1", port)


def test_unknown_host_is_a_transient_error() -> None:
    with pytest.raises(TransientError, match=r"cannot connect to no-such-host\.invalid"):
        DirectDevice("no-such-host.invalid", 5555)


def test_device_that_takes_the_connection_and_says_nothing_is_offline() -> None:
    with FakeAdbd() as adbd:
        adbd.freeze()
        with pytest.raises(TransientError, match="offline"):
            direct(adbd, seconds=0.3)


def test_device_that_hangs_up_before_its_first_word_is_offline() -> None:
    with (
        FakeAdbd(greeting=lambda link: link.close()) as adbd,
        pytest.raises(TransientError, match="offline"),
    ):
        direct(adbd)


def test_adbd_that_hangs_up_on_the_first_try_is_asked_again() -> None:
    greeted: list[socket.socket] = []

    def greet(link: socket.socket) -> None:
        greeted.append(link)
        if len(greeted) < 3:
            link.close()

    with FakeAdbd(greeting=greet) as adbd, direct(adbd) as device:
        assert device.run("echo in").text == "in\n"
    assert len(greeted) == 3


def test_error_carries_the_serial() -> None:
    with FakeAdbd() as adbd, direct(adbd) as device:
        with pytest.raises(TransientError) as caught:
            device.open("localabstract:nobody")
        assert caught.value.serial == device.serial


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", b"220 hi\r\n", b"+"])
def test_another_service_on_the_port_is_told_from_adbd(greeting: bytes) -> None:
    def greet(link: socket.socket) -> None:
        link.sendall(greeting)
        link.recv(1)  # and waits, as one does who is not asked in its own language

    with FakeAdbd(greeting=greet) as adbd, pytest.raises(ProtocolError, match="not adbd"):
        direct(adbd)


def test_device_that_wants_tls_is_told_apart() -> None:
    def greet(link: socket.socket) -> None:
        link.sendall(packet(b"STLS", 0x01000000, 0))

    with FakeAdbd(greeting=greet) as adbd, pytest.raises(UnsupportedError, match="TLS"):
        direct(adbd)


def test_link_can_be_cut_and_mended_and_the_device_object_goes_on() -> None:
    with (
        FakeAdbd() as adbd,
        Cable("127.0.0.1", adbd.port) as cable,
        DirectDevice("127.0.0.1", cable.port) as device,
    ):
        assert device.run("echo 1").text == "1\n"
        cable.reset()
        with pytest.raises(TransientError):
            device.run("echo 2")
        cable.mend()
        assert device.run("echo 3").text == "3\n"
        cable.black_hole()
        with pytest.raises(TransientError):
            device.run("echo 4", timeout=timedelta(seconds=0.3))
        cable.mend()
        assert device.run("echo 5").text == "5\n"


def test_cable_that_is_cut_in_mid_packet_is_an_error_not_short_data() -> None:
    with (
        FakeAdbd() as adbd,
        Cable("127.0.0.1", adbd.port) as cable,
        DirectDevice("127.0.0.1", cable.port) as device,
    ):
        device.run("true")
        cable.cut_after(100_000)
        with pytest.raises(TransientError):
            device.run("head -c 300000 /dev/zero")


# Who is let in ------------------------------------------------------------------------------


def test_unauthorised_device_is_a_usage_error_that_says_what_to_do(key_home: Path) -> None:
    with (
        FakeAdbd(auth="prompt") as adbd,
        pytest.raises(UsageError, match=r"unauthorized: accept .* on the device's screen"),
    ):
        direct(adbd, seconds=0.5)
    assert adbd.auth_log == ["signature", "public key"]


def test_key_accepted_once_signs_every_later_connection(key_home: Path) -> None:
    with FakeAdbd(auth="accept") as adbd:
        with direct(adbd) as device:
            assert device.run("echo in").text == "in\n"
        with direct(adbd) as device:
            assert device.run("echo in").text == "in\n"
    assert adbd.auth_log == ["signature", "public key", "signature"]


def test_no_key_is_made_for_a_device_that_asks_for_none(key_home: Path) -> None:
    with FakeAdbd() as adbd, direct(adbd) as device:
        device.run("true")
    assert not key_home.exists()


# Keys ---------------------------------------------------------------------------------------


def test_plain_adb_shell_leaves_the_private_key_open_to_others(
    tmp_path: Path, key_home: Path
) -> None:
    keygen.keygen(str(tmp_path / "adbkey"))
    assert mode_of(tmp_path / "adbkey") == 0o644


def test_generated_private_key_is_closed_to_others(key_home: Path) -> None:
    keys.host_keys()[0].Sign(bytes(20))
    assert mode_of(key_home) == 0o700
    assert mode_of(key_home / "adbkey") == 0o600
    assert sorted(path.name for path in key_home.iterdir()) == ["adbkey", "adbkey.pub"]


def test_existing_key_is_used_and_left_as_it_is(key_home: Path) -> None:
    key_home.mkdir()
    keygen.keygen(str(key_home / "adbkey"))
    before = (key_home / "adbkey").read_bytes()
    public = (key_home / "adbkey.pub").read_bytes()
    assert keys.host_keys()[0].GetPublicKey() == public.strip()
    assert (key_home / "adbkey").read_bytes() == before


def test_missing_public_half_is_derived(key_home: Path) -> None:
    key_home.mkdir()
    keygen.keygen(str(key_home / "adbkey"))
    public = (key_home / "adbkey.pub").read_bytes().split()[0]
    (key_home / "adbkey.pub").unlink()
    assert keys.host_keys()[0].GetPublicKey().split()[0] == public


def test_keys_made_at_once_end_up_as_one(key_home: Path) -> None:
    signatures: list[bytes] = []
    makers = [
        threading.Thread(target=lambda: signatures.append(keys.host_keys()[0].Sign(bytes(20))))
        for _ in range(4)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    assert len(signatures) == 4
    assert len(set(signatures)) == 1


def test_file_that_is_no_key_is_a_usage_error_that_names_it(key_home: Path) -> None:
    key_home.mkdir()
    (key_home / "adbkey").write_text("-----BEGIN NOTHING-----\n")
    with pytest.raises(UsageError, match="adbkey is not an adb key"):
        keys.host_keys()[0].Sign(bytes(20))


def test_vendor_keys_are_tried_after_the_users_own(
    key_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "vendor"
    folder.mkdir()
    keygen.keygen(str(folder / "lab.adb_key"))
    keygen.keygen(str(tmp_path / "single"))
    monkeypatch.setenv("ADB_VENDOR_KEYS", f"{folder}{os.pathsep}{tmp_path / 'single'}")
    tried = [key.path for key in keys.host_keys()]
    assert tried == [key_home / "adbkey", folder / "lab.adb_key", tmp_path / "single"]


def test_keys_lie_in_the_home_directory_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANDROID_USER_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keys.key_directory() == tmp_path / ".android"
