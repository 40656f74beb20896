# SPDX-License-Identifier: Apache-2.0
"""Three minutes of soak, and a witness that has nothing of lmk in it.

The witness is ``tools/witness.py``, under the Python and the BCC of a Debian root beside the
device's own. It has to agree with the stream and with the population's parent kill for kill.
``$LMK_SOAK_MINUTES`` makes it longer or shorter.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from lmk import virtual
from lmk.build import build
from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.policy import load
from lmk.soak.run import Outcome, soak
from lmk.workload import Eater
from lmk.workload.conversation import Conversation, Event

pytestmark = pytest.mark.timeout(1800)

_MINUTES = float(os.environ.get("LMK_SOAK_MINUTES", "3"))
_SEED = 20260101
_TOOL = Path(__file__).resolve().parents[2] / "tools" / "witness.py"
#: LLVM compiles for 15 s on an emulated CPU that nobody else wants.
_PATIENCE = timedelta(minutes=5)
_SI_KERNEL = 128


@dataclass
class Watched:
    """A soak, and what the witness said meanwhile (nothing where it cannot run)."""

    outcome: Outcome
    witness: list[Event]
    allocstalls: int

    def events(self, kind: str) -> list[Event]:
        return [event for event in self.witness if event["event"] == kind]


@pytest.fixture(scope="module")
def watched(pytestconfig: pytest.Config) -> Iterator[Watched]:
    serial = pytestconfig.getoption("--device")
    if serial is not None:
        with connect(serial) as device:
            yield Watched(_soak(device, own_guest=False), [], 0)
        return
    guest = virtual.up(
        f"virtual#soak-{os.getpid()}",
        ram_mb=1000,
        zram_mb=400,
        debian=["python3-bpfcc"],
        detached=False,
    )
    try:
        with connect(guest.name) as device:
            yield _watch(device)
    finally:
        guest.down()


def _soak(device: Device, *, own_guest: bool) -> Outcome:
    return soak(
        device,
        load("default"),
        bundle=build([device.run("uname -m").text.strip()]),
        duration=timedelta(minutes=_MINUTES),
        seed=_SEED,
        own_guest=own_guest,
    )


def _watch(device: Device) -> Watched:
    device.push(_TOOL.read_bytes(), "/data/witness.py", mode=0o755)
    # What BCC has to say besides does not belong among the JSON lines.
    command = "exec debian python3 /data/witness.py --until-eof 2>/tmp/witness.log"
    heard: list[Event] = []
    with Conversation(device, ["sh", "-c", command]) as witness:
        ready = witness.hear(_PATIENCE)
        assert ready is not None, device.run("cat /tmp/witness.log").text
        assert ready["event"] == "ready"
        stalls = _allocstalls(device)
        outcome = _soak(device, own_guest=True)
        _hold_up(device)
        stalls = _allocstalls(device) - stalls
        device.run(f"kill -TERM {ready['pid']}")
        while (event := witness.hear(_PATIENCE)) is not None:
            heard.append(event)
    return Watched(outcome, heard, stalls)


def _hold_up(device: Device) -> None:
    """Direct reclaim, which a soak may do without: memory is taken until somebody has to wait."""
    before = _allocstalls(device)
    # Were the kernel's OOM killer to act, it would take this one.
    with Eater(device, 4096, adj=1000, floor_mb=0) as eater:
        while _allocstalls(device) == before:
            assert eater.next(_PATIENCE) is not None


def _allocstalls(device: Device) -> int:
    """Direct reclaims since boot, as the kernel counts them."""
    lines = device.read_file("/proc/vmstat").decode().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("allocstall_"))


def test_soak_loses_no_record_and_kills_nobody_wrong(watched: Watched) -> None:
    assert watched.outcome.faults == []
    assert watched.outcome.kills > 0


def test_soak_churns_while_it_kills(watched: Watched) -> None:
    assert {"launch", "adj", "exit", "burst"} <= set(watched.outcome.done)
    changed = [course for course in watched.outcome.history.courses if course.changes]
    assert any(course.death is not None and course.death.killed for course in changed)
    assert any(death.signal == 0 and not death.asked for death in watched.outcome.history.deaths)


@pytest.mark.virtual_only
def test_witness_has_seen_everything(watched: Watched) -> None:
    (end,) = watched.events("end")
    assert end["lost"] == 0
    assert end["missed"]["signal_generate"] == 0
    assert end["missed"]["signal:signal_deliver"] == 0
    assert end["missed"]["sched:sched_process_exit"] == 0
    assert end["signals"] == len(watched.events("signal")) + end["unnamed"]
    assert end["exits"] == len(watched.events("exit"))


@pytest.mark.virtual_only
def test_witness_and_stream_agree_kill_for_kill(watched: Watched) -> None:
    outcome = watched.outcome
    # Their signal met an exit of their own: a kill to the one who sends it, and none to them.
    met_exit = {course.life.pid for course in outcome.history.courses if course.met_exit}
    seen = Counter(
        event["pid"]
        for event in watched.events("exit")
        if event["sigkill"] == "taken" and event["pid"] not in met_exit
    )
    reported = Counter(
        report.victim.pid for report in outcome.reports if report.victim.pid not in met_exit
    )
    died = Counter(death.life.pid for death in outcome.history.deaths if death.killed)
    assert seen == reported
    assert seen == died
    assert set(seen.values()) == {1}


@pytest.mark.virtual_only
def test_every_signal_that_the_witness_saw_is_one_of_a_report(watched: Watched) -> None:
    reports = {report.victim.pid: report for report in watched.outcome.reports}
    (end,) = watched.events("end")
    queued = [event for event in watched.events("signal") if event["result"] == 0]
    named = {event["pid"] for event in queued}
    assert named <= set(reports)
    assert len(set(reports) - named) <= end["unnamed"]
    for event in queued:
        times = reports[event["pid"]].times
        # Sent by the kernel: no process asked for it.
        assert event["code"] == _SI_KERNEL
        assert times.decided_ns <= event["time_ns"]
        assert not times.HasField("exited_ns") or event["time_ns"] <= times.exited_ns


@pytest.mark.virtual_only
def test_exits_by_themselves_are_told_from_kills(watched: Watched) -> None:
    by_themselves = {
        course.life.pid
        for course in watched.outcome.history.courses
        if course.death is not None and course.death.signal == 0 and not course.met_exit
    }
    words = {
        event["pid"]: event["sigkill"]
        for event in watched.events("exit")
        if event["pid"] in by_themselves
    }
    assert set(words) == by_themselves
    assert set(words.values()) == {"none"}


@pytest.mark.virtual_only
def test_reclaim_stalls_are_those_that_the_kernel_counts(watched: Watched) -> None:
    (end,) = watched.events("end")
    # One stall is counted by the kernel at each of its tries; what preempts the witness it misses.
    stalls = end["reclaim"]["stalls"] + sum(end["missed"].values())
    assert 0 < end["reclaim"]["stalls"] <= watched.allocstalls <= 2 * stalls
    assert end["reclaim"]["total_us"] >= end["reclaim"]["max_us"] > 0
    assert end["held_up"]
    assert sum(one["stalls"] for one in end["held_up"]) <= end["reclaim"]["stalls"]
