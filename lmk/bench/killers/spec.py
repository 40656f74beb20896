# SPDX-License-Identifier: Apache-2.0
"""Which killers are measured, as text: ``NAME[:POLICY][@FIELD=VALUE,…]``.

::

    kernel                                          nothing attached
    earlyoom@m=10                                   its -m
    level@available_below_pct=15
    lmk:default@scarcity.available_below_pct=12     any policy: a preset or a file
    lmkd@ro.lmk.psi_partial_stall_ms=70             a property of the device

Several values make a sweep, for ``--curve``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from lmk.errors import UsageError

__all__ = ["CURVES", "KILLERS", "Spec", "curve_points", "parse_spec"]

#: What is compared unless something else is asked for, in this order.
KILLERS = ("kernel", "earlyoom", "level", "lmk:lmkd-highperf", "lmk:default")
CURVES = ("earlyoom", "level", "lmk:lmkd-highperf", "lmk:default")

#: What there is, and the field that a value is for unless another is named.
_KINDS = {
    "kernel": "",
    "earlyoom": "m",
    "level": "available_below_pct",
    "lmk": "scarcity.available_below_pct",
    "lmkd": "ro.lmk.psi_partial_stall_ms",
}
_STALLS_MS = ("70", "150", "300")
#: By family, or by kind. Beyond these, killers that go by a level kill at rest.
_SWEEPS = {
    "earlyoom": ("m", ("2", "3", "6")),
    "level": ("available_below_pct", ("1", "2", "4")),
    "lmk": ("low_mem.horizon_ms", ("0", "25", "50", "100")),
    # All of lmkd's thresholds are behind that one: it says when lmkd looks at all.
    "lmk:lmkd-highperf": ("stall.psi_partial_stall_ms", _STALLS_MS),
    "lmk:lmkd-lowram": ("stall.psi_partial_stall_ms", _STALLS_MS),
    "lmkd": ("ro.lmk.psi_partial_stall_ms", _STALLS_MS),
}
_TEXT = re.compile(
    r"(?P<kind>[a-z]+)(?::(?P<policy>[^@]+))?(?:@(?P<field>[A-Za-z0-9_.]+)=(?P<values>[^=@]+))?"
)


@dataclass(frozen=True, slots=True)
class Spec:
    """One killer.

    :ivar kind: ``kernel``, ``earlyoom``, ``level``, ``lmk`` or ``lmkd``.
    :ivar policy: of ``lmk``: a preset's name or a file.
    :ivar field: what `values` are for; "" for a killer as it comes.
    """

    kind: str
    policy: str = ""
    field: str = ""
    values: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """Its name without a value: what a curve belongs to."""
        return f"{self.kind}:{self.policy}" if self.policy else self.kind

    @property
    def name(self) -> str:
        """Its name with the value, in short: ``level@12``."""
        return f"{self.family}@{','.join(self.values)}" if self.values else self.family

    @property
    def value(self) -> str | None:
        """The one value, if there is one."""
        return self.values[0] if self.values else None

    def points(self) -> list[Spec]:
        """One killer for each value."""
        if not self.values:
            return [self]
        return [replace(self, values=(value,)) for value in self.values]


def parse_spec(text: str) -> Spec:
    """Read one killer.

    :raises lmk.errors.UsageError: it is none.
    """
    match = _TEXT.fullmatch(text)
    if match is None or match["kind"] not in _KINDS:
        raise UsageError(
            f"{text!r} is no killer: NAME[:POLICY][@FIELD=VALUE,…] with NAME one of "
            f"{', '.join(_KINDS)}"
        )
    kind, policy, field = match["kind"], match["policy"] or "", match["field"] or ""
    if policy and kind != "lmk":
        raise UsageError(f"{text!r}: only lmk takes a policy")
    if field and kind == "kernel":
        raise UsageError(f"{text!r}: there is nothing to set for the kernel's OOM killer")
    if field and kind in ("earlyoom", "level") and field != _KINDS[kind]:
        raise UsageError(f"{text!r}: {kind} has {_KINDS[kind]}, and no {field}")
    values = tuple(value.strip() for value in (match["values"] or "").split(",") if value.strip())
    if field and not values:
        raise UsageError(f"{text!r}: {field} has no value")
    return Spec(kind, policy or ("default" if kind == "lmk" else ""), field, values)


def curve_points(spec: Spec) -> list[Spec]:
    """The points of the curve of `spec`: its values, or a sweep of what it usually goes by.

    earlyoom as it comes is a point of its own: it waits for swap to be full, which its -m
    does not move.
    """
    if spec.values or spec.kind == "kernel":
        return spec.points()
    field, values = _SWEEPS.get(spec.family) or _SWEEPS[spec.kind]
    swept = replace(spec, field=field, values=values).points()
    return [spec, *swept] if spec.kind == "earlyoom" else swept
