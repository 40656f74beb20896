# SPDX-License-Identifier: Apache-2.0
"""The decision core on this machine: the C that decides in the kernel, called from Python.

``bpf/policy/*.h`` is compiled into a shared library (once; cached by content) and called
through ctypes. Times are nanoseconds, sizes KiB, as in ``bpf/include/lmk/model.h``.

::

    decider = core.Decider(policy)
    verdict = decider.evaluate(Sample(total_kb=4_000_000, free_kb=9_000, ...))
    victims = core.choose(policy, processes, verdict.floor)
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from lmk.build.compiler import host_compiler
from lmk.build.sources import read_sources, source_root
from lmk.cache import cache_root, content_key, publish
from lmk.errors import LmkError
from lmk.policy.layout import (
    COMM_BYTES,
    HistoryStruct,
    PendingStruct,
    PolicyStruct,
    ProcessStruct,
    PsiDeltaStruct,
    SampleStruct,
    VerdictStruct,
    WindowStruct,
)
from lmk.policy.model import (
    Gate,
    Level,
    Look,
    Pending,
    Process,
    PsiDelta,
    Refusal,
    Sample,
    SignalBit,
    Verdict,
    Victim,
)
from lmk.proto.policy_pb2 import Policy

__all__ = [
    "Decider",
    "Window",
    "cgroup_matches",
    "choose",
    "gate",
    "interval_ms",
    "psi_avg10",
    "psi_stall_ns",
    "rank",
    "refusal",
    "shadow_gate",
    "uid_rule",
]


class Decider:
    """A policy with what it remembers: evaluations one after the other, as in the handlers.

    :param policy: a complete one; it may be exchanged between evaluations.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.history = HistoryStruct()
        #: Why the last evaluation was made.
        self.look = Look.NONE

    def evaluate(self, sample: Sample, *, look: Look | None = None) -> Verdict:
        """Whether there is a reason to kill, and down to which oom_score_adj.

        :param look: why it is made; default: as ``lmk_look_of()`` finds.
        """
        view, struct = PolicyStruct.of(self.policy), _filled(SampleStruct(), sample)
        history, verdict = ctypes.byref(self.history), VerdictStruct()
        library = _library()
        library.lmk_core_note_open(ctypes.byref(struct), history)
        found = Look(library.lmk_core_look(ctypes.byref(view), ctypes.byref(struct), history))
        self.look = found if look is None else look
        if self.look is not Look.NONE:
            library.lmk_core_track(ctypes.byref(view), ctypes.byref(struct), history)
        library.lmk_core_decide(
            ctypes.byref(view), ctypes.byref(struct), history, int(self.look), ctypes.byref(verdict)
        )
        if self.look is not Look.NONE:
            library.lmk_core_note_verdict(ctypes.byref(verdict), history)
        return _verdict(verdict)

    def end(self, sample: Sample, verdict: Verdict, *, killed: bool = False) -> None:
        """End the evaluation that gave `verdict`: with a kill, or without."""
        view, struct = PolicyStruct.of(self.policy), _filled(SampleStruct(), sample)
        history, given = ctypes.byref(self.history), _filled(VerdictStruct(), verdict)
        if killed:
            _library().lmk_core_note_kill(ctypes.byref(view), ctypes.byref(given), history)
        _library().lmk_core_note_look(
            ctypes.byref(view), ctypes.byref(struct), history, ctypes.byref(given), int(self.look)
        )

    def may_kill(self, now_ns: int) -> bool:
        """``lmk_budget_has()``: whether the budget has a kill left at that moment."""
        view = PolicyStruct.of(self.policy)
        return bool(
            _library().lmk_core_budget_has(
                ctypes.byref(view), ctypes.byref(self.history), ctypes.c_uint64(now_ns)
            )
        )

    def spend(self) -> None:
        """``lmk_budget_spend()``: a kill was made."""
        view = PolicyStruct.of(self.policy)
        _library().lmk_core_budget_spend(ctypes.byref(view), ctypes.byref(self.history))


def rank(policy: Policy, a: Process, b: Process, *, compression_pct: int = 0) -> int:
    """``lmk_rank()``: above 0 when `a` dies before `b`, below 0 after, 0 for the same process."""
    return _rank(PolicyStruct.of(policy), a, b, compression_pct)


