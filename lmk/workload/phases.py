# SPDX-License-Identifier: Apache-2.0
"""How long each phase of a kill took, from the times of its report."""

from __future__ import annotations

from lmk.proto.record_pb2 import KillReport

__all__ = ["PHASES", "phases_ms"]

#: Every key that :func:`phases_ms` may give, in the order of a kill.
PHASES = (
    "gated_ms",
    "seen_to_decided_ms",
    "seen_to_signal_ms",
    "signal_to_exit_ms",
    "signal_to_memory_back_ms",
)


def phases_ms(report: KillReport) -> dict[str, float]:
    """Milliseconds of each phase; what was not seen is absent."""
    times = report.times
    phases = {
        "gated_ms": times.gated_ns / 1e6,
        "seen_to_decided_ms": (times.decided_ns - times.seen_ns) / 1e6,
    }
    if times.HasField("signalled_ns"):
        phases["seen_to_signal_ms"] = (times.signalled_ns - times.seen_ns) / 1e6
        if times.HasField("exited_ns"):
            phases["signal_to_exit_ms"] = (times.exited_ns - times.signalled_ns) / 1e6
        if times.HasField("memory_back_ns"):
            phases["signal_to_memory_back_ms"] = (times.memory_back_ns - times.signalled_ns) / 1e6
    return phases
