# SPDX-License-Identifier: Apache-2.0
"""Records for people: one line each, under one header; nothing a process name can break out of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lmk.proto.record_pb2 import (
    Carrier,
    Hello,
    KillPath,
    KillReport,
    Lifecycle,
    Lost,
    OtherKill,
    Record,
)
from lmk.report.client import first_lost
from lmk.report.signals import cause_words, kb, reason_words

__all__ = [
    "HEADER",
    "Clock",
    "describe",
    "header",
    "ms",
    "other_line",
    "printable",
    "report_line",
    "sender_words",
]

#: Name, width, whether it is a number; where there is no room the highest last number goes first.
_COLUMNS = (
    ("TIME", 12, False, 0),
    ("VICTIM", 28, False, 0),
    ("PID", 7, True, 2),
    ("UID", 6, True, 3),
    ("ADJ", 5, True, 0),
    ("REASON", 13, False, 0),
    ("FREED", 8, True, 0),
    ("SIGNAL", 8, True, 1),
    ("EXIT", 8, True, 4),
    ("MEM BACK", 8, True, 1),
    ("CARRIER", 10, False, 5),
)
_GAP = 2


def header(width: int | None = None) -> str:
    """The line over :func:`report_line`.

    :param width: of the terminal: columns that it has no room for are left out. None: all.
    """
    return _line([name for name, _, _, _ in _COLUMNS], width)


def _line(values: Sequence[str], width: int | None) -> str:
    kept = list(range(len(_COLUMNS)))
    while width is not None and sum(_COLUMNS[i][1] + _GAP for i in kept) - _GAP > width:
        worst = max(kept, key=lambda i: _COLUMNS[i][3])
        if not _COLUMNS[worst][3]:
            break
        kept.remove(worst)
    cells = (
        values[i].rjust(_COLUMNS[i][1]) if _COLUMNS[i][2] else values[i].ljust(_COLUMNS[i][1])
        for i in kept
    )
    return (" " * _GAP).join(cells).rstrip()


#: With all columns, for a file or a pipe.
HEADER = header()


@dataclass(frozen=True, slots=True)
class Clock:
    """The device's boot clock beside the wall clock, as a Hello or Heartbeat pairs them."""

    boottime_ns: int = 0
    realtime_ns: int = 0

    @staticmethod
    def of(hello: Hello | None) -> Clock:
        """The clock of a connection; of an unknown one, times since boot."""
        return Clock(hello.boottime_ns, hello.realtime_ns) if hello is not None else Clock()

    def time(self, boottime_ns: int) -> str:
        """Local time of day of a boot-clock moment, or seconds since boot."""
        if not self.realtime_ns:
            return f"{boottime_ns / 1e9:.3f}"
        wall = (self.realtime_ns + boottime_ns - self.boottime_ns) / 1e9
        return f"{datetime.fromtimestamp(wall, UTC).astimezone():%H:%M:%S.%f}"[:12]


def report_line(report: KillReport, time_ns: int, clock: Clock, width: int | None = None) -> str:
    """A kill report as a line under :func:`header` of the same `width`."""
    victim, times = report.victim, report.times
    name = printable(victim.name or victim.comm)
    carrier = Carrier.Name(report.carrier).removeprefix("CARRIER_").lower()
    notes = [carrier.replace("_", " ")]
    if report.dry_run:
        notes.append("dry run")
    if report.attempts > 1:
        notes.append(f"{report.attempts} signals")
    if victim.rule:
        notes.append(f"rule {victim.rule}")
    signalled = times.signalled_ns if times.HasField("signalled_ns") else None
    values = (
        clock.time(times.decided_ns or time_ns),
        name if len(name) <= 28 else "…" + name[-27:],
        str(victim.pid),
        str(victim.uid),
        str(victim.oom_score_adj),
        reason_words(report.reason),
        kb(report.freed_kb) if report.HasField("freed_kb") else "?",
        ms(times.seen_ns, signalled),
        ms(signalled, times.exited_ns if times.HasField("exited_ns") else None),
        ms(signalled, times.memory_back_ns if times.HasField("memory_back_ns") else None),
        ", ".join(notes),
    )
    return _line(values, width)


def other_line(report: OtherKill, clock: Clock, width: int | None = None) -> str:
    """A kill that was not lmk's as a line under the same :func:`header`."""
    victim = report.victim
    name = printable(victim.name or victim.comm)
    signalled = report.signalled_ns if report.HasField("signalled_ns") else None
    values = (
        clock.time(signalled or report.exited_ns),
        name if len(name) <= 28 else "…" + name[-27:],
        str(victim.pid),
        str(victim.uid),
        str(victim.oom_score_adj),
        cause_words(report.cause),
        "-",
        "-",
        ms(signalled, report.exited_ns),
        "-",
        sender_words(report),
    )
    return _line(values, width)


def sender_words(report: OtherKill) -> str:
    """Who sent it: ``by sh (pid 12, uid 2000)``."""
    sender = report.sender
    if not sender.pid:
        return "sender not seen"
    who = f"{printable(sender.name or sender.comm)} (pid {sender.pid}, uid {sender.uid})"
    if report.cause == OtherKill.KERNEL_OOM:
        return f"for {who}"
    return f"by {who}" if report.cause != OtherKill.KERNEL else f"while {who} ran"


def describe(record: Record, clock: Clock, width: int | None = None) -> str:
    """Any record in one line.

    :param width: of the terminal, for kill reports; see :func:`header`.
    """
    body = record.WhichOneof("body")
    if body == "kill":
        return report_line(record.kill, record.time_ns, clock, width)
    if body == "other_kill":
        return other_line(record.other_kill, clock, width)
    if body == "lost":
        return _lost(record.lost)
    when = clock.time(record.time_ns).ljust(12)
    if body == "lifecycle":
        life = record.lifecycle
        kind = Lifecycle.Kind.Name(life.kind).lower().replace("_", " ")
        who = f" (uid {life.uid}, pid {life.pid})" if life.HasField("uid") else ""
        return f"{when}  -- {kind}: {printable(life.text)}{who}"
    if body == "hello":
        hello = record.hello
        path = KillPath.Name(hello.kill_path).removeprefix("KILL_PATH_").lower()
        dry = ", dry run" if hello.dry_run else ""
        return (
            f"{when}  -- {printable(hello.device_name)}: {hello.abi} "
            f"{printable(hello.kernel_release)}, path {path}, policy "
            f"{printable(hello.policy_name)!r}{dry}, build {printable(hello.build_id)[:16]}, "
            f"run {hello.run}"
        )
    return f"{when}  -- {body or 'unknown record'}"


def _lost(lost: Lost) -> str:
    where = {
        Lost.RING: "in the kernel's ring buffer",
        Lost.SPOOL: "by the spool's bound",
        Lost.CORRUPT: "in a damaged spool file",
    }.get(lost.where, "on the way")
    first = first_lost(lost)
    which = f" ({lost.run}:{first}..{first + lost.count - 1})" if first and lost.count else ""
    if first and not lost.count:
        return f"nobody knows how many records lost {where} ({lost.run}:{first} and on)"
    return f"{lost.count} record{'s' if lost.count != 1 else ''} lost {where}{which}"


def printable(text: str) -> str:
    """What a device calls itself or a process, with control characters shown, not obeyed."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def ms(begin_ns: int | None, end_ns: int | None) -> str:
    """Milliseconds between two moments, ``-`` when one is not known."""
    if not begin_ns or not end_ns:
        return "-"
    return f"{(end_ns - begin_ns) / 1e6:.2f}"
