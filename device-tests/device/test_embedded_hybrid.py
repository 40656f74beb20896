# SPDX-License-Identifier: Apache-2.0
"""systemd's hybrid hierarchy: v2 at /sys/fs/cgroup/unified, controllers on v1 beside it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from conftest import connected
from systemd_parts import active, booted_systemd, killers, unit
from take_over_parts import until

import lmk
from lmk.device.interface import Device
from lmk.device.root import find_root
from lmk.policy import parse
from lmk.proto.policy_pb2 import AppRule, OtherKiller

pytestmark = pytest.mark.virtual_only

_EARLYOOM = "earlyoom.service"


@pytest.fixture
def device(pytestconfig: pytest.Config) -> Iterator[Device]:
    kernel = pytestconfig.getoption("--kernel")
    hybrid = "systemd.unified_cgroup_hierarchy=0"
    with booted_systemd("hybrid", hybrid, kernel=kernel) as guest, connected(guest.name) as device:
        yield device


def test_rules_find_their_units_and_another_killer_is_stopped(device: Device) -> None:
    root = find_root(device)
    mounted = root.run("awk '$2 ~ \"^/sys/fs/cgroup(/unified)?$\" {print $3}' /proc/mounts").text
    assert mounted.split() == ["tmpfs", "cgroup2"], "the guest is what this test is for"
    root.run(f"systemctl start {_EARLYOOM}")
    policy = parse('name: "harmless" only_uids { first: 4000000 last: 4000000 }')
    policy.other_killer = OtherKiller.OTHER_KILLER_EARLYOOM
    policy.rules.append(AppRule(cgroup="/system.slice/ssh.service", protect=True))
    policy.rules.append(AppRule(unit="leak-*.service", weight_pct=300))
    session = lmk.attach(device, policy, lease=timedelta(minutes=10)).keep()
    assert killers(root) == {"lmk"}
    with (
        unit(root, "ssh.service", 4),
        unit(root, "leak-1.service", 4),
    ):
        until(lambda: all(rule.processes for rule in session.status(candidates=True).rules))
    # Its cgroup is watched where systemd has it.
    root.run(f"systemctl start {_EARLYOOM}")
    until(lambda: killers(root) == {_EARLYOOM})
    assert active(root, _EARLYOOM)
