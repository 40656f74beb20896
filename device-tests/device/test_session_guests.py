# SPDX-License-Identifier: Apache-2.0
"""Devices that lack something: root, PSI, BTF."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

import lmk
from lmk import virtual
from lmk.device.interface import Device
from lmk.errors import UnsupportedError, UsageError
from lmk.policy import parse
from lmk.proto.record_pb2 import KillPath, Signal

pytestmark = pytest.mark.virtual_only

HARMLESS = parse('name: "harmless" only_uids { first: 4000000 last: 4000000 }')


def guest_device(name: str, **options: object) -> Iterator[Device]:
    guest = virtual.up(f"virtual#{name}-{os.getpid()}", detached=False, **options)  # type: ignore[arg-type]
    try:
        with lmk.connect(guest.name) as device:
            yield device
    finally:
        guest.down()


@pytest.fixture
def without_root() -> Iterator[Device]:
    yield from guest_device("noroot", adbd_user="shell")


@pytest.fixture
def without_psi() -> Iterator[Device]:
    yield from guest_device("nopsi", kernel_arguments=("psi=0",))


def test_without_root_attach_says_so_and_doctor_answers_what_it_can(without_root: Device) -> None:
    with pytest.raises(UsageError, match=r"adbd runs as uid 2000 and no su works"):
        lmk.attach(without_root, HARMLESS)
    found = lmk.probe(without_root)
    assert found.kill_path == "none"
    assert found.values["root"] is None
    assert any(what == "root" for what, _probe, _enables in found.obstacles)
    facts = {fact["name"]: fact["present"] for fact in found.values["facts"]}
    assert facts["bpf_send_signal_task"] is True
    assert without_root.run("ls -a /data/local/tmp | grep lmk").text == ""


def test_without_psi_doctor_names_the_cure_and_attach_goes_by_levels(without_psi: Device) -> None:
    found = lmk.probe(without_psi)
    (psi,) = [answer for answer in found.answers() if answer.name == "PSI"]
    assert psi.yes is False
    assert "psi=1" in psi.enables
    assert found.kill_path == "in_kernel"
    with lmk.attach(without_psi, HARMLESS) as attached:
        kinds = {signal.kind for signal in attached.status().signals}
    assert Signal.AVAILABLE_KB in kinds
    assert Signal.SOME_STALL_US not in kinds


@pytest.fixture
def without_btf(device: Device) -> Iterator[Device]:
    """The kernel's types are hidden from everybody, as where it was built without them."""
    lmk.detach(device)
    assert device.run("mount -t tmpfs none /sys/kernel/btf").exit_code == 0
    try:
        yield device
    finally:
        device.run("umount /sys/kernel/btf")


def test_without_btf_attach_says_what_has_it_and_changes_nothing(without_btf: Device) -> None:
    with pytest.raises(UnsupportedError, match=r"has no BTF .*CONFIG_DEBUG_INFO_BTF=y"):
        lmk.attach(without_btf, HARMLESS)
    assert without_btf.run("ls -d /sys/fs/bpf/lmk").exit_code != 0
    found = lmk.probe(without_btf)
    assert found.kill_path == "none"
    (btf,) = [answer for answer in found.answers() if answer.name == "BTF"]
    assert btf.yes is False
    assert "CONFIG_DEBUG_INFO_BTF" in btf.enables


@pytest.fixture
def without_signals() -> Iterator[Device]:
    guest = virtual.up(f"virtual:6.1#old-{os.getpid()}", detached=False)
    try:
        with lmk.connect(guest.name) as device:
            yield device
    finally:
        guest.down()


def test_without_signals_from_bpf_the_path_says_which_probe_chose_it(
    without_signals: Device,
) -> None:
    with lmk.attach(without_signals, HARMLESS) as attached:
        hello = attached.hello
    assert hello.kill_path == KillPath.KILL_PATH_ASSISTED
    why = r"bpf_send_signal_task is missing \(vmlinux BTF.*\); Linux 6\.13"
    assert re.search(why, hello.kill_path_why)
    assert without_signals.run("ls -d /sys/fs/bpf/lmk").exit_code != 0
