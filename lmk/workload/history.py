# SPDX-License-Identifier: Apache-2.0
"""What the population's parent said, as answers about a moment: who was there, with which adj.

Nothing happens at a point in time: a process that was told to exit may or may not be there, an
oom_score_adj that is being written is the old or the new one. So a question about a moment is one
about everything that is possible then, and a killer is blamed only for what is wrong in each case.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lmk.workload.conversation import Event
from lmk.workload.record import Death, Life
from lmk.workload.signal_trace import SentSignal, first_signal

__all__ = ["Course", "History", "Look"]

#: The parent is root, and so is a child until it has become what its row says.
_ROOT = 0


@dataclass(frozen=True, slots=True)
class Look:
    """The device's memory at one moment (a ``vitals`` event).

    :ivar time_ns: CLOCK_BOOTTIME.
    :ivar some_us: memory stall since boot; None where the kernel does not count it.
    :ivar oom_kills: by the kernel's own OOM killer since boot.
    """

    time_ns: int
    free_kb: int
    available_kb: int
    some_us: int | None
    oom_kills: int


@dataclass(slots=True)
class Course:
    """The course of one life.

    :ivar became_ns: from then on it surely had its uid and adj; None: it never said so.
    :ivar changes: of oom_score_adj: not before, not after, new value; in order.
    :ivar leaving_ns: when it was told to exit by itself.
    :ivar signalled_ns: when the kernel queued a SIGKILL for it (:meth:`History.take_signals`).
    :ivar met_exit: that signal found it exiting already.
    """

    life: Life
    became_ns: int | None = None
    changes: list[tuple[int, int, int]] = field(default_factory=list)
    leaving_ns: int | None = None
    death: Death | None = None
    signalled_ns: int | None = None
    met_exit: bool = False

    def adjs(self, from_ns: int, until_ns: int) -> set[int]:
        """Every oom_score_adj that it may have had within that time."""
        found = {self.life.adj}
        for since_ns, until_change_ns, adj in self.changes:
            if until_change_ns <= from_ns:
                found = {adj}
            elif since_ns <= until_ns:
                found.add(adj)
        return found

    def uids(self, at_ns: int) -> set[int]:
        """Every uid that it may have had then."""
        if self.became_ns is not None and self.became_ns <= at_ns:
            return {self.life.uid}
        return {self.life.uid, _ROOT}

    def surely_there(self, from_ns: int, until_ns: int) -> bool:
        """It could have been chosen at any moment of that time, and was not dying."""
        ends = [self.leaving_ns, self.signalled_ns]
        ends.append(None if self.death is None else self.death.time_ns)
        return (
            self.became_ns is not None
            and self.became_ns <= from_ns
            and all(end is None or end > until_ns for end in ends)
        )


class History:
    """The courses of all lives, by identity, and the device's memory beside them."""

    def __init__(self) -> None:
        self.lives: list[Life] = []
        self.deaths: list[Death] = []
        self.looks: list[Look] = []
        self._courses: dict[tuple[int, int], Course] = {}
        self._alive: dict[str, Life] = {}

    @property
    def alive(self) -> dict[str, Life]:
        """Who lives, by name."""
        return dict(self._alive)

    @property
    def courses(self) -> list[Course]:
        """All of them, in the order in which they began."""
        return list(self._courses.values())

    def course(self, life: Life) -> Course:
        """The course of `life`."""
        return self._courses[life.identity]

    def adjs(self, life: Life, from_ns: int, until_ns: int) -> set[int]:
        """Every oom_score_adj that `life` may have had within that time."""
        return self.course(life).adjs(from_ns, until_ns)

    def uids(self, life: Life, at_ns: int) -> set[int]:
        """Every uid that `life` may have had then."""
        return self.course(life).uids(at_ns)

    def take_in(self, event: Event) -> None:
        """Take in what the population's parent said; what is no part of the record is left.

        :raises KeyError, ValueError: it is not in the form of that event.
        """
        kind = event["event"]
        if kind == "start":
            life = Life(
                time_ns=int(event["time_ns"]),
                name=str(event["name"]),
                pid=int(event["pid"]),
                start_ticks=int(event["start_ticks"]),
                uid=int(event["uid"]),
                adj=int(event["adj"]),
            )
            self.lives.append(life)
            self._alive[life.name] = life
            self._courses[life.identity] = Course(life)
        elif kind == "vitals":
            self.looks.append(
                Look(
                    time_ns=int(event["time_ns"]),
                    free_kb=int(event["free_kb"]),
                    available_kb=int(event["available_kb"]),
                    some_us=int(event["some_us"]) if "some_us" in event else None,
                    oom_kills=int(event["oom_kills"]),
                )
            )
        elif kind in ("became", "adj", "leaving", "exit"):
            self._go_on(self._courses[int(event["pid"]), int(event["start_ticks"])], event)

    def take_signals(self, sent: Iterable[SentSignal]) -> None:
        """Take in the kernel's own trace of SIGKILLs: when each death was sealed."""
        everyone = list(sent)
        delivered = [signal for signal in everyone if signal.delivered]
        for course in self._courses.values():
            # Not delivered: the process is in the middle of exiting, by itself or not.
            signals = delivered if course.leaving_ns is None else everyone
            course.signalled_ns = first_signal(signals, course.life, course.death)
            if course.signalled_ns is not None:
                course.met_exit = course.death is not None and course.death.signal == 0

    def _go_on(self, course: Course, event: Event) -> None:
        kind, time_ns = event["event"], int(event["time_ns"])
        if kind == "became":
            course.became_ns = time_ns
        elif kind == "adj":
            course.changes.append((int(event["since_ns"]), time_ns, int(event["adj"])))
        elif kind == "leaving":
            course.leaving_ns = time_ns
        else:
            self._alive.pop(course.life.name, None)
            course.death = Death(
                course.life, time_ns, int(event["signal"]), bool(event["quitting"])
            )
            self.deaths.append(course.death)