def refusal(policy: Policy, process: Process, floor: int) -> Refusal:
    """``lmk_refusal_of()``: why `process` may not die for a verdict with this floor."""
    return _refusal(PolicyStruct.of(policy), process, floor)


def cgroup_matches(pattern: str, text: str) -> bool:
    """``lmk_cgroup_matches()``: is a rule's `cgroup` for this path, or its `unit` for this name?"""
    return bool(_library().lmk_core_cgroup_matches(pattern.encode(), text.encode()))


def uid_rule(policy: Policy, uid: int) -> int:
    """``lmk_uid_rule()``: place from 1 of the first rule for this uid; 0: there is none."""
    return int(_library().lmk_core_uid_rule(ctypes.byref(PolicyStruct.of(policy)), uid))


def choose(policy: Policy, processes: Iterable[Process], floor: int) -> list[Process]:
    """The processes that may die, first victim first.

    As the handlers do: those that may not are left out, the others go by :func:`rank`.
    """
    view = PolicyStruct.of(policy)
    eligible = [each for each in processes if _refusal(view, each, floor) is Refusal.NONE]
    order = functools.cmp_to_key(functools.partial(_rank, view))
    return sorted(eligible, key=order, reverse=True)


def interval_ms(policy: Policy, sample: Sample, *, under_pressure: bool = False) -> int:
    """``lmk_interval_ms()``: milliseconds until the level sensor looks again."""
    return int(
        _library().lmk_core_interval_ms(
            ctypes.byref(PolicyStruct.of(policy)),
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
            ctypes.byref(PolicyStruct.of(policy)), ctypes.byref(struct), now_ns, int(victim)
        )
    )


def shadow_gate(
    policy: Policy,
    pending: Pending,
    now_ns: int,
    *,
    victim: Victim = Victim.ALIVE,
    pressed_ns: int,
) -> Gate:
    """``lmk_shadow_gate_of()``: whether the next verdict has to wait for a would-be kill.

    :param pressed_ns: the last time that something was amiss.
    """
    return Gate(
        _library().lmk_core_shadow_gate(
            ctypes.byref(PolicyStruct.of(policy)),
            ctypes.byref(_filled(PendingStruct(), pending)),
            now_ns,
            int(victim),
            pressed_ns,
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


def psi_avg10(avg: float, stall_ns: int, period_ns: int) -> float:
    """``lmk_psi_avg10()``: avg10 in percent after a period with that much stall."""
    fixed = int(avg * 2048)
    return int(_library().lmk_core_avg10(fixed, stall_ns, period_ns)) / 2048


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


def _rank(view: PolicyStruct, a: Process, b: Process, compression_pct: int = 0) -> int:
    first, second = ctypes.byref(_process(a)), ctypes.byref(_process(b))
    return int(_library().lmk_core_rank(ctypes.byref(view), first, second, compression_pct))


def _refusal(view: PolicyStruct, process: Process, floor: int) -> Refusal:
    struct = ctypes.byref(_process(process))
    return Refusal(_library().lmk_core_refusal(ctypes.byref(view), struct, floor))


def _process(process: Process) -> ProcessStruct:
    return _filled(ProcessStruct(), process)


def _verdict(struct: VerdictStruct) -> Verdict:
    values = {field.name: getattr(struct, field.name) for field in fields(Verdict)}
    return Verdict(
        **{
            **values,
            "breached": SignalBit(struct.breached),
            "level": Level(struct.level),
            "idle": bool(struct.idle),
        }
    )


def _filled(struct: _Struct, values: Sample | Process | Pending | Verdict) -> _Struct:
    for field in fields(values):
        value = getattr(values, field.name)
        if isinstance(value, str):
            value = value.encode()[: COMM_BYTES - 1]
        setattr(struct, field.name, value)
    return struct


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
    library.lmk_core_shadow_gate.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint64,
    ]  # fmt: skip
    library.lmk_core_shadow_gate.restype = ctypes.c_uint32
    library.lmk_core_avg10.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64]
    library.lmk_core_avg10.restype = ctypes.c_uint64
    library.lmk_core_look.restype = ctypes.c_uint32
    library.lmk_core_interval_ms.restype = ctypes.c_uint32
    library.lmk_core_refusal.restype = ctypes.c_uint32
    library.lmk_core_uid_rule.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.lmk_core_uid_rule.restype = ctypes.c_uint32
    return library
