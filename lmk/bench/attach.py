# SPDX-License-Identifier: Apache-2.0
"""``tools/bench attach``: from the call of attach to the agent's Hello, on a warm device."""

from __future__ import annotations

import time

import lmk
from lmk import progress
from lmk.bench.figures import Entry, Limit, distribution
from lmk.bench.target import entry
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.policy import Policy
from lmk.workload.vitals import read_vitals

__all__ = ["RUNS", "bench_attach"]

RUNS = 10


def bench_attach(device: Device, policy: Policy, *, bundle: Bundle, runs: int = RUNS) -> Entry:
    """Attach and detach `runs` times, after once that is not counted: it builds and pushes."""
    seconds = []
    with progress.steps(f"attach: {runs} times on {device.serial}"):
        with lmk.attach(device, policy, bundle=bundle) as session:
            hello = session.hello
        for _ in range(runs):
            begin = time.monotonic()
            with lmk.attach(device, policy, bundle=bundle):
                seconds.append(time.monotonic() - begin)
    figures = {"attach_to_hello_s": distribution("s", seconds, Limit("p50", 3.0))}
    return entry(device, hello, read_vitals(device), figures)
