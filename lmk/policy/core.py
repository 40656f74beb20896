# SPDX-License-Identifier: Apache-2.0
"""The decision core on this machine: the C that decides in the kernel, called from Python.

``bpf/policy/*.h`` is compiled into a shared library (once; cached by content) and called
through ctypes. Times are nanoseconds, sizes KiB, as in ``bpf/include/lmk/abi.h``.

::

    verdict = core.decide(policy, core.Sample(total_kb=4_000_000, free_kb=9_000, ...))
    victims = core.choose(policy, processes, verdict.floor)
"""

from __future__ import annotations

import ctypes
import enum
import functools
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from lmk.build.compiler import host_compiler
from lmk.build.sources import read_sources, source_root
from lmk.cache import cache_root, content_key, publish
from lmk.errors import LmkError
from lmk.policy.layout import (
    COMM_BYTES,
    UID_RANGES,
    PendingStruct,
    PolicyStruct,
    ProcessStruct,
    PsiDeltaStruct,
    SampleStruct,
    VerdictStruct,
    WindowStruct,
)
from lmk.proto.policy_pb2 import Policy
from lmk.proto.record_pb2 import Reason

__all__ = [
    "Gate",
    "Known",
    "Pending",
    "Process",
    "ProcessFlag",
    "PsiDelta",
    "Refusal",
    "Sample",
    "SignalBit",
    "Verdict",
    "Victim",
    "Window",
    "choose",
    "decide",
    "gate",
    "interval_ms",
    "psi_stall_ns",
    "rank",
    "refusal",
]


class Known(enum.IntFlag):
    """``enum lmk_known``: which optional members of a sample were measured."""

    NOTHING = 0
    AVAILABLE = 1
    SWAP = 2
    PSI = 4
    REFAULTS = 8
    ALL = 15


class ProcessFlag(enum.IntFlag):
    """``enum lmk_process_flags``."""

    NONE = 0
    INIT = 1
    KTHREAD = 2
    PROTECTED = 4
    DYING = 8
    NO_MM = 16
    SHARED_MM = 32


class SignalBit(enum.IntFlag):
    """``enum lmk_signal``: which limits a verdict found breached."""

    NONE = 0
    FREE = 1
    AVAILABLE = 2
    SWAP = 4
    SOME = 8
    FULL = 16


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
    refault_file: int = 0
    refault_anon: int = 0
    direct_reclaimers: int = 0
    kswapd_awake: bool = False
    known: Known = Known.ALL


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
    tid: int = 0
    threads: int = 1
    flags: ProcessFlag = ProcessFlag.NONE
    comm: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``struct lmk_verdict``.

    :ivar reason: of :class:`lmk.proto.record_pb2.Reason`; 0 when there is none.
    :ivar floor: no process below this oom_score_adj may die; 1001 when there is no reason.
    """

    reason: Reason.ValueType
    floor: int
    breached: SignalBit
    free_limit_kb: int
    available_limit_kb: int
    swap_limit_kb: int
    some_limit_us: int
    full_limit_us: int


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


def decide(policy: Policy, sample: Sample) -> Verdict:
    """``lmk_decide()``: is there a reason to kill, and down to which oom_score_adj?"""
    verdict = VerdictStruct()
    _library().lmk_core_decide(
        ctypes.byref(_policy(policy)),
        ctypes.byref(_filled(SampleStruct(), sample)),
        ctypes.byref(verdict),
    )
    return Verdict(
        reason=Reason.ValueType(verdict.reason),
        floor=verdict.floor,
        breached=SignalBit(verdict.breached),
        free_limit_kb=verdict.free_limit_kb,
        available_limit_kb=verdict.available_limit_kb,
        swap_limit_kb=verdict.swap_limit_kb,
        some_limit_us=verdict.some_limit_us,
        full_limit_us=verdict.full_limit_us,
    )


def rank(a: Process, b: Process) -> int:
    """``lmk_rank()``: above 0 when `a` dies before `b`, below 0 after, 0 for the same process."""
    return int(_library().lmk_core_rank(ctypes.byref(_process(a)), ctypes.byref(_process(b))))


def refusal(policy: Policy, process: Process, floor: int) -> Refusal:
    """``lmk_refusal_of()``: why `process` may not die for a verdict with this floor."""
    return Refusal(
        _library().lmk_core_refusal(
            ctypes.byref(_policy(policy)), ctypes.byref(_process(process)), floor
        )
    )


def choose(policy: Policy, processes: Iterable[Process], floor: int) -> list[Process]:
    """The processes that may die, first victim first.

    As the handlers do: those that may not are left out, the others go by :func:`rank`.
    """
    eligible = [each for each in processes if refusal(policy, each, floor) is Refusal.NONE]
    return sorted(eligible, key=functools.cmp_to_key(rank), reverse=True)


def interval_ms(policy: Policy, sample: Sample, *, under_pressure: bool = False) -> int:
    """``lmk_interval_ms()``: milliseconds until the level sensor looks again."""
    return int(
        _library().lmk_core_interval_ms(
            ctypes.byref(_policy(policy)),
            ctypes.byref(_filled(SampleStruct(), sample)),
            int(under_pressure),
        )
    )


def gate(
    policy: Policy, pending: Pending | None, now_ns: int, *, victim: Victim = Victim.ALIVE
) -> Gate:
    """``lmk_gate_of()``: whether the next kill has to wait for the one under way."""
    struct = PendingStruct() if pending is None else _filled(PendingStruct(), pending)
    return Gate(
        _library().lmk_core_gate(
            ctypes.byref(_policy(policy)), ctypes.byref(struct), now_ns, int(victim)
        )
    )


class Window:
    """``struct lmk_window``: growth of a counter in a sliding window.

    :param size_ns: length of the window.
    """

    def __init__(self, size_ns: int) -> None:
        self._size_ns = size_ns
        self._struct = WindowStruct()

    def growth(self, now_ns: int, value: int) -> int:
        """``lmk_window_growth()``: growth of `value` over the last window, in its unit."""
        return int(
            _library().lmk_core_window_growth(
                ctypes.byref(self._struct), self._size_ns, now_ns, value
            )
        )


def psi_stall_ns(cpus: Sequence[PsiDelta]) -> tuple[int, int]:
    """``lmk_psi_add()`` over `cpus`: (some, full), weighted by each CPU's non-idle time."""
    array = (PsiDeltaStruct * len(cpus))(
        *(PsiDeltaStruct(cpu.some, cpu.full, cpu.nonidle) for cpu in cpus)
    )
    some, full = ctypes.c_uint64(), ctypes.c_uint64()
    _library().lmk_core_psi(array, len(cpus), ctypes.byref(some), ctypes.byref(full))
    return some.value, full.value


