# SPDX-License-Identifier: Apache-2.0
"""An attached device at a glance: signals against limits, who is next, counts, cost, what is left.

One :class:`Overview` is one status; with the one before it, it also says what changed. As a page
it fits any terminal, as a line it goes into a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.text import Text

from lmk.console import Column, Rows, build_table, fitting
from lmk.policy.fields import rule_words
from lmk.proto.control_pb2 import Status
from lmk.proto.record_pb2 import Carrier, KillPath, Process, Reason, Signal
from lmk.report.classes import class_of
from lmk.report.costs import costs, cpu_pct
from lmk.report.signals import kb, reading, reason_words
from lmk.report.text import Clock, printable

__all__ = ["Overview"]

_SILENT = "was started and does not answer: lmk goes on in its place until it does, then ends"

_SIGNALS = (
    Column("SIGNAL", least=14),
    Column("NOW", number=True, least=9),
    Column("LIMIT", number=True, least=9),
    Column("TO LIMIT", number=True, drop=1, least=8),
    Column("", drop=2, least=12),
    Column("", least=5),
)
_CANDIDATES = (
    Column("NEXT TO DIE", least=16),
    Column("PID", number=True, drop=2),
    Column("UID", number=True, drop=3),
    Column("ADJ", number=True),
    Column("CLASS", drop=1),
    Column("SIZE", number=True),
    Column("ANON", number=True, drop=4),
    Column("FILE", number=True, drop=5),
    Column("SWAP", number=True, drop=4),
    Column("SHMEM", number=True, drop=6),
)
_RULES = (Column("RULE FOR", least=16), Column("PROCESSES"), Column("DOES", drop=1))
_COSTS = (
    Column("COST", least=16),
    Column("RUNS", number=True),
    Column("TIME", number=True),
    Column("EACH", number=True),
)
#: Heading and width of :meth:`Overview.line`.
_LINE = (
    ("TIME", 12),
    ("FREE", 8),
    ("AVAIL", 8),
    ("SWAP", 6),
    ("SOME", 9),
    ("FULL", 9),
    ("THRASH", 7),
    ("KILLS", 6),
    ("REFUSED", 8),
    ("BUDGET", 6),
    ("CPU", 7),
    ("LEASE", 8),
)
#: Outcomes of a run in which nobody was to die, or somebody else was at it.
_NO_VERDICT = ("calm", "claimed", "error")
_KILLED = ("killed", "dry_run")
_BAR = 10
_NAME = 40


class Overview:
    """A status, in words.

    :param now: the status.
    :param before: an earlier one of the same device: counters say by how much they grew since.
    """

    def __init__(self, now: Status, before: Status | None = None) -> None:
        self._now = now
        self._counters = {counter.name: counter.value for counter in now.counters}
        self._before = before
        same = before is not None and before.hello.run == now.hello.run
        earlier = before.counters if before is not None and same else ()
        self._earlier = {counter.name: counter.value for counter in earlier}

    def page(self, width: int, *, brief: bool = False) -> Group:
        """Everything, below each other.

        :param width: of the terminal; tables leave out columns that it has no room for.
        :param brief: without what does not change while a session lasts.
        """
        parts: list[RenderableType] = [*self._head(brief=brief)]
        parts += self._table(_SIGNALS, self._signals(), width)
        parts += self._table(_CANDIDATES, [*map(_candidate, self._now.candidates)], width)
        parts += self._table(_RULES, self._rules(), width)
        parts += self._counts()
        parts += self._table(_COSTS, self._costs(), width)
        missed = [program for program in self._now.programs if program.recursion_misses]
        if missed and not brief:
            words = (f"{program.name} {program.recursion_misses}" for program in missed)
            parts.append(_row("skipped", ", ".join(words)))
        return Group(*parts)

    # -- a line ----------------------------------------------------------------------------

    @staticmethod
    def heading() -> str:
        """What stands above :meth:`line`."""
        return "  ".join(name.rjust(width) for name, width in _LINE)

    def line(self) -> str:
        """The figures that change, in columns under :meth:`heading`; ``-``: not measured."""
        now, sample = self._now, self._now.sample
        values = {signal.kind: signal for signal in now.signals}

        def amount(kind: Signal.Kind.ValueType) -> str:
            return reading(values[kind]).now if kind in values else "-"

        cpu = None if self._before is None else cpu_pct(self._before, now)
        swap_pct = _swap_pct(now)
        cells = (
            Clock.of(now.hello).time(now.hello.boottime_ns),
            kb(sample.mem_free_kb) if now.HasField("sample") else "-",
            amount(Signal.AVAILABLE_KB),
            "-" if swap_pct is None else f"{swap_pct:.0f} %",
            amount(Signal.SOME_STALL_US),
            amount(Signal.FULL_STALL_US),
            amount(Signal.THRASHING_PCT),
            str(sum(self._counters.get(f"outcome.{name}", 0) for name in _KILLED)),
            str(sum(value for _name, value in self._refusals())),
            str(now.budget_left) if now.HasField("budget_left") else "-",
            "-" if cpu is None else f"{cpu:.2f} %",
            f"{_lease(now)}" if now.HasField("lease_left_ms") else "none",
        )
        return "  ".join(
            cell.rjust(width) for cell, (_name, width) in zip(cells, _LINE, strict=True)
        )

    # -- parts of the page -----------------------------------------------------------------

    def _head(self, *, brief: bool) -> list[Text]:
        now, hello = self._now, self._now.hello
        path = KillPath.Name(hello.kill_path).removeprefix("KILL_PATH_").lower()
        carrier = Carrier.Name(hello.carrier).removeprefix("CARRIER_").lower().replace("_", " ")
        dry = " (shadow: nobody is killed)" if hello.dry_run else ""
        rows = [("device", f"{hello.device_name}, {hello.abi}, kernel {hello.kernel_release}")]
        policy = hello.policy_name + dry
        if brief:
            rows.append(("policy", f"{policy}; lease {self._lease_words()}; {self._budget()}"))
        else:
            rows += [
                ("kill path", f"{path}, carried by {carrier}"),
                *([("because", hello.kill_path_why)] if hello.kill_path_why else []),
                ("policy", policy),
                *([("stopped", printable(now.stopped_units))] if now.stopped_units else []),
                *([("lmkd", self._lmkd())] if now.HasField("lmkd_socket") else []),
                *([("lmkd", _SILENT)] if now.lmkd_silent else []),
                ("lease", self._lease_words()),
                ("budget", self._budget()),
                ("build", hello.build_id[:16]),
                (
                    "agent",
                    f"pid {now.agent_pid}, guardian {now.guardian_pid}, "
                    f"restarted {now.agent_restarts} times, run {hello.run}",
                ),
                ("spool", self._spool()),
            ]
        if now.HasField("sample"):
            rows.append(("memory", self._memory()))
        if now.pending_pid:
            wait = ", which it would have killed, to be gone"
            rows.append(
                (
                    "waits for",
                    f"pid {now.pending_pid}"
                    + (wait if hello.dry_run else " to give its memory back"),
                )
            )
        return [_row(name, value) for name, value in rows]

    def _lmkd(self) -> str:
        """lmkd's socket, in whose place this session is."""
        socket = self._now.lmkd_socket
        later = f" ({socket.kills_told_later} later)" if socket.kills_told_later else ""
        told = socket.kills_told + socket.kills_told_later
        words = [
            f"{socket.clients} clients",
            f"{socket.processes} processes registered",
            f"{socket.packets} packets",
            f"{told} kills told{later}",
        ]
        amiss = [
            (f"{refused.name.replace('_', ' ')} {refused.value}", refused.value)
            for refused in socket.refused
        ]
        amiss += [
            (f"{socket.kills_untold} kills told nobody", socket.kills_untold),
            (f"{socket.clients_refused} clients refused", socket.clients_refused),
            (f"{socket.clients_deaf} clients that did not read", socket.clients_deaf),
            (f"{socket.unsent} packets unsent", socket.unsent),
        ]
        refused = [text for text, count in amiss if count]
        return ", ".join(words) + (f"; amiss: {', '.join(refused)}" if refused else "")

    def _lease_words(self) -> str:
        if not self._now.HasField("lease_left_ms"):
            return "none: until detach or reboot"
        return f"{_lease(self._now)} left"

    def _budget(self) -> str:
        now = self._now
        if not now.HasField("budget_left"):
            return "no limit on kills"
        return f"{now.budget_left} of {now.policy.kills.max_per_minute} kills a minute left"

    def _spool(self) -> str:
        now, hello = self._now, self._now.hello
        limit = kb(now.spool_limit_bytes // 1024)
        if hello.next_seq <= hello.first_seq:
            return f"empty, of {limit}"
        used = kb(now.spool_bytes // 1024)
        return f"records {hello.first_seq}..{hello.next_seq - 1}, {used} of {limit}"

    def _memory(self) -> str:
        sample = self._now.sample
        marks = (sample.watermark_min_kb, sample.watermark_low_kb, sample.watermark_high_kb)
        words = [
            f"{kb(sample.mem_free_kb)} of {kb(sample.mem_total_kb)} free",
            f"watermarks {', '.join(map(kb, marks))}",
        ]
        swap_pct = _swap_pct(self._now)
        if swap_pct is not None:
            used = kb(sample.swap_total_kb - sample.swap_free_kb)
            words.append(f"swap {used} of {kb(sample.swap_total_kb)} used ({swap_pct:.0f} %)")
        elif sample.HasField("swap_total_kb"):
            words.append("no swap")
        if sample.direct_reclaimers:
            words.append(f"{sample.direct_reclaimers} in direct reclaim")
        if sample.kswapd_awake:
            words.append("kswapd awake")
        return "; ".join(words)

    def _signals(self) -> Rows:
        rows: list[Sequence[str | Text]] = []
        for signal in self._now.signals:
            now = reading(signal)
            word = ("below" if now.below else "over") if now.breached else ""
            style = "bold red" if now.breached else ""
            share = "-" if now.share is None else f"{min(now.share, 9.99):.0%}"
            cells = (now.name, now.now, now.limit, share, _bar(now.share), word)
            rows.append([Text(cell, style=style) for cell in cells])
        return rows

    def _rules(self) -> Rows:
        """The policy's rules for apps, and for how many processes each counts."""
        rows = []
        for rule, now in zip(self._now.policy.rules, self._now.rules, strict=False):
            whom, _, does = rule_words(rule).partition(": ")
            count = str(now.processes) if now.HasField("processes") else "?"
            if rule.HasField("package") and not now.HasField("app_id"):
                count = "not installed"
            rows.append((printable(whom), count, does))
        return rows

    def _counts(self) -> list[Text]:
        verdicts = [
            (_verdict_words(name.removeprefix("verdict.")), name)
            for name in self._counters
            if name.startswith("verdict.")
        ]
        outcomes = [
            (name.removeprefix("outcome.").replace("_", " "), name)
            for name in self._counters
            if name.startswith("outcome.")
        ]
        done = [words for words in outcomes if words[1].removeprefix("outcome.") in _KILLED]
        calm = [words for words in outcomes if words[1].removeprefix("outcome.") in _NO_VERDICT]
        others = [words for words in outcomes if words not in done and words not in calm]
        passed = [
            (name.removeprefix("refused.").replace("_", " "), name)
            for name in self._counters
            if name.startswith("refused.")
        ]
        lost = [
            (f"in the {name.removeprefix('lost.')}", name)
            for name in self._counters
            if name.startswith("lost.")
        ]
        rows = (
            ("verdicts", self._counted(done) + self._counted(verdicts)),
            ("refused", self._counted(others)),
            ("passed by", self._counted(passed)),
            ("runs", self._counted([("decisions", "decisions"), *calm])),
            ("others", self._counted([("kills that are not lmk's", "other_kills")])),
            ("lost", self._counted(lost)),
        )
        return [_row(name, ", ".join(words)) for name, words in rows if words]

    def _refusals(self) -> list[tuple[str, int]]:
        return [
            (name, value)
            for name, value in self._counters.items()
            if name.startswith("outcome.")
            and name.removeprefix("outcome.") not in (*_NO_VERDICT, *_KILLED)
        ]

    def _counted(self, words: Iterable[tuple[str, str]]) -> list[str]:
        """``word N``, with ``(+n)`` where it grew; what is 0 is left out."""
        told = []
        for word, name in words:
            value = self._counters.get(name, 0)
            grown = value - self._earlier.get(name, value)
            if value:
                told.append(f"{word} {value}" + (f" (+{grown})" if grown > 0 else ""))
        return told

    def _costs(self) -> Rows:
        rows = [
            (
                cost.name,
                str(cost.runs),
                f"{cost.run_time_ns / 1e6:.1f} ms",
                f"{cost.run_time_ns / cost.runs / 1000:.1f} us" if cost.runs else "-",
            )
            for cost in costs(self._now)
        ]
        cpu = None if self._before is None else cpu_pct(self._before, self._now)
        if cpu is not None:
            rows.insert(0, (f"{cpu:.2f} % of a CPU", "", "", ""))
        return rows

    @staticmethod
    def _table(columns: Sequence[Column], rows: Rows, width: int) -> list[RenderableType]:
        if not rows:
            return []
        kept, _dropped = fitting(columns, rows, width)
        return [build_table(columns, rows, kept)]


def _candidate(process: Process) -> tuple[str, ...]:
    name = printable(process.name or process.comm)
    return (
        name if len(name) <= _NAME else "…" + name[1 - _NAME :],
        str(process.pid),
        str(process.uid),
        str(process.oom_score_adj),
        class_of(process.oom_score_adj),
        kb(process.anon_kb + process.file_kb + process.swap_kb),
        kb(process.anon_kb),
        kb(process.file_kb),
        kb(process.swap_kb),
        kb(process.shmem_kb),
    )


def _verdict_words(name: str) -> str:
    if name == "vendor":
        return "asked for"
    value = f"REASON_{name.upper()}"
    return reason_words(Reason.Value(value)) if value in Reason.keys() else name  # noqa: SIM118


def _row(name: str, value: str) -> Text:
    return Text.assemble((f"{name:<10}", "bold"), printable(value))


def _bar(share: float | None) -> str:
    filled = 0 if share is None else round(min(share, 1.0) * _BAR)
    return f"▕{'█' * filled}{' ' * (_BAR - filled)}▏"


def _lease(status: Status) -> timedelta:
    return timedelta(seconds=status.lease_left_ms // 1000)


def _swap_pct(status: Status) -> float | None:
    """Swap in use, percent; None: there is none, or it is not known."""
    sample = status.sample
    if not sample.swap_total_kb:
        return None
    return 100 * (sample.swap_total_kb - sample.swap_free_kb) / sample.swap_total_kb
