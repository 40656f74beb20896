# SPDX-License-Identifier: Apache-2.0
"""What the decision core takes and gives: the structures and enums of ``bpf/include/lmk``.

Times are nanoseconds, sizes KiB, as there. :mod:`lmk.policy.core` makes the C structs of them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from lmk.proto.record_pb2 import Reason

__all__ = [
    "Gate",
    "Known",
    "Level",
    "Look",
    "Pending",
    "Process",
    "ProcessFlag",
    "PsiDelta",
    "Reclaiming",
    "Refusal",
    "Sample",
    "SignalBit",
    "Verdict",
    "Victim",
]


class Known(enum.IntFlag):
    """``enum lmk_known``: which optional members of a sample were measured."""

    NOTHING = 0
    AVAILABLE = 1
    SWAP = 2
    PSI = 4
    REFAULTS = 8
    RECLAIM = 16
    COMPRESSION = 32
    ALL = 63


class Level(enum.IntEnum):
    """``enum lmk_level``: how low free memory is."""

    NONE = 0
    HIGH = 1
    LOW = 2
    MIN = 3


class Look(enum.IntEnum):
    """``enum lmk_look``: why an evaluation is made."""

    NONE = 0
    POLL = 1
    PARTIAL = 2
    COMPLETE = 3


class Reclaiming(enum.IntEnum):
    """``enum lmk_reclaiming``: who reclaims memory now."""

    NONE = 0
    KSWAPD = 1
    DIRECT = 2


class ProcessFlag(enum.IntFlag):
    """``enum lmk_process_flags``."""

    NONE = 0
    INIT = 1
    KTHREAD = 2
    PROTECTED = 4
    DYING = 8
    NO_MM = 16
    SHARED_MM = 32
    SERVICE = 64
    TOLD_ADJ = 128


class SignalBit(enum.IntFlag):
    """``enum lmk_signal``: which limits a verdict found breached."""

    NONE = 0
    FREE = 1
    AVAILABLE = 2
    SWAP = 4
    SOME = 8
    FULL = 16
    THRASHING = 32
    SWAP_UTIL = 64
    RECLAIM = 128
    FILECACHE = 256
    CRITICAL_STALL = 512


class Refusal(enum.IntEnum):
    """``enum lmk_refusal``: why a process may not die."""

    NONE = 0
    INIT = 1
    KTHREAD = 2
    ADJ_NEVER = 3
    PROTECTED = 4
    UID = 5
    DYING = 6
    NO_MM = 7
    BELOW_FLOOR = 8
    SHARER = 9
    RULE = 10


class Victim(enum.IntEnum):
    """``enum lmk_victim``: how far the victim of the kill under way has come."""

    ALIVE = 0
    EXITING = 1
    ENDED = 2


class Gate(enum.IntEnum):
    """``enum lmk_gate``: whether a kill under way holds up the next."""

    OPEN = 0
    WAIT = 1
    RETRY = 2
    TIMEOUT = 3
    BUDGET = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """``struct lmk_sample``: the whole device at one moment."""

    time_ns: int = 0
    total_kb: int = 0
    free_kb: int = 0
    available_kb: int = 0
    wmark_min_kb: int = 0
    wmark_low_kb: int = 0
    wmark_high_kb: int = 0
    swap_total_kb: int = 0
    swap_free_kb: int = 0
    file_kb: int = 0
    anon_kb: int = 0
    shmem_kb: int = 0
    slab_reclaimable_kb: int = 0
    psi_some_total_us: int = 0
    psi_full_total_us: int = 0
    psi_some_window_us: int = 0
    psi_full_window_us: int = 0
    psi_some_counted_us: int = 0
    psi_full_counted_us: int = 0
    refault_file: int = 0
    refault_anon: int = 0
    cma_free_kb: int = 0
    inactive_file_kb: int = 0
    anon_lru_kb: int = 0
    dirty_kb: int = 0
    protection_kb: int = 0
    pgscan_kswapd: int = 0
    pgscan_direct: int = 0
    pgrefill: int = 0
    reclaim_foreground_us: int = 0
    reclaim_background_us: int = 0
    reclaim_longest_us: int = 0
    zones_below: Level = Level.NONE
    full_avg10_pct100: int = 0
    page_kb: int = 4
    compression_pct: int = 0
    direct_reclaimers: int = 0
    kswapd_awake: bool = False
    known: Known = Known.ALL & ~Known.COMPRESSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """``struct lmk_process``: one process as the victim order sees it."""

    pid: int
    adj: int = 0
    uid: int = 0
    start_ns: int = 0
    mm: int = 0
    anon_kb: int = 0
    file_kb: int = 0
    shmem_kb: int = 0
    swap_kb: int = 0
    pgtables_kb: int = 0
    min_flt: int = 0
    maj_flt: int = 0
    adj_since_ns: int = 0
    tid: int = 0
    threads: int = 1
    flags: ProcessFlag = ProcessFlag.NONE
    #: Place from 1 of the policy's rule that applies to it; 0: none.
    rule: int = 0
    comm: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``struct lmk_verdict``.

    :ivar reason: of :class:`lmk.proto.record_pb2.Reason`; 0 when there is none.
    :ivar floor: no process below this oom_score_adj may die; 1001 when there is no reason.
    :ivar idle: the reasons were not gone through: memory was not scarce, or early out.
    """

    reason: Reason.ValueType
    floor: int
    breached: SignalBit
    level: Level
    free_kb: int
    free_limit_kb: int
    loss_ahead_kb: int
    available_limit_kb: int
    swap_free_kb: int
    swap_limit_kb: int
    some_us: int
    full_us: int
    some_limit_us: int
    full_limit_us: int
    reclaim_limit_us: int
    filecache_limit_kb: int
    thrashing_pct: int
    thrashing_limit_pct: int
    thrashing_max_pct: int
    swap_util_pct: int
    swap_util_limit_pct: int
    idle: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """``struct lmk_pending``: a kill under way; a time of 0 was not seen."""

    pid: int
    kill_id: int = 0
    start_ns: int = 0
    mm: int = 0
    signalled_ns: int = 0
    last_signal_ns: int = 0
    exited_ns: int = 0
    memory_back_ns: int = 0
    footprint_kb: int = 0
    attempts: int = 1
    released: bool = False


@dataclass(frozen=True, slots=True)
class PsiDelta:
    """``struct lmk_psi_delta``: one CPU's share of a period, nanoseconds."""

    some: int
    full: int
    nonidle: int
