# SPDX-License-Identifier: Apache-2.0
"""What an agent holds in a soak, made up: for the tests of its growth and of the result."""

from __future__ import annotations

from lmk.soak.cost import Holding

__all__ = ["samples"]


def samples(*sizes: tuple[int, int], pids: tuple[int, ...] = ()) -> list[list[Holding]]:
    """One look at the agent for each of `sizes`: its resident KiB and its open files."""
    return [
        [Holding("agent", (pids or (1,) * len(sizes))[index], rss_kb, 100, files)]
        for index, (rss_kb, files) in enumerate(sizes)
    ]
