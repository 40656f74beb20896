# SPDX-License-Identifier: Apache-2.0
"""What agent and guardian hold on to, looked at again and again: it must not grow."""

from __future__ import annotations

from dataclasses import dataclass

from lmk.device.root import Root
from lmk.errors import ProtocolError

__all__ = ["Holding", "growths", "look"]

#: What they held in the first and in the last of so many parts of the run is compared: the most
#: of the first, for the first kills touch what nobody touched before; the least of the last, for
#: a connection that is being answered is a file more.
_PARTS = 4
#: KiB that a resident set may differ by: a page that the kernel counts per CPU in batches.
_GRAIN_KB = 64


@dataclass(frozen=True, slots=True)
class Holding:
    """What one process holds at one moment.

    :ivar rss_kb: VmRSS, in KiB.
    :ivar anon_kb: RssAnon, in KiB.
    :ivar files: open files.
    """

    name: str
    pid: int
    rss_kb: int
    anon_kb: int
    files: int


def look(root: Root, pids: dict[str, int]) -> list[Holding]:
    """One :class:`Holding` for each of `pids`, by name.

    :raises lmk.errors.ProtocolError: one of them has gone.
    """
    said = root.run(
        "; ".join(
            f"echo {name} {pid} $(ls /proc/{pid}/fd | wc -l) "
            f"$(grep -E 'VmRSS|RssAnon' /proc/{pid}/status)"
            for name, pid in pids.items()
        )
    ).text
    found = []
    for line in said.splitlines():
        words = line.split()
        # agent 123 17 VmRSS: 1300 kB RssAnon: 300 kB
        if len(words) != 9:
            raise ProtocolError(f"{root.device.serial}: /proc says too little: {line!r}")
        found.append(Holding(words[0], int(words[1]), int(words[4]), int(words[7]), int(words[2])))
    return found


def growths(samples: list[list[Holding]]) -> list[str]:
    """Every process that grew over the run, and every one that is another by now, as lines."""
    found = []
    for series in zip(*samples, strict=True):
        name = series[0].name
        if len({holding.pid for holding in series}) > 1:
            found.append(f"the {name} is not the one it was")
            continue
        part = max(1, len(series) // _PARTS)
        for word, unit, grain in (("rss_kb", "KiB", _GRAIN_KB), ("files", "open files", 0)):
            held = [getattr(holding, word) for holding in series]
            if min(held[-part:]) > max(held[:part]) + grain:
                found.append(f"the {name} grew from {max(held[:part])} to {held[-1]} {unit}")
    return found
