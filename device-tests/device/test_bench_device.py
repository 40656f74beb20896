# SPDX-License-Identifier: Apache-2.0
"""The benches run and measure every figure they promise; how fast is not a test's business."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

import pytest

from lmk.bench.agent import bench_agent
from lmk.bench.attach import bench_attach
from lmk.bench.figures import Entry
from lmk.bench.growth import bench_growth
from lmk.bench.kill import bench_kill
from lmk.build import Bundle, build
from lmk.device.interface import Device
from lmk.policy import preset
from lmk.session import detach
from lmk.workload.vitals import read_vitals


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build()


@pytest.fixture(autouse=True)
def _nothing_attached(device: Device) -> Iterator[None]:
    detach(device)
    yield
    detach(device)


def _check(entry: Entry, keys: set[str]) -> None:
    assert keys <= set(entry.figures)
    assert entry.kernel
    assert entry.abi in ("x86_64", "aarch64")
    for key in keys:
        for number in entry.figures[key].numbers.values():
            assert math.isfinite(number), key


@pytest.mark.timeout(600)
@pytest.mark.virtual_only  # its victims are not limited to its own population
def test_kill_bench_measures_every_phase_and_agrees_with_the_record(
    device: Device, bundle: Bundle
) -> None:
    entry, faults = bench_kill(device, preset("default"), bundle=bundle, cycles=1)
    assert faults == []
    latencies = {
        "seen_to_signal_ms",
        "gated_ms",
        "signal_to_exit_ms",
        "signal_to_memory_back_ms",
    }
    counts = {"kernel_oom_kills", "order_violations", "foreground_deaths", "cycles"}
    _check(entry, latencies | counts)
    assert all(entry.figures[key].numbers["n"] > 0 for key in latencies)
    assert entry.path == "in_kernel"


@pytest.mark.timeout(600)
def test_agent_bench_measures_rest_and_kills(device: Device, bundle: Bundle) -> None:
    if not read_vitals(device).swap_total_kb:
        pytest.skip("the bench stalls a process against its swap")
    entry = bench_agent(
        device, preset("default"), bundle=bundle, idle=timedelta(seconds=2), kills=20
    )
    keys = {"vm_rss_kb", "rss_anon_kb", "cpu_idle_pct", "open_files", "wakeups_per_s"}
    _check(entry, keys | {"bpf_run_us_per_s", "decisions_per_s"})
    assert entry.figures["kills"].numbers["value"] >= 20
    assert (
        entry.figures["open_files_after_kills"].numbers["value"]
        <= entry.figures["open_files"].numbers["value"]
    )


@pytest.mark.timeout(300)
def test_attach_bench_leaves_nothing_attached(device: Device, bundle: Bundle) -> None:
    entry = bench_attach(device, preset("default"), bundle=bundle, runs=1)
    _check(entry, {"attach_to_hello_s"})
    assert not detach(device)


@pytest.mark.timeout(600)
def test_growth_bench_measures_decisions_among_as_many_as_it_says(
    device: Device, bundle: Bundle
) -> None:
    entries = bench_growth(device, preset("default"), bundle=bundle, counts=(100, 200), kills=6)
    assert len({entry.variant for entry in entries}) == 2
    for entry in entries:
        for count in (100, 200):
            keys = {f"seen_to_decided_{count}_ms", f"seen_to_signal_{count}_ms", f"bpf_{count}_ms"}
            _check(entry, keys)
            assert entry.figures[f"seen_to_signal_{count}_ms"].numbers["n"] == 6
            live = entry.figures[f"live_{count}"].numbers["value"]
            assert count * 0.97 <= live <= count + 40  # and what the device has of its own
    assert not detach(device)
