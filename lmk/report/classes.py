# SPDX-License-Identifier: Apache-2.0
"""What ActivityManager calls the processes of an oom_score_adj (ProcessList.java)."""

from __future__ import annotations

__all__ = ["class_of"]

_CLASSES = (
    (900, "cached"),
    (800, "service B"),
    (700, "previous"),
    (600, "home"),
    (500, "service"),
    (200, "perceptible"),
    (100, "visible"),
    (0, "foreground"),
    (-800, "persistent"),
    (-900, "system"),
)


def class_of(adj: int) -> str:
    """ActivityManager's word for an oom_score_adj: ``cached``, ``previous`` …"""
    return next((name for floor, name in _CLASSES if adj >= floor), "native")
