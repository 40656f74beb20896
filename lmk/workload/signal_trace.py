# SPDX-License-Identifier: Apache-2.0
"""The kernel's own word on when a kill was sent: ``signal:signal_generate`` from tracefs.

In an instance of its own, so that nobody else's tracing is disturbed; on the boot
clock, which the kill reports use too.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.errors import UnsupportedError
from lmk.proto.record_pb2 import KillReport
from lmk.workload.record import Death, Life

__all__ = ["SentSignal", "SignalTrace", "checked_ms", "first_signal", "parse_trace", "sealed_ns"]

_PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
#: Per CPU; a line of this event is 60 bytes in the buffer.
_BUFFER_KB = 512
#: `<...>-123  [001] d..2.  12.345678: signal_generate: sig=9 errno=0 code=128 comm=a pid=7 …`
_LINE = re.compile(
    r"\s(?P<s>\d+)\.(?P<us>\d{6}): signal_generate: sig=(?:9|15) .* "
    r"pid=(?P<pid>\d+) grp=\d+ res=(?P<res>\d+)"
)
#: The trace prints whole microseconds.
_GRAIN_NS = 1000


@dataclass(frozen=True, slots=True)
class SentSignal:
    """One SIGKILL, or whatever else was traced.

    :ivar time_ns: CLOCK_BOOTTIME, to the microsecond below.
    :ivar pid: the task it was sent to.
    :ivar delivered: it was queued (``res=0``), and not ignored or already pending.
    """

    time_ns: int
    pid: int
    delivered: bool


class SignalTrace:
    """Traces every SIGKILL on `device` while the block runs.

    :param also_term: and every SIGTERM: killers that ask first mostly need nothing more.
    :raises lmk.errors.UnsupportedError: no tracefs, or no such event.
    """

    def __init__(self, device: Device, *, also_term: bool = False) -> None:
        self._root: Root = find_root(device)
        self._wanted = "sig==9 || sig==15" if also_term else "sig==9"
        self._serial = device.serial
        self._instance = ""

    def __enter__(self) -> Self:
        name = f"lmk-bench-{secrets.token_hex(4)}"
        made = self._root.run(
            f"for place in {' '.join(_PLACES)}; do "
            f'[ -d "$place/instances" ] && break; done; set -e; at=$place/instances/{name}; '
            f"mkdir $at; echo boot > $at/trace_clock; echo {_BUFFER_KB} > $at/buffer_size_kb; "
            "event=$at/events/signal/signal_generate; "
            f"echo '{self._wanted}' > $event/filter; echo 1 > $event/enable; echo $at"
        )
        if made.exit_code:
            raise UnsupportedError(
                f"{self._serial}: cannot trace signal:signal_generate "
                "(tracefs with instances is needed)",
                detail=made.error_text,
                serial=self._serial,
            )
        self._instance = made.text.strip()
        return self

    def read(self) -> list[SentSignal]:
        """All that was traced so far, in order."""
        return parse_trace(self._root.run(f"cat {self._instance}/trace").text)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._instance:
            self._root.run(
                f"echo 0 > {self._instance}/events/signal/signal_generate/enable; "
                f"rmdir {self._instance}"
            )


def parse_trace(text: str) -> list[SentSignal]:
    """The signals in a trace as tracefs prints it."""
    return [
        SentSignal(
            time_ns=int(match["s"]) * 1_000_000_000 + int(match["us"]) * 1000,
            pid=int(match["pid"]),
            delivered=match["res"] == "0",
        )
        for match in _LINE.finditer(text)
    ]


def first_signal(signals: Iterable[SentSignal], life: Life, death: Death | None) -> int | None:
    """When the first of `signals` was sent to that process, and to none that had its pid else.

    :param death: of that process; None: it lives.
    """
    return min(
        (
            signal.time_ns
            for signal in signals
            if signal.pid == life.pid
            and life.time_ns <= signal.time_ns
            and (death is None or signal.time_ns <= death.time_ns)
        ),
        default=None,
    )


def sealed_ns(deaths: Iterable[Death], sent: Iterable[SentSignal]) -> dict[tuple[int, int], int]:
    """By identity, when the kernel queued the signal that ended each of them, CLOCK_BOOTTIME.

    Who ended otherwise, or got it as another of its threads, is not in it.
    """
    sealed = {}
    signals = [signal for signal in sent if signal.delivered]
    for death in deaths:
        first_ns = first_signal(signals, death.life, death)
        if death.killed and first_ns is not None:
            sealed[death.life.identity] = first_ns
    return sealed


def checked_ms(
    reports: Sequence[KillReport], sent: Sequence[SentSignal]
) -> tuple[list[float], list[str]]:
    """For each report, ms from *seen* to its signal as the kernel traced it.

    :return: these, and a line for each report whose times the trace contradicts: no signal
        to that task, one before the condition was seen, or one after the exit.
    """
    latencies, contradicted = [], []
    for report in reports:
        who = f"{report.victim.name} (pid {report.victim.pid})"
        targets = {report.victim.pid, report.victim.tid}
        times = report.times
        matching = [
            signal
            for signal in sent
            if signal.pid in targets
            and signal.delivered
            and signal.time_ns + _GRAIN_NS >= times.seen_ns
            and (not times.HasField("exited_ns") or signal.time_ns <= times.exited_ns)
        ]
        if not matching:
            contradicted.append(
                f"{who} is reported killed, and no signal:signal_generate lies "
                "between seen and exit"
            )
            continue
        latencies.append(max(0, matching[0].time_ns - times.seen_ns) / 1e6)
    return latencies, contradicted
