# SPDX-License-Identifier: Apache-2.0
"""The phones' ABI: an arm64 guest boots, adb reaches it, the bundle loads, a kill is reported."""

from __future__ import annotations

import os

import pytest

import lmk
from lmk import virtual
from lmk.device.resolve import connect
from lmk.policy import parse
from lmk.proto.record_pb2 import Carrier, KillPath, KillReport
from lmk.workload import Eater

pytestmark = [pytest.mark.virtual_only, pytest.mark.timeout(600)]

ONLY_OURS = parse("only_uids { first: 19000 last: 19009 }")


def test_an_arm64_device_reports_a_kill() -> None:
    guest = virtual.up(f"virtual:7.3-arm64#test-{os.getpid()}", detached=False)
    try:
        with connect(guest.name) as device:
            assert device.run("uname -m").text.strip() == "aarch64"
            with lmk.attach(device, ONLY_OURS) as session:
                assert session.hello.abi == "aarch64"
                with Eater(device, 60_000, adj=900, uid=19001, floor_mb=0, name="greedy"):
                    report = next(session.reports())
    finally:
        guest.down()
    assert (report.victim.uid, report.victim.oom_score_adj) == (19001, 900)
    assert report.path == KillPath.KILL_PATH_IN_KERNEL
    assert report.carrier != Carrier.CARRIER_UNSPECIFIED
    assert report.times.signalled_ns >= report.times.decided_ns >= report.times.seen_ns > 0
    assert report.memory_back != KillReport.NOT_SEEN
    assert report.freed_kb > 0
