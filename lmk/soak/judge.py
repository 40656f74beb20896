# SPDX-License-Identifier: Apache-2.0
"""What a killer did, held against the device's own record of a long run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lmk.policy import Policy
from lmk.proto.policy_pb2 import UidRange
from lmk.proto.record_pb2 import KillReport
from lmk.workload.history import Course, History
from lmk.workload.record import disagreements
from lmk.workload.signal_trace import SentSignal

__all__ = ["ADJ_NEVER", "differences", "strangers", "wrong_victims"]

#: Never killed, whatever a policy says.
ADJ_NEVER = -1000
_SIGKILL = 9
#: /proc/PID/stat counts start times in ticks of 10 ms (USER_HZ, the same on every ABI).
_TICK_NS = 10_000_000


def differences(history: History, reports: Sequence[KillReport]) -> list[str]:
    """Each death by SIGKILL without its one report, each report without its death, as lines.

    One that was on its way out by itself when the signal came is no death by SIGKILL and may be
    reported as a kill all the same: both are true. So :meth:`History.take_signals` comes first.
    """
    reported = {_identity(report) for report in reports}
    deaths = [
        replace(death, signal=_SIGKILL)
        if history.course(death.life).met_exit and death.life.identity in reported
        else death
        for death in history.deaths
    ]
    return disagreements(deaths, reports, history)


def wrong_victims(history: History, reports: Iterable[KillReport], policy: Policy) -> list[str]:
    """Each kill that was wrong whatever may have been at that moment, as a line.

    Of one that may never die, of one below the floor of its own reason, of one while another
    that could be killed had a higher oom_score_adj for certain.
    """
    courses = {course.life.identity: course for course in history.courses}
    found = []
    for report in reports:
        course = courses.get(_identity(report))
        if course is None:
            continue  # differences() says so
        span = (report.before.time_ns, report.times.decided_ns)
        highest = max(course.adjs(*span))
        who = f"{course.life.name} (pid {course.life.pid}, adj {highest})"
        if highest <= ADJ_NEVER:
            found.append(f"{who} was killed, and may never be")
        if highest < report.min_oom_score_adj:
            found.append(f"{who} was killed below the floor, {report.min_oom_score_adj}")
        if not any(_may_die(policy, uid) for uid in course.uids(report.times.decided_ns)):
            found.append(f"{who} was killed, and the policy says that its uid may not be")
        spared = [
            other
            for other in courses.values()
            if other is not course
            and other.surely_there(*span)
            and min(other.adjs(*span)) > highest
            and _may_die(policy, other.life.uid)
        ]
        if spared:
            found.append(f"{who} was killed while there {_named(spared, span)}")
    return found


def strangers(history: History, sent: Iterable[SentSignal]) -> list[str]:
    """Each SIGKILL that was queued for a pid that was nobody of the population's then."""
    found = []
    for signal in sent:
        if not signal.delivered:
            continue
        ours = any(
            course.life.pid == signal.pid
            and course.life.time_ns <= signal.time_ns
            and (course.death is None or signal.time_ns <= course.death.time_ns)
            for course in history.courses
        )
        if not ours:
            found.append(
                f"pid {signal.pid} got a SIGKILL at {signal.time_ns / 1e9:.6f} s, and was none of "
                "the population's"
            )
    return found


def _identity(report: KillReport) -> tuple[int, int]:
    return report.victim.pid, report.victim.start_time_ns // _TICK_NS


def _may_die(policy: Policy, uid: int) -> bool:
    def within(ranges: Iterable[UidRange]) -> bool:
        return any(entry.first <= uid <= entry.last for entry in ranges)

    only = not policy.only_uids or within(policy.only_uids)
    return only and not within(policy.protected_uids)


def _named(spared: Sequence[Course], span: tuple[int, int]) -> str:
    first = max(spared, key=lambda course: min(course.adjs(*span)))
    more = f" and {len(spared) - 1} more" if len(spared) > 1 else ""
    return f"was {first.life.name} (adj {min(first.adjs(*span))}){more}"
