# SPDX-License-Identifier: Apache-2.0
"""Each of Debian's other killers stopped and started again; nohang's unit is Python's."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from systemd_parts import KILLERS, active, booted_systemd, killers
from take_over_parts import harmless, until
from test_cli_device import Command

import lmk
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.proto.policy_pb2 import OtherKiller

pytestmark = pytest.mark.virtual_only

_EARLYOOM, _NOHANG = OtherKiller.OTHER_KILLER_EARLYOOM, OtherKiller.OTHER_KILLER_NOHANG
_VALUES = {
    "systemd-oomd.service": OtherKiller.OTHER_KILLER_SYSTEMD_OOMD,
    "earlyoom.service": _EARLYOOM,
    "nohang.service": _NOHANG,
}


@pytest.fixture(scope="module")
def device_serial(pytestconfig: pytest.Config) -> Iterator[str]:
    kernel = pytestconfig.getoption("--kernel")
    with booted_systemd("nohang", kernel=kernel, packages=("nohang",)) as guest:
        yield guest.name


@pytest.fixture(params=KILLERS)
def running(request: pytest.FixtureRequest, root: Root) -> Iterator[str]:
    """The one killer there is, before the test and after it."""
    name: str = request.param
    assert root.run(f"systemctl start {name}").exit_code == 0
    until(lambda: killers(root) == {name})
    yield name
    assert killers(root) == {name}
    root.run(f"systemctl stop {name}")


def test_the_one_that_the_policy_names_is_stopped_and_comes_back(
    device: Device, root: Root, running: str
) -> None:
    kind = running.removesuffix(".service")
    found = json.loads(Command(device.serial).run("doctor", "--json"))["other_killers"][kind]
    assert found["pids"] == [int(root.run(f"systemctl show --value -p MainPID {running}").text)]
    assert found["owners"] == [running]
    assert not found["obstacles"]
    policy = harmless()
    policy.other_killer = _VALUES[running]
    session = lmk.attach(device, policy, lease=None).keep()
    assert killers(root) == {"lmk"}
    assert running in session.status().stopped_units.split(", ")
    assert lmk.detach(device)
    assert active(root, running)


def test_one_that_the_policy_does_not_name_goes_on(
    device: Device, root: Root, running: str
) -> None:
    policy = harmless()
    policy.other_killer = _EARLYOOM if _VALUES[running] == _NOHANG else _NOHANG
    with lmk.attach(device, policy, lease=None) as session:
        assert killers(root) == {"lmk", running}
        assert not session.status().stopped_units
