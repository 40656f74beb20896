# SPDX-License-Identifier: Apache-2.0
"""What lmkd's new strategy decides, worked out from its description and from nothing else.

Inputs are what lmkd reads (``device-tests/samples``), not what the handlers measure. Written to
be compared with the decision core, so it shares no code with it; quirks that the presets leave
out on purpose (docs/policy.md) are left out here as well.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Limits", "Lmkd", "Outcome", "Reading", "read_samples"]


@dataclass(frozen=True)
class Reading:
    """One look at /proc: milliseconds, KiB, pages, microseconds, percent."""

    ms: int
    total_kb: int
    free_kb: int
    available_kb: int
    swap_total_kb: int
    swap_free_kb: int
    anon_kb: int
    inactive_file_kb: int
    file_kb: int
    dirty_kb: int
    shmem_kb: int
    refault_anon: int
    refault_file: int
    pgscan_kswapd: int
    pgscan_direct: int
    pgrefill: int
    some_us: int
    full_us: int
    full_avg10: float
    min_kb: int
    low_kb: int
    high_kb: int


def read_samples(path: Path) -> list[Reading]:
    """The recording in `path` (``record.py`` says what it holds)."""
    return [
        Reading(
            ms=int(row["ms"]),
            total_kb=int(row["MemTotal"]),
            free_kb=int(row["MemFree"]),
            available_kb=int(row["MemAvailable"]),
            swap_total_kb=int(row["SwapTotal"]),
            swap_free_kb=int(row["SwapFree"]),
            anon_kb=int(row["Active(anon)"]) + int(row["Inactive(anon)"]),
            inactive_file_kb=int(row["Inactive(file)"]),
            file_kb=int(row["Active(file)"]) + int(row["Inactive(file)"]),
            dirty_kb=int(row["Dirty"]),
            shmem_kb=int(row["Shmem"]),
            refault_anon=int(row["workingset_refault_anon"]),
            refault_file=int(row["workingset_refault_file"]),
            pgscan_kswapd=int(row["pgscan_kswapd"]),
            pgscan_direct=int(row["pgscan_direct"]),
            pgrefill=int(row["pgrefill"]),
            some_us=int(row["some_us"]),
            full_us=int(row["full_us"]),
            full_avg10=float(row["full_avg10"]),
            min_kb=int(row["min_kb"]),
            low_kb=int(row["low_kb"]),
            high_kb=int(row["high_kb"]),
        )
        for row in csv.DictReader(path.read_text().splitlines())
    ]


@dataclass(frozen=True)
class Limits:
    """``ro.lmk.*`` by their names without the prefix."""

    thrashing_limit: int = 100
    thrashing_limit_decay: int = 10
    thrashing_limit_critical: int = 300
    swap_free_low_percentage: int = 10
    swap_util_max: int = 100
    swap_compression_ratio: int = 1
    filecache_min_kb: int = 0
    stall_limit_critical: int = 100
    lowmem_min_oom_score: int = 701


@dataclass(frozen=True)
class Outcome:
    """``reason`` by lmkd's name, ``floor`` None without one; limit and thrashing in percent."""

    reason: str | None
    floor: int | None
    thrashing: int
    limit: int


NOTHING = (None, None)


