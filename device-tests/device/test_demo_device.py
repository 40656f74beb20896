# SPDX-License-Identifier: Apache-2.0
"""The demo on the device under test: as on a device that is not its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO

import pytest
from rich.console import Console

import lmk
from lmk import virtual
from lmk.attachment import detach
from lmk.build import Bundle, build
from lmk.demo.guard import refuse_if_unsafe
from lmk.demo.run import perform
from lmk.demo.summary import show
from lmk.device.interface import Device
from lmk.errors import UsageError
from lmk.policy import preset
from lmk.workload import Eater, Population, Row
from lmk.workload.android import FIRST_UID, LAST_UID
from lmk.workload.vitals import uids_in_use

_MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build()


@pytest.fixture(autouse=True)
def _nothing_attached(device: Device) -> Iterator[None]:
    detach(device)
    yield
    detach(device)


@pytest.mark.timeout(600)
def test_demo_kills_its_own_in_order_and_keeps_the_foreground_alive(
    device: Device, bundle: Bundle
) -> None:
    text = StringIO()
    console = Console(file=text, width=120)
    with Eater(device, 8, adj=1000, floor_mb=0, name="bystander", bundle=bundle) as bystander:
        assert bystander.next(_MINUTE) is not None
        performance = perform(device, preset("default"), console, own_guest=False, bundle=bundle)
        assert device.run("pidof bystander").text.strip()
    show(console, performance)
    verdict = performance.verdict
    assert verdict.faults == [], text.getvalue()
    assert verdict.deaths
    assert {FIRST_UID <= report.victim.uid <= LAST_UID for report in verdict.reports} == {True}
    assert "foreground survived: yes" in text.getvalue()
    assert uids_in_use(device, FIRST_UID, LAST_UID) == {}
    assert not detach(device)


def test_demo_refuses_a_device_with_a_session(device: Device, bundle: Bundle) -> None:
    with (
        lmk.attach(device, bundle=bundle),
        pytest.raises(UsageError, match="attached already"),
    ):
        refuse_if_unsafe(device, own_guest=True)


def test_demo_refuses_uids_that_are_in_use(device: Device, bundle: Bundle) -> None:
    with (
        Population(device, [Row("com.example.other", LAST_UID, 0, 256)], bundle=bundle),
        pytest.raises(UsageError, match=f"uid {LAST_UID} is in use"),
    ):
        refuse_if_unsafe(device, own_guest=False)


def test_demo_refuses_another_killer_beside_it(device: Device, bundle: Bundle) -> None:
    with Eater(device, 1, name="lmkd", bundle=bundle) as lmkd:
        assert lmkd.next(_MINUTE) is not None
        with pytest.raises(UsageError, match="lmkd is running"):
            refuse_if_unsafe(device, own_guest=False)


@pytest.mark.virtual_only
def test_the_demos_own_guest_ends_with_the_demo_however_it_ends() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lmk.demo"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + _MINUTE.total_seconds()

    def of_this_demo() -> list[virtual.Guest]:
        return [guest for guest in virtual.running() if (guest.owner or (0,))[0] == process.pid]

    while not (guests := of_this_demo()):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    process.kill()
    process.wait()
    while any(guest.alive() for guest in guests):
        assert time.monotonic() < end, "its guest lives on"
        time.sleep(0.1)
