# SPDX-License-Identifier: Apache-2.0
"""Shadow verdicts beside the kills that really happened.

In shadow (``lmk attach --shadow``) the handlers say whom they would have killed, and report what
the killer that runs does: the kernel's OOM killer, lmkd, any other. Here each verdict finds the
kill that answers to it: of the same process, else of a process of the same class
(:func:`lmk.report.classes.class_of`), not further away than a window; each at most one.
"""

from __future__ import annotations

import enum
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from statistics import median

from lmk.errors import UsageError
from lmk.proto.record_pb2 import KillReport, Lifecycle, OtherKill, Process, Reason
from lmk.report.capture import CapturedRecord
from lmk.report.classes import class_of

__all__ = ["KILLERS", "WITHIN", "Comparison", "Event", "Match", "Pair", "compare"]

#: Longer than a verdict on the same process is held back (shadow_timeout_ms: 10 s).
WITHIN = timedelta(seconds=15)
#: Processes whose SIGKILL is one for memory, by the last part of their name.
KILLERS = ("earlyoom", "lmkd", "nohang", "oomd", "systemd-oomd")
_TICK_NS = 10_000_000


class Match(enum.Enum):
    """What became of a verdict, or what answers to a kill."""

    SAME_VICTIM = "same victim"
    SAME_CLASS = "same class"
    VERDICT_ONLY = "verdict only"
    KILL_ONLY = "kill only"


@dataclass(frozen=True, slots=True)
class Event:
    """A verdict or a kill.

    :ivar time_ns: when it was decided (a verdict) or signalled (a kill): CLOCK_BOOTTIME of the
        device, or, where two boots are compared, since the session began.
    :ivar reason: why; None where somebody else killed.
    :ivar cause: who, where it was not lmk.
    :ivar by: name of the process that sent the signal, as far as it is known.
    :ivar last_ns: of a verdict that was said again: the last time.
    :ivar said: how often it was said.
    """

    process: Process
    time_ns: int
    reason: Reason.ValueType | None = None
    cause: OtherKill.Cause.ValueType | None = None
    by: str = ""
    last_ns: int = 0
    said: int = 1

    @property
    def name(self) -> str:
        """Of the victim."""
        return self.process.name or self.process.comm

    @property
    def class_name(self) -> str:
        """Of the victim: ``cached``, ``previous`` …"""
        return class_of(self.process.oom_score_adj)


