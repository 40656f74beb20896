# SPDX-License-Identifier: Apache-2.0
"""The workload on a device: identities only root can give, and its end with the link."""

from __future__ import annotations

import signal
import time
from datetime import timedelta

import pytest

from lmk.device.interface import Device
from lmk.device.root import find_root
from lmk.errors import LmkError, UsageError
from lmk.workload import Eater, Population, Row
from lmk.workload.stall import Stall
from lmk.workload.vitals import read_vitals, uids_in_use

_DEADLINE_S = 60.0
_MINUTE = timedelta(minutes=1)
ROWS = [
    Row("com.example.system", 99050, -900, 2048),
    Row("com.example.front", 99051, 0, 2048, touch_ms=1000),
    Row("com.example.cached", 99060, 950, 2048, count=3),
]


def _await_gone(device: Device, pid: int) -> None:
    end = time.monotonic() + _DEADLINE_S
    while device.stat(f"/proc/{pid}") is not None:
        assert time.monotonic() < end, f"process {pid} lives on"
        time.sleep(0.1)


def _field(device: Device, pid: int, name: str) -> str:
    lines = device.read_file(f"/proc/{pid}/status").decode().splitlines()
    return next(line.split(None, 1)[1] for line in lines if line.startswith(f"{name}:"))


def test_processes_have_uids_and_adjs_of_their_own(device: Device) -> None:
    with Population(device, ROWS) as population:
        assert population.protected
        alive = population.alive
        assert sorted(alive) == [
            "com.example.cached1",
            "com.example.cached2",
            "com.example.cached3",
            "com.example.front",
            "com.example.system",
        ]
        for life in alive.values():
            adj = int(device.read_file(f"/proc/{life.pid}/oom_score_adj"))
            assert (adj, int(_field(device, life.pid, "Uid").split()[0])) == (life.adj, life.uid)
            assert int(_field(device, life.pid, "RssAnon").split()[0]) >= 2048
            assert device.read_file(f"/proc/{life.pid}/cmdline").rstrip(b"\0").decode() == life.name
        assert uids_in_use(device, 99050, 99069) == {
            99050: ".example.system",
            99051: "m.example.front",
            99060: "example.cached1",
            99061: "example.cached2",
            99062: "example.cached3",
        }
    assert uids_in_use(device, 99050, 99069) == {}


def test_kill_is_in_the_record_and_refill_makes_up_for_it(device: Device) -> None:
    root = find_root(device)
    with Population(device, ROWS) as population:
        victim = population.alive["com.example.cached2"]
        root.run(f"kill -9 {victim.pid}")
        end = time.monotonic() + _DEADLINE_S
        while not population.deaths:
            assert time.monotonic() < end
            population.listen(timedelta(seconds=0.2))
        (death,) = population.deaths
        assert (death.life, death.signal, death.killed) == (victim, signal.SIGKILL, True)
        population.refill()
        assert population.alive["com.example.cached2"].identity != victim.identity
    assert [death.killed for death in population.deaths] == [True] + [False] * 5


def test_growth_is_reached_and_given_back(device: Device) -> None:
    with Population(device, ROWS) as population:
        pid = population.alive["com.example.front"].pid
        population.grow("com.example.front", 16, 100)
        assert population.await_sized("com.example.front", _MINUTE)
        assert int(_field(device, pid, "RssAnon").split()[0]) >= 18 * 1024
        population.shrink("com.example.front")
        assert int(_field(device, pid, "RssAnon").split()[0]) < 4 * 1024


def test_population_ends_with_its_stream(device: Device) -> None:
    population = Population(device, ROWS)
    pids = [life.pid for life in population.alive.values()]
    population._talk.close()  # as when the link breaks
    for pid in pids:
        _await_gone(device, pid)


@pytest.mark.parametrize("rows_after_it", [0, 100])  # which the program has not read when it ends
def test_row_that_cannot_be_is_an_error_and_leaves_nothing(
    device: Device, rows_after_it: int
) -> None:
    bad = Row("com.example.bad", 99070, 1001, 2048)
    with pytest.raises(LmkError, match="bad row"):
        Population(device, [*ROWS, bad, *rows_after_it * ROWS[:1]])
    end = time.monotonic() + _DEADLINE_S
    while uids_in_use(device, 99050, 99079):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_eater_ends_with_its_stream(device: Device) -> None:
    with Eater(device, 16) as eater:
        states = [eater.next(_MINUTE)]
        while states[-1] is not None and states[-1].phase != "grown":
            states.append(eater.next(_MINUTE))
        last = states[-1]
        assert last is not None
        assert last.eaten_kb == 16 * 1024
    _await_gone(device, last.pid)


def test_eater_stops_at_the_floor(device: Device) -> None:
    vitals = read_vitals(device)
    floor_mb = vitals.available_kb // 1024 - 32
    with Eater(device, 4096, floor_mb=floor_mb) as eater:
        state = eater.next(_MINUTE)
        while state is not None and state.phase != "floor":
            state = eater.next(_MINUTE)
        assert state is not None
        assert state.eaten_kb < 64 * 1024
        # Others use memory too: what the eater took is what counts, with a step to spare.
        assert read_vitals(device).available_kb > (floor_mb - 16) * 1024


def test_eater_that_is_killed_says_so(device: Device) -> None:
    root = find_root(device)
    with Eater(device, 4) as eater:
        state = eater.next(_MINUTE)
        assert state is not None
        root.run(f"kill -9 {state.pid}")
        phases = [state.phase for state in eater]
        assert phases[-1] == "killed"


def test_eater_with_a_bad_name_is_refused(device: Device) -> None:
    with Eater(device, 4, name='"; reboot') as eater, pytest.raises(UsageError, match="name"):
        eater.next(_MINUTE)


def test_stall_shows_in_psi_and_ends(device: Device) -> None:
    if not read_vitals(device).swap_total_kb:
        pytest.skip("nothing to reclaim to without swap")
    with Stall(device):
        before = device.read_file("/proc/pressure/memory")
        time.sleep(1)
        assert device.read_file("/proc/pressure/memory") != before
    left = find_root(device).run("ls -d /sys/fs/cgroup/lmk-stall-* 2>/dev/null").text
    assert left == ""
