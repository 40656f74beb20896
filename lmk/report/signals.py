# SPDX-License-Identifier: Apache-2.0
"""Why, in words: reasons, and signals beside their limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmk.proto.record_pb2 import OtherKill, Reason, Signal

__all__ = ["Reading", "cause_words", "kb", "reading", "reason_words"]

_REASONS = {
    Reason.REASON_PRESSURE_AFTER_KILL: "after a kill",
    Reason.REASON_NOT_RESPONDING: "full stall",
    Reason.REASON_LOW_SWAP_AND_THRASHING: "swap, thrash",
    Reason.REASON_LOW_MEM_AND_SWAP: "low swap",
    Reason.REASON_LOW_MEM_AND_THRASHING: "thrashing",
    Reason.REASON_DIRECT_RECL_AND_THRASHING: "reclaim, thr.",
    Reason.REASON_LOW_MEM_AND_SWAP_UTIL: "swap in use",
    Reason.REASON_LOW_FILECACHE_AFTER_THRASHING: "file cache",
    Reason.REASON_LOW_MEM: "watermark",
    Reason.REASON_DIRECT_RECL_STUCK: "stuck reclaim",
    Reason.REASON_PARTIAL_STALL: "some stall",
}
#: Who killed, where it was not lmk.
_CAUSES = {
    OtherKill.CAUSE_UNSPECIFIED: "other kill",
    OtherKill.KERNEL_OOM: "kernel OOM",
    OtherKill.LMKD: "lmkd",
    OtherKill.PROCESS: "by a process",
    OtherKill.KERNEL: "by the kernel",
}
_UNITS = ("kb", "us", "pct")
#: Kinds that have run out when they are low; the others are too much when they are high.
_LOW_IS_BAD = (
    Signal.FREE_KB,
    Signal.AVAILABLE_KB,
    Signal.SWAP_FREE_KB,
    Signal.FILE_CACHE_KB,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A signal for people.

    :ivar name: ``some stall``.
    :ivar now: value with its unit: ``71.5 ms``.
    :ivar limit: the same of the limit.
    :ivar below: whether low is bad.
    :ivar share: how much of the limit is used up: 1 is at the limit, more is beyond it. None:
        there is no limit.
    """

    name: str
    now: str
    limit: str
    below: bool
    breached: bool
    share: float | None


def reading(signal: Signal) -> Reading:
    """`signal` in words, its numbers with units."""
    known = signal.kind in Signal.Kind.values()
    name = Signal.Kind.Name(signal.kind).lower() if known else f"signal_{signal.kind}"
    stem, _, unit = name.rpartition("_")
    if unit not in _UNITS:
        stem, unit = name, ""
    return Reading(
        stem.replace("_", " "),
        _amount(signal.value, unit),
        _amount(signal.limit, unit),
        signal.kind in _LOW_IS_BAD,
        signal.breached,
        _share(signal),
    )


def _share(signal: Signal) -> float | None:
    if not signal.limit:
        return None
    if signal.kind in _LOW_IS_BAD:
        return signal.limit / signal.value if signal.value else math.inf
    return signal.value / signal.limit


def reason_words(reason: Reason.ValueType) -> str:
    """A reason in a word or two."""
    if reason in _REASONS:
        return _REASONS[reason]
    if 0 <= reason - Reason.REASON_VENDOR < 1000:
        return f"asked for ({reason - Reason.REASON_VENDOR})"
    name = Reason.Name(reason) if reason in Reason.values() else f"reason {reason}"
    return name.removeprefix("REASON_").replace("_", " ").lower()


def cause_words(cause: OtherKill.Cause.ValueType) -> str:
    """Whose kill it was, in a word or two."""
    return _CAUSES.get(cause, f"cause {cause}")


def kb(value: int) -> str:
    """KiB as ``812 kB`` or ``143 MB``."""
    return f"{value} kB" if abs(value) < 10_000 else f"{value / 1024:.0f} MB"


def _amount(value: int, unit: str) -> str:
    if unit == "us":
        return f"{value / 1000:.1f} ms"
    if unit == "pct":
        return f"{value} %"
    return kb(value) if unit == "kb" else str(value)