@dataclass(frozen=True, slots=True)
class Pair:
    """A verdict, a kill, or both beside each other."""

    match: Match
    verdict: Event | None
    kill: Event | None

    @property
    def earlier_ms(self) -> float | None:
        """By how much the verdict came before the kill (negative: after it), if both are there."""
        if self.verdict is None or self.kill is None:
            return None
        return (self.kill.time_ns - self.verdict.time_ns) / 1e6

    @property
    def time_ns(self) -> int:
        """When the first of both was."""
        return min(event.time_ns for event in (self.verdict, self.kill) if event is not None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All pairs, in the order in which they began.

    :ivar left_out: SIGKILLs that were not for memory, as far as one can tell: how many by whom.
    :ivar lost: records that the captures say are lost; what they held is not compared.
    """

    pairs: Sequence[Pair]
    left_out: Counter[str] = field(default_factory=Counter)
    lost: int = 0

    def count(self, match: Match) -> int:
        """How many pairs of this kind there are."""
        return sum(pair.match is match for pair in self.pairs)

    @property
    def earlier_ms(self) -> float | None:
        """Median over the pairs that agree; None: none does."""
        found = [pair.earlier_ms for pair in self.pairs if pair.earlier_ms is not None]
        return median(found) if found else None


@dataclass(slots=True)
class _Boot:
    """What one capture holds of one boot of one device."""

    begin_ns: int = 0
    verdicts: list[Event] = field(default_factory=list)
    kills: list[Event] = field(default_factory=list)


def compare(
    capture: Iterable[CapturedRecord],
    other: Iterable[CapturedRecord] | None = None,
    *,
    within: timedelta = WITHIN,
    killers: Collection[str] = KILLERS,
) -> Comparison:
    """Lay verdicts and kills side by side.

    :param capture: the verdicts, and the kills too if `other` is None.
    :param other: the kills. It may be of another boot or device (the same load, run twice): then
        times count from the last attachment, and a process is known by name and uid.
    :param within: how far apart a verdict and the kill that answers to it may be.
    :param killers: whose SIGKILL is one for memory, beside the kernel's OOM killer, lmkd and lmk.
    :raises lmk.errors.UsageError: two captures that cannot be laid side by side.
    """
    left_out: Counter[str] = Counter()
    first, lost = _read(capture, killers, left_out if other is None else Counter())
    if other is None:
        return _joined(
            (_pairs(boot.verdicts, boot.kills, within) for boot in first.values()), left_out, lost
        )
    second, lost_too = _read(other, killers, left_out)
    together = [
        (boot.verdicts, second[key].kills, _identity)
        for key, boot in first.items()
        if key in second
    ]
    if not together:
        if len(first) > 1 or len(second) > 1:
            raise UsageError(
                "these captures have no boot in common, and more than one each: "
                "compare captures of one session each"
            )
        one, two = next(iter(first.values()), _Boot()), next(iter(second.values()), _Boot())
        together = [
            (_since(one.verdicts, one.begin_ns), _since(two.kills, two.begin_ns), _namesake)
        ]
    pairs = (_pairs(verdicts, kills, within, who) for verdicts, kills, who in together)
    return _joined(pairs, left_out, lost + lost_too)


def _joined(pairs: Iterable[list[Pair]], left_out: Counter[str], lost: int) -> Comparison:
    return Comparison([*itertools.chain.from_iterable(pairs)], left_out, lost)


# -- reading -----------------------------------------------------------------------------------


def _read(
    capture: Iterable[CapturedRecord], killers: Collection[str], left_out: Counter[str]
) -> tuple[dict[tuple[str, str], _Boot], int]:
    boots: dict[tuple[str, str], _Boot] = defaultdict(_Boot)
    lost = 0
    for captured in capture:
        record, hello = captured.record, captured.hello
        if record.HasField("lost"):
            lost += record.lost.count
        if not record.seq:
            continue
        boot = boots[(hello.device_name, hello.boot_id) if hello else ("", "")]
        if not boot.begin_ns or (
            record.HasField("lifecycle") and record.lifecycle.kind == Lifecycle.ATTACHED
        ):
            boot.begin_ns = record.time_ns
        if record.HasField("kill"):
            event = _own(record.kill)
            (boot.verdicts if record.kill.dry_run else boot.kills).append(event)
        elif record.HasField("other_kill"):
            _others(record.other_kill, killers, boot, left_out)
    return dict(boots), lost


def _own(report: KillReport) -> Event:
    times = report.times
    when = times.signalled_ns if times.HasField("signalled_ns") else times.decided_ns
    return Event(report.victim, when, reason=report.reason, by="lmk", last_ns=when)


def _others(
    report: OtherKill, killers: Collection[str], boot: _Boot, left_out: Counter[str]
) -> None:
    name = (report.sender.name or report.sender.comm).rpartition("/")[2]
    for_memory = report.cause in (OtherKill.KERNEL_OOM, OtherKill.LMKD)
    if not for_memory and name not in killers:
        left_out[name or "somebody"] += 1
        return
    when = report.signalled_ns if report.HasField("signalled_ns") else report.exited_ns
    boot.kills.append(Event(report.victim, when, cause=report.cause, by=name, last_ns=when))


def _since(events: Iterable[Event], begin_ns: int) -> list[Event]:
    return [
        replace(event, time_ns=event.time_ns - begin_ns, last_ns=event.last_ns - begin_ns)
        for event in events
    ]


# -- matching ----------------------------------------------------------------------------------


def _identity(process: Process) -> tuple[object, ...]:
    """One process of one boot."""
    return (process.pid, process.start_time_ns // _TICK_NS)


def _namesake(process: Process) -> tuple[object, ...]:
    """The same app on another boot."""
    return (process.name or process.comm, process.uid)


def _pairs(
    verdicts: Iterable[Event],
    kills: Iterable[Event],
    within: timedelta,
    who: Callable[[Process], tuple[object, ...]] = _identity,
) -> list[Pair]:
    within_ns = int(within / timedelta(microseconds=1)) * 1000
    left = _folded(sorted(verdicts, key=_time), within_ns)
    open_kills = sorted(kills, key=_time)
    pairs: list[Pair] = []
    alike: tuple[tuple[Match, Callable[[Event], object]], ...] = (
        (Match.SAME_VICTIM, lambda event: who(event.process)),
        (Match.SAME_CLASS, lambda event: event.class_name),
    )
    for match, same in alike:
        near = sorted(
            (_distance_ns(verdict, kill), i, j)
            for i, verdict in enumerate(left)
            for j, kill in enumerate(open_kills)
            if same(verdict) == same(kill) and _distance_ns(verdict, kill) <= within_ns
        )
        taken: tuple[set[int], set[int]] = (set(), set())
        for _distance, i, j in near:
            if i not in taken[0] and j not in taken[1]:
                taken[0].add(i)
                taken[1].add(j)
                pairs.append(Pair(match, left[i], open_kills[j]))
        left = [verdict for i, verdict in enumerate(left) if i not in taken[0]]
        open_kills = [kill for j, kill in enumerate(open_kills) if j not in taken[1]]
    pairs += [Pair(Match.VERDICT_ONLY, verdict, None) for verdict in left]
    pairs += [Pair(Match.KILL_ONLY, None, kill) for kill in open_kills]
    return sorted(pairs, key=lambda pair: pair.time_ns)


def _time(event: Event) -> int:
    return event.time_ns


def _folded(verdicts: Iterable[Event], within_ns: int) -> list[Event]:
    """A verdict that is said again while its process lives on is one."""
    folded: list[Event] = []
    newest: dict[tuple[object, ...], int] = {}
    for verdict in verdicts:
        key = _identity(verdict.process)
        at = newest.get(key)
        if at is not None and verdict.time_ns - folded[at].last_ns <= within_ns:
            first = folded[at]
            folded[at] = replace(first, last_ns=verdict.time_ns, said=first.said + 1)
        else:
            newest[key] = len(folded)
            folded.append(verdict)
    return folded


def _distance_ns(verdict: Event, kill: Event) -> int:
    if verdict.time_ns <= kill.time_ns <= verdict.last_ns:
        return 0
    return min(abs(kill.time_ns - verdict.time_ns), abs(kill.time_ns - verdict.last_ns))
