# SPDX-License-Identifier: Apache-2.0
"""The device's own record of who lived and who died, and what it says about a killer.

It comes from the population's parent, which watches each child by its pidfd; no kill
report has a part in it. So the order of deaths, and whether a report is true, are
judged by a witness that knows nothing of the reports.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lmk.proto.record_pb2 import KillReport

__all__ = ["Death", "Life", "Possible", "disagreements", "order_violations"]

_SIGKILL = 9
#: /proc/PID/stat counts start times in ticks of 10 ms (USER_HZ, the same on every ABI).
_TICK_NS = 10_000_000
#: A process that began while another was already dying was not there to be chosen instead.
_DYING_NS = 200_000_000
#: Where the handlers missed an exit (a program that a CPU is in already does not run again),
#: the agent times it as it hears of it, which may be that much later than the parent did.
_HEARD_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Life:
    """One process of the population.

    :ivar time_ns: when it was started, CLOCK_BOOTTIME.
    :ivar start_ticks: /proc/PID/stat field 22: with the pid, its identity.
    :ivar adj: oom_score_adj that it began with.
    """

    time_ns: int
    name: str
    pid: int
    start_ticks: int
    uid: int
    adj: int

    @property
    def identity(self) -> tuple[int, int]:
        """Pid and start time: never the same for two processes of one boot."""
        return self.pid, self.start_ticks


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended.

    :ivar time_ns: when its parent heard of it, CLOCK_BOOTTIME; in the order of deaths.
    :ivar signal: that ended it; 0 when it exited by itself.
    :ivar asked: its parent had told it to end.
    """

    life: Life
    time_ns: int
    signal: int
    asked: bool

    @property
    def killed(self) -> bool:
        """Somebody killed it."""
        return self.signal == _SIGKILL and not self.asked


class Possible(Protocol):
    """What a process may have been at a moment, where that changes while it lives."""

    def adjs(self, life: Life, from_ns: int, until_ns: int) -> set[int]:
        """Every oom_score_adj that it may have had within that time."""

    def uids(self, life: Life, at_ns: int) -> set[int]:
        """Every uid that it may have had then."""


class _Unchanging:
    def adjs(self, life: Life, from_ns: int, until_ns: int) -> set[int]:  # noqa: ARG002
        return {life.adj}

    def uids(self, life: Life, at_ns: int) -> set[int]:  # noqa: ARG002
        return {life.uid}


def order_violations(
    lives: Iterable[Life],
    deaths: Sequence[Death],
    sealed_ns: Mapping[tuple[int, int], int] | None = None,
) -> list[str]:
    """Each kill of a process while one with a higher oom_score_adj lived, as one line.

    :param sealed_ns: by identity when the kernel queued its SIGKILL; who is not in it was
        doomed when its parent heard of its end. A CPU may leave a process on its way out for
        as long as it likes, so that one that was killed first ends last.
    """
    everyone = list(lives)
    ended = {death.life.identity: death.time_ns for death in deaths} | dict(sealed_ns or {})
    found = []
    for death in sorted(deaths, key=lambda death: ended[death.life.identity]):
        if not death.killed:
            continue
        at_ns = ended[death.life.identity]
        spared = [
            life
            for life in everyone
            if life.adj > death.life.adj
            and life.time_ns + _DYING_NS < at_ns
            and ended.get(life.identity, at_ns + 1) > at_ns
        ]
        if spared:
            first = max(spared, key=lambda life: life.adj)
            found.append(
                f"{death.life.name} (adj {death.life.adj}) died before "
                f"{first.name} (adj {first.adj})"
                + (f" and {len(spared) - 1} more" if len(spared) > 1 else "")
            )
    return found


def disagreements(
    deaths: Sequence[Death],
    reports: Sequence[KillReport],
    possible: Possible | None = None,
) -> list[str]:
    """Everything in which the kill reports and the record of deaths differ, as lines.

    :param possible: what the victims may have been; None: always what they began as.

    A death by SIGKILL without a report, a report without such a death, two reports of
    one death, another uid or adj, and times that cannot be (a decision after the exit
    or after memory came back, an exit long after the parent has heard of it).
    """
    found = []
    possible = _Unchanging() if possible is None else possible
    reported: dict[tuple[int, int], KillReport] = {}
    for report in reports:
        victim = report.victim
        identity = (victim.pid, victim.start_time_ns // _TICK_NS)
        if identity in reported:
            found.append(f"pid {victim.pid} ({victim.name}) is reported twice")
        reported[identity] = report
    for death in deaths:
        if not death.killed:
            continue
        matching = reported.pop(death.life.identity, None)
        if matching is None:
            found.append(f"{_who(death.life)} died by SIGKILL and no report says so")
        else:
            found += _differences(death, matching, possible)
    found += [
        f"pid {report.victim.pid} ({report.victim.name}) is reported and did not die "
        "by SIGKILL in the population"
        for report in reported.values()
    ]
    return found


def _who(life: Life) -> str:
    return f"{life.name} (pid {life.pid}, adj {life.adj})"


def _differences(death: Death, report: KillReport, possible: Possible) -> list[str]:
    life, victim, times = death.life, report.victim, report.times
    found = []
    # Victims are read between the sample and the decision.
    chosen = (report.before.time_ns, times.decided_ns)
    if victim.uid not in possible.uids(life, times.decided_ns):
        found.append(f"{_who(life)} has uid {life.uid}, reported {victim.uid}")
    if victim.oom_score_adj not in possible.adjs(life, *chosen):
        found.append(f"{_who(life)} is reported with adj {victim.oom_score_adj}")
    if report.dry_run or not times.HasField("signalled_ns"):
        found.append(f"{_who(life)} died, and its report says that no signal was sent")
    # The kill call may return after the victim is gone, when its CPU was taken from it.
    if times.HasField("signalled_ns") and times.signalled_ns < times.decided_ns:
        found.append(f"{_who(life)}: decided comes after signalled")
    phases = [("seen", times.seen_ns), ("decided", times.decided_ns)]
    if times.HasField("exited_ns"):
        phases.append(("exited", times.exited_ns))
    phases.append(("parent heard of it", death.time_ns + _HEARD_NS))
    for (earlier, before_ns), (later, after_ns) in itertools.pairwise(phases):
        if before_ns > after_ns:
            found.append(f"{_who(life)}: {earlier} comes after {later}")
    if times.HasField("memory_back_ns") and times.memory_back_ns < times.decided_ns:
        found.append(f"{_who(life)}: decided comes after memory back")
    return found
