# SPDX-License-Identifier: Apache-2.0
"""``tools/bench agent``: what agent and handlers cost a device at rest, and over many kills."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

import lmk
from lmk import progress
from lmk.bench.figures import Entry, Limit, value
from lmk.bench.target import entry
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.errors import LmkError, ProtocolError
from lmk.policy import Policy
from lmk.proto.control_pb2 import Status
from lmk.session import Session
from lmk.workload.android import FIRST_UID, LAST_UID
from lmk.workload.population import Population, Row
from lmk.workload.stall import Stall
from lmk.workload.vitals import read_vitals

__all__ = ["IDLE", "KILLS", "BpfCost", "BpfStatistics", "bench_agent", "bpf_cost"]

IDLE = timedelta(seconds=60)
KILLS = 1000
#: After attach: its own work ends before the device is called idle.
_SETTLE_S = 5.0
_TICKS_PER_S = 100  # USER_HZ, the same on every ABI
_TINY_KB = 128
_TINY_AT_ONCE = 100
_KILL_PATIENCE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class _Cost:
    """What agent and guardian have used of the device, as /proc counts it."""

    time_s: float
    cpu_ticks: int
    wakeups: int


@dataclass(frozen=True, slots=True)
class BpfCost:
    """What the handlers have used, as kernel and handlers count it."""

    time_s: float
    run_ns: int
    decisions: int


def bench_agent(
    device: Device,
    policy: Policy,
    *,
    bundle: Bundle,
    idle: timedelta = IDLE,
    kills: int = KILLS,
) -> Entry:
    """Watch an idle session, then kill `kills` tiny processes and look at its files again."""
    vitals = read_vitals(device)
    root = find_root(device)
    with (
        progress.steps(f"agent: on {device.serial}") as task,
        lmk.attach(device, policy, bundle=bundle) as session,
        BpfStatistics(root),
    ):
        time.sleep(_SETTLE_S)
        task.step(f"{idle.total_seconds():g} s at rest")
        # A request wakes the agent: the first is before the window, the last after it.
        status = session.status()
        pids = (status.agent_pid, status.guardian_pid)
        bpf_begin, begin = bpf_cost(device, status), _cost(root, pids)
        time.sleep(idle.total_seconds())
        end, status = _cost(root, pids), session.status()
        bpf_end = bpf_cost(device, status)
        if (status.agent_pid, status.guardian_pid) != pids:
            raise LmkError(f"{device.serial}: the agent was restarted while it was at rest")
        task.done()
        elapsed_s = end.time_s - begin.time_s
        cpu_share = (end.cpu_ticks - begin.cpu_ticks) / _TICKS_PER_S / elapsed_s
        bpf_elapsed_s = bpf_end.time_s - bpf_begin.time_s
        bpf_share = (bpf_end.run_ns - bpf_begin.run_ns) / 1e9 / bpf_elapsed_s
        memory = _memory(root, status.agent_pid)
        guardian = _memory(root, status.guardian_pid)
        files = _open_files(root, status.agent_pid)
        figures = {
            "vm_rss_kb": value("KiB", memory["VmRSS"], Limit("value", 2048)),
            "rss_anon_kb": value("KiB", memory["RssAnon"], Limit("value", 512)),
            "guardian_vm_rss_kb": value("KiB", guardian["VmRSS"]),
            "cpu_idle_pct": value("%", 100 * (cpu_share + bpf_share), Limit("value", 0.1)),
            "open_files": value("files", files, Limit("value", 48)),
            "wakeups_per_s": value(
                "1/s", (end.wakeups - begin.wakeups) / elapsed_s, Limit("value", 2)
            ),
            "decisions_per_s": value(
                "1/s",
                (bpf_end.decisions - bpf_begin.decisions) / bpf_elapsed_s,
                Limit("value", 2),
            ),
            "bpf_run_us_per_s": value("us/s", 1e6 * bpf_share),
        }
        hello = session.hello
        if kills:
            task.step(f"{kills} kills")
            done = _kill_many(device, session, policy, kills, bundle)
            files_after = _open_files(root, session.status().agent_pid)
            figures["kills"] = value("kills", done, Limit("value", at_least=kills))
            figures["open_files_after_kills"] = value(
                "files", files_after, Limit("value", float(files))
            )
            task.done()
    return entry(device, hello, vitals, figures)


def _kill_many(device: Device, session: Session, policy: Policy, kills: int, bundle: Bundle) -> int:
    """Have that many tiny processes killed, as fast as it goes; returns how many were."""
    hasty = Policy()
    hasty.CopyFrom(policy)
    hasty.name = "bench: any stall kills"
    hasty.scarcity.available_below_pct = 100
    hasty.stall.psi_partial_stall_ms = 1
    hasty.stall.psi_window_size_ms = 10_000
    hasty.stall.partial_stall_min_score = 900
    del hasty.only_uids[:]
    hasty.only_uids.add(first=FIRST_UID, last=LAST_UID)
    rows = [Row("tiny", FIRST_UID, 950, _TINY_KB, count=_TINY_AT_ONCE)]
    with Stall(device), Population(device, rows, bundle=bundle) as population:
        session.set_policy(hasty)
        try:
            end = time.monotonic() + _KILL_PATIENCE.total_seconds()
            while (done := sum(death.killed for death in population.deaths)) < kills:
                if time.monotonic() > end:
                    break
                if len(population.alive) < _TINY_AT_ONCE // 2:
                    population.refill()
                population.listen(timedelta(seconds=0.2))
        finally:
            session.set_policy(policy)
    return done


def _cost(root: Root, pids: tuple[int, ...]) -> _Cost:
    """CPU time and voluntary context switches (a sleep each, so a wake-up each)."""
    paths = " ".join(f"/proc/{pid}/stat /proc/{pid}/task/*/status" for pid in pids)
    listed = root.run(f"cat {paths}")
    ticks = wakeups = 0
    for line in listed.text.splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            wakeups += int(line.split()[1])
        elif line.partition(" ")[0].isdigit():
            # Fields 14 and 15; comm, which may hold spaces, ends with the last bracket.
            fields = line.rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return _Cost(time.monotonic(), ticks, wakeups)


def bpf_cost(device: Device, status: Status) -> BpfCost:
    """What `status` says of it; run times need :class:`BpfStatistics`."""
    counters = {counter.name: counter.value for counter in status.counters}
    programs_ns = sum(program.run_time_ns for program in status.programs)
    try:
        return BpfCost(
            time_s=time.monotonic(),
            # The kernel's statistics miss timer and work-queue callbacks.
            run_ns=programs_ns + counters["tick_ns"] + counters["deferred_ns"],
            decisions=counters["decisions"],
        )
    except KeyError as error:
        raise ProtocolError(
            f"{device.serial}: the agent's status has no counter {error.args[0]}"
        ) from error


def _memory(root: Root, pid: int) -> dict[str, int]:
    """VmRSS, RssAnon … of a process, in KiB."""
    lines = root.run(f"cat /proc/{pid}/status").text.splitlines()
    fields = (line.partition(":") for line in lines if line.endswith(" kB"))
    return {name: int(size.split()[0]) for name, _, size in fields}


def _open_files(root: Root, pid: int) -> int:
    return len(root.run(f"ls /proc/{pid}/fd").text.split())


class BpfStatistics:
    """The kernel counts the run time of BPF programs while the block runs."""

    _SYSCTL = "/proc/sys/kernel/bpf_stats_enabled"

    def __init__(self, root: Root) -> None:
        self._root = root
        self._before = "0"

    def __enter__(self) -> Self:
        self._before = self._root.run(f"cat {self._SYSCTL}").text.strip() or "0"
        self._root.run(f"echo 1 > {self._SYSCTL}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._root.run(f"echo {self._before} > {self._SYSCTL}")