@dataclass
class Lmkd:
    """The state that ``__mp_event_psi()`` keeps between calls."""

    limits: Limits = field(default_factory=Limits)
    killing: bool = False
    first: bool = True
    check_filecache: bool = False
    limit: int = 0
    reset_ms: int = 0
    init_refault: int = 0
    base_lru_pages: int = 0
    prev_growth: int = 0
    last_refault: int = -1
    last_scan: tuple[int, int, int] = (0, 0, 0)

    def call(self, now: Reading, *, critical_event: bool) -> Outcome:
        """One evaluation; `critical_event`: it was woken by the `full` trigger."""
        if self.first:
            self.limit = self.limits.thrashing_limit
            self.last_scan = (now.pgscan_kswapd, now.pgscan_direct, now.pgrefill)
        after_kill, self.killing = self.killing, False
        if after_kill or self.first:
            self._rebase(now)
            self.prev_growth = 0
        self.first = False
        scan = (now.pgscan_kswapd, now.pgscan_direct, now.pgrefill)
        direct = scan[1] != self.last_scan[1]
        reclaim = scan != self.last_scan
        self.last_scan = scan
        refaulted = now.refault_file != self.last_refault
        self.last_refault = now.refault_file
        thrashing = self._thrashing(now)
        if not reclaim and not refaulted:
            return Outcome(*NOTHING, thrashing, self.limit)
        reason, floor, cut = self._reason(
            now, thrashing, critical_event=critical_event, after_kill=after_kill, direct=direct
        )
        if reason and now.full_avg10 > self.limits.stall_limit_critical:
            floor = 0
        limit = self.limit
        if reason:
            self.killing = True
            if cut:
                self.limit = self.limit * (100 - self.limits.thrashing_limit_decay) // 100
        return Outcome(reason, floor, thrashing, limit)

    def _rebase(self, now: Reading) -> None:
        self.reset_ms, self.init_refault = now.ms, now.refault_file
        self.base_lru_pages = now.file_kb // 4

    def _growth(self, now: Reading) -> int:
        return 100 * (now.refault_file - self.init_refault) // (self.base_lru_pages + 1)

    def _thrashing(self, now: Reading) -> int:
        passed = now.ms - self.reset_ms
        if passed <= 1000:
            return self._growth(now) + self.prev_growth
        self.prev_growth, windows = self._growth(now), passed // 1000
        if windows > 1 or self.prev_growth < self.limit:
            self.prev_growth >>= windows
        self._rebase(now)
        self.limit = self.limits.thrashing_limit
        return self.prev_growth

    def _reason(
        self, now: Reading, thrashing: int, *, critical_event: bool, after_kill: bool, direct: bool
    ) -> tuple[str | None, int | None, bool]:
        limits = self.limits
        below_min, below_low = now.free_kb < now.min_kb, now.free_kb < now.low_kb
        free_swap_kb = now.swap_free_kb
        if limits.swap_compression_ratio:
            easy_kb = now.free_kb + now.inactive_file_kb
            free_swap_kb = min(free_swap_kb, easy_kb * limits.swap_compression_ratio)
        low_swap = free_swap_kb < now.swap_total_kb * limits.swap_free_low_percentage // 100
        used_kb = now.swap_total_kb - free_swap_kb
        util = 100 * used_kb // (now.anon_kb + now.shmem_kb + used_kb)
        severe = thrashing >= limits.thrashing_limit_critical
        swap_floor = 0 if below_min or severe else 201
        if after_kill and below_min:
            return "PRESSURE_AFTER_KILL", 0, False
        if critical_event:
            return "NOT_RESPONDING", 0, False
        if low_swap and thrashing > limits.thrashing_limit:
            self.check_filecache = True
            return "LOW_SWAP_AND_THRASHING", swap_floor, False
        if low_swap and below_low:
            return "LOW_MEM_AND_SWAP", swap_floor, False
        if below_low and limits.swap_util_max < 100 and util > limits.swap_util_max:
            return "LOW_MEM_AND_SWAP_UTIL", 0, False
        for condition, reason in (
            (below_low, "LOW_MEM_AND_THRASHING"),
            (direct, "DIRECT_RECL_AND_THRASHING"),
        ):
            if condition and thrashing > self.limit:
                self.check_filecache = True
                return reason, 0 if severe else 201, True
        if self.check_filecache:
            if now.file_kb < limits.filecache_min_kb:
                return "LOW_FILECACHE_AFTER_THRASHING", 201, False
            self.check_filecache = False
        if below_low and limits.lowmem_min_oom_score <= 1000:
            return "LOW_MEM", limits.lowmem_min_oom_score, False
        return None, None, False
