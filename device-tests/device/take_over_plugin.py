# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that replace lmkd: a guest that has one, as a critical service.

The init is ``bpf/services``, lmkd a stand-in that notes when it starts and stops
(``stand_in/lmkd.c``).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from activity_manager import ActivityManager
from conftest import booted, connected
from take_over_parts import LOG, MUTE, STUBBORN, killers, property_of, until

import lmk
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.virtual.services import start_lmkd
from lmk.virtual.stand_in import stand_in

_MANAGER = "activity_manager"


@pytest.fixture(scope="module")
def lmkd_guest(pytestconfig: pytest.Config) -> Iterator[str]:
    """A guest of the file's own, with an lmkd."""
    with booted("take-over", kernel=pytestconfig.getoption("--kernel")) as guest:
        with connected(guest.name) as device:
            program = stand_in("lmkd", device.run("uname -m").text.strip())
            options = ("--log", LOG, "--stubborn-while", STUBBORN, "--mute-while", MUTE)
            start_lmkd(device, program, options, gentle=True)
        yield guest.name


@pytest.fixture
def lmkd_device(lmkd_guest: str) -> Iterator[Device]:
    """That guest, with lmkd its only killer before the test, and after it and a detach."""
    with connected(lmkd_guest) as device:
        root = find_root(device)
        root.run(f"rm -f {STUBBORN} {MUTE}")
        until(lambda: killers(root) == {"lmkd"})
        try:
            yield device
            lmk.detach(device)
            until(lambda: killers(root) == {"lmkd"})
            assert property_of(root, "init.svc.lmkd") == "running"
        finally:
            root.run(f"rm -f {STUBBORN} {MUTE}")
            lmk.detach(device)


@pytest.fixture(scope="module")
def running_activity_manager(lmkd_guest: str) -> str:
    """Its stand-in runs, for all tests of the file; under this name."""
    with connected(lmkd_guest) as device:
        ActivityManager.started(device, _MANAGER)
    return _MANAGER


@pytest.fixture
def activity_manager(running_activity_manager: str, root: Root) -> ActivityManager:
    """It has come to lmkd."""
    found = ActivityManager(root, running_activity_manager)
    found.await_server("lmkd")
    return found


@pytest.fixture
def root(lmkd_device: Device) -> Root:
    return find_root(lmkd_device)
