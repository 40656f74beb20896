# SPDX-License-Identifier: Apache-2.0
"""The benches run and measure every figure they promise; how fast is not a test's business."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import timedelta

import pytest

from lmk.attachment import detach
from lmk.bench.agent import bench_agent
from lmk.bench.attach import bench_attach
from lmk.bench.figures import Entry
from lmk.bench.growth import bench_growth
from lmk.bench.kill import bench_kill
from lmk.bench.killers.measure import UNITS
from lmk.bench.killers.publish import Where, to_json
from lmk.bench.killers.run import Setting
from lmk.bench.killers.scene import CACHED, LOADS, Scene
from lmk.bench.killers.series import run_series
from lmk.bench.killers.spec import parse_spec
from lmk.bench.killers.summary import summarise
from lmk.build import Bundle, build
from lmk.device.interface import Device
from lmk.policy import preset
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
    device: Device, bundle: Bundle, kill_path: str
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
    assert entry.path == kill_path


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


@pytest.mark.timeout(600)
@pytest.mark.virtual_only  # its victims are not limited to its own population
def test_killers_bench_measures_every_figure_and_its_record_is_consistent(
    device: Device, bundle: Bundle
) -> None:
    vitals = read_vitals(device)
    scene = Scene.of(vitals.available_kb // 4)
    used_kb = sum(row.size_kb for row in scene.rows) + scene.probe_kb
    # Halfway through the burst; lmk sees no scarcity in that.
    level_kb = vitals.available_kb - used_kb - scene.burst_mb * 1024 // 2
    level = f"level@available_below_pct={100 * level_kb // vitals.total_kb}"
    runs = run_series(
        Setting(device, scene, bundle),
        [point for text in (level, "lmk") for point in parse_spec(text).points()],
        [LOADS["burst"]],
        runs=1,
        events=1,
    )
    where = Where(device.serial, "", "", "")
    content = json.loads(to_json(where, summarise(runs), runs, {}))
    assert [entry["load"] for entry in content["entries"]] == ["burst", "burst"]
    assert {run.killer.partition("@")[0] for run in runs} == {"level", "lmk:default"}
    for entry in content["entries"]:
        assert set(entry["figures"]) == set(UNITS)
        for key, figure in entry["figures"].items():
            assert math.isfinite(figure["p50"]), key
    for run in runs:
        values = run.values
        classes = ("cached", "background", "perceptible", "foreground")
        assert values["kills"] == len(run.deaths)
        assert values["kills"] == sum(values[f"kills_{name}"] for name in classes)
        assert values["early_kills"] <= values["kills"]
        assert 0 < values["alive"] <= CACHED
        assert values["relaunches"] == values["kernel_oom_kills"] == 0
        assert values["growths_unfinished"] == values["probe_deaths"] == 0
        assert values["latency_p50_ms"] <= values["latency_p99_ms"] <= values["latency_max_ms"]
        assert values["killer_rss_kb"] > 0
        assert all(0 <= int(death["time_ms"]) <= values["length_s"] * 1000 for death in run.deaths)
        assert run.faults == ()
    by_level, by_lmk = runs
    assert by_level.values["kills_cached"] > 0
    assert by_level.values["freed_kb_per_kill"] > 0
    assert by_level.values["alive"] < by_lmk.values["alive"] == CACHED
    assert by_lmk.path in ("in_kernel", "assisted")
    assert by_lmk.values["killer_bpf_ms_per_s"] > 0
    assert not detach(device)


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
