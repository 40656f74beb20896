# SPDX-License-Identifier: Apache-2.0
"""``tools/bench socket``: lmkd's socket as ActivityManager uses it, with lmk in lmkd's place.

A thousand processes are registered, one a packet and three a packet; then their oom_score_adj is
changed ten thousand times a second, for a minute. Nothing may be lost: each process is looked at,
and where the kernel can count writes of oom_score_adj, it does.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta

import lmk
from lmk import progress
from lmk.bench.figures import Entry, Figure, Limit, value
from lmk.bench.target import entry
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.errors import LmkError
from lmk.policy import Policy
from lmk.session import Session
from lmk.virtual.services import LMKD_SOCKET
from lmk.workload.conversation import LEASE, Conversation, Event
from lmk.workload.install import install
from lmk.workload.vitals import read_vitals

__all__ = ["PROCESSES", "RATE", "SECONDS", "bench_socket"]

PROCESSES, RATE, SECONDS = 1000, 10_000, 60
_REGISTER_S = 1.0
_PATIENCE = timedelta(minutes=5)
_TICKS_PER_S = 100  # USER_HZ, the same on every ABI
#: The kernel's own count of all writes of oom_score_adj.
_TRIGGER = "/sys/kernel/tracing/events/oom/oom_score_adj_update"


def bench_socket(
    device: Device,
    policy: Policy,
    *,
    bundle: Bundle,
    processes: int = PROCESSES,
    rate: int = RATE,
    seconds: int = SECONDS,
) -> tuple[Entry, list[str]]:
    """Measure; and what must not be: changes that are not there.

    :param rate: changes in a second.
    :raises lmk.errors.UnsupportedError: no lmkd is there to be replaced.
    """
    vitals = read_vitals(device)
    root = find_root(device)
    calm = Policy()
    calm.CopyFrom(policy)
    calm.name = "bench: nobody dies"
    calm.scarcity.available_below_pct = 0
    faults: list[str] = []
    with ExitStack() as stack:
        task = stack.enter_context(progress.steps(f"socket: on {device.serial}"))
        task.step("attach in lmkd's place")
        session = stack.enter_context(
            lmk.attach(device, calm, bundle=bundle, replace_lmkd=True, prockill_bytes=16)
        )
        task.step(f"start {processes} processes")
        path = install(device, "lmk-bench", root=root, bundle=bundle)
        command = [path, "adjust", "--socket", LMKD_SOCKET, "--processes", str(processes)]
        command += ["--rate", str(rate), "--seconds", str(seconds)]
        command += ["--lease-s", str(int(LEASE.total_seconds()))]
        counting = _count_writes(root)
        talk = stack.enter_context(Conversation(device, command, root=root))
        _hear(talk, "start")
        single, triple = _hear(talk, "registered"), _hear(talk, "registered")
        begin = _agent_ticks(root, session)
        task.step(f"{rate} changes a second for {seconds} s")
        changed = _hear(talk, "changed")
        ticks = _agent_ticks(root, session) - begin
        task.done()
        if counting:
            written, wanted = _written(root), 2 * processes + int(changed["count"])
            # Whoever is started writes its own; fewer than were told are the fault.
            if written < wanted:
                faults.append(f"{wanted - written} changes of {wanted} were never written")
        faults += [
            f"{event['wrong']} processes have another oom_score_adj than they were given"
            for event in (single, triple, changed)
            if event["wrong"]
        ]
        found = entry(
            device,
            session.hello,
            vitals,
            _figures(processes, rate, single, triple, changed, ticks),
        )
    return found, faults


def _figures(
    processes: int, rate: int, single: Event, triple: Event, changed: Event, ticks: int
) -> dict[str, Figure]:
    single_s, triple_s = int(single["ns"]) / 1e9, int(triple["ns"]) / 1e9
    elapsed_s = int(changed["ns"]) / 1e9
    return {
        f"procprio_{processes}_s": value("s", single_s, Limit("value", _REGISTER_S)),
        f"procs_prio_{processes}_s": value("s", triple_s, Limit("value", single_s)),
        "changes": value("changes", int(changed["count"])),
        # A sender that is held up falls behind its rate.
        "changes_per_s": value(
            "1/s", int(changed["count"]) / elapsed_s, Limit("value", at_least=0.99 * rate)
        ),
        "wrong": value("processes", int(changed["wrong"]), Limit("value", 0)),
        "agent_cpu_pct": value("%", 100 * ticks / _TICKS_PER_S / elapsed_s),
        "agent_cpu_us_per_change": value("us", 1e6 * ticks / _TICKS_PER_S / int(changed["count"])),
    }


def _hear(talk: Conversation, wanted: str) -> Event:
    event = talk.hear(_PATIENCE)
    if event is None or event["event"] != wanted:
        said = event["message"] if event and event["event"] == "error" else event
        raise LmkError(f"lmk-bench adjust: {wanted!r} was to come, and not {said!r}")
    return event


def _agent_ticks(root: Root, session: Session) -> int:
    fields = root.run(f"cut -d')' -f2 /proc/{session.status().agent_pid}/stat").text.split()
    return int(fields[11]) + int(fields[12])


def _count_writes(root: Root) -> bool:
    """Have the kernel count; False where it cannot."""
    command = f"echo 'hist:keys=common_pid' > {_TRIGGER}/trigger"
    return root.run(f"[ -e {_TRIGGER}/hist ] && {command}").exit_code == 0


def _written(root: Root) -> int:
    said = root.run(f"cat {_TRIGGER}/hist; echo '!hist:keys=common_pid' > {_TRIGGER}/trigger").text
    hits = [line.split()[1] for line in said.splitlines() if line.strip().startswith("Hits:")]
    return int(hits[0]) if hits else 0