# -- across to C -------------------------------------------------------------------------------


_Struct = TypeVar("_Struct", bound=ctypes.Structure)


def _process(process: Process) -> ProcessStruct:
    return _filled(ProcessStruct(), process)


def _filled(struct: _Struct, values: Sample | Process | Pending) -> _Struct:
    for field in fields(values):
        value = getattr(values, field.name)
        if isinstance(value, str):
            value = value.encode()[: COMM_BYTES - 1]
        setattr(struct, field.name, value)
    return struct


def _policy(policy: Policy) -> PolicyStruct:
    """The view of a complete policy, as ``lmk_policy_from_pb()`` makes it."""
    view = PolicyStruct()
    for field in Policy.DESCRIPTOR.fields:
        if field.is_repeated:
            ranges = getattr(policy, field.name)
            if len(ranges) > UID_RANGES:
                raise ValueError(f"{field.name}: more than {UID_RANGES} ranges")
            array = getattr(view, field.name)
            for index, entry in enumerate(ranges):
                array[index].first, array[index].last = entry.first, entry.last
            setattr(view, f"{field.name}_count", len(ranges))
        elif field.message_type is not None:
            group = getattr(policy, field.name)
            for member in field.message_type.fields:
                setattr(view, f"{field.name}_{member.name}", int(getattr(group, member.name)))
        elif field.name != "name":
            setattr(view, field.name, int(getattr(policy, field.name)))
    return view


@functools.cache
def _library() -> ctypes.CDLL:
    """``liblmkcore.so``, compiled if need be.

    :raises lmk.errors.UsageError: no C compiler.
    :raises lmk.errors.LmkError: the compiler refused; its output is in ``detail``.
    """
    compiler = host_compiler()
    root = source_root()
    wrapper = Path(__file__).with_name("core.c")
    command = [
        "-shared", "-fPIC", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Werror",
        "-Ibpf/include", "-Ibpf",
    ]  # fmt: skip
    tree = read_sources(root, ("bpf/include/**/*.h", "bpf/policy/*.h"))
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    parts: list[str | bytes] = ["core 1", version, *command, wrapper.read_bytes()]
    for path, content in tree.items():
        parts += [path, content]

    def fill(directory: Path) -> None:
        done = subprocess.run(
            [compiler, *command, "-o", str(directory / "liblmkcore.so"), str(wrapper)],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LmkError("cannot compile the decision core", detail=done.stderr)

    entry = publish(cache_root() / "builds" / content_key(*parts), fill)
    library = ctypes.CDLL(str(entry / "liblmkcore.so"))
    library.lmk_core_window_growth.argtypes = [
        ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64,
    ]  # fmt: skip
    library.lmk_core_window_growth.restype = ctypes.c_uint64
    library.lmk_core_gate.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32,
    ]  # fmt: skip
    library.lmk_core_gate.restype = ctypes.c_uint32
    library.lmk_core_interval_ms.restype = ctypes.c_uint32
    library.lmk_core_refusal.restype = ctypes.c_uint32
    return library
