# SPDX-License-Identifier: Apache-2.0
"""Every kernel and ABI that is served: the bundle loads, a kill is reported, detach leaves nothing.

The other device tests say more, on one kernel at a time (``--kernel NAME``).
"""

from __future__ import annotations

import os

import pytest
from conftest import KERNEL_ARGUMENTS

import lmk
from lmk import virtual
from lmk.attachment import probe
from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.policy import parse
from lmk.proto.record_pb2 import Carrier, Hello, KillPath, KillReport
from lmk.workload import Eater

pytestmark = [pytest.mark.virtual_only, pytest.mark.timeout(900)]

#: A report waits for its victim's end for as long as an emulated guest on a busy machine takes.
ONLY_OURS = parse("only_uids { first: 19000 last: 19009 } timing { kill_timeout_ms: 60000 }")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@pytest.mark.parametrize("abi", MACHINES)
@pytest.mark.parametrize(
    ("line", "path"),
    [("6.1", "assisted"), ("6.12", "assisted"), ("6.18", "in_kernel"), ("7.3", "in_kernel")],
)
def test_a_kernel_loads_kills_and_is_given_back(line: str, abi: str, path: str) -> None:
    host = virtual.kernels.host_abi().debian
    kernel = line if abi == host else f"{line}-{abi}"
    guest = virtual.up(
        f"virtual:{kernel}#smoke-{os.getpid()}",
        kernel_arguments=KERNEL_ARGUMENTS,
        detached=False,
    )
    try:
        with connect(guest.name) as device:
            hello, report = attach_and_kill(device)
            found = probe(device)
            assert device.run("ls /sys/fs/bpf").text.split() == []
    finally:
        guest.down()
    assert hello.abi == MACHINES[abi]
    assert (
        KillPath.Name(hello.kill_path) == KillPath.Name(report.path) == f"KILL_PATH_{path.upper()}"
    )
    assert found.kill_path == path
    assert hello.kill_path_why == found.why
    check(report)


def attach_and_kill(device: Device) -> tuple[Hello, KillReport]:
    with lmk.attach(device, ONLY_OURS) as session:
        with Eater(device, 60_000, adj=900, uid=19001, floor_mb=0, name="greedy"):
            report = next(session.reports())
        return session.hello, report


def check(report: KillReport) -> None:
    assert (report.victim.uid, report.victim.oom_score_adj) == (19001, 900)
    assert report.victim.name == "greedy"
    assert report.carrier != Carrier.CARRIER_UNSPECIFIED
    assert report.times.signalled_ns >= report.times.decided_ns >= report.times.seen_ns > 0
    assert report.times.exited_ns >= report.times.decided_ns
    assert report.memory_back != KillReport.NOT_SEEN
    assert report.freed_kb > 0
    assert report.before.HasField("psi_some_total_us"), "stall is sensed on every kernel"
