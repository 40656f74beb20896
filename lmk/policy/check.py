# SPDX-License-Identifier: Apache-2.0
"""What a policy may not say, though it parses: contradictions, and limits nobody can mean.

Every rule looks at the complete policy (defaults filled in), so that a file which
changes one side of a pair is held against the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lmk.proto.policy_pb2 import (
    Policy,
    StallReason,
    SwapReason,
    UidRange,
    WatermarkReason,
)

__all__ = ["Finding", "check_policy"]

#: bpf/include/lmk/policy_view.h: LMK_UID_RANGES.
_MAX_UID_RANGES = 8
_MAX_NAME_BYTES = 63
_MIN_WINDOW_MS, _MAX_WINDOW_MS = 50, 10_000
_UID_MAX = 0xFFFF_FFFE  # -1 is no uid


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a policy.

    :ivar line: 1.., or 0 when the file does not name the field (a default is at fault).
    :ivar field: path of the field: ``full_stall.stall_ms``.
    """

    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}" if self.line else f" {self.message}"


def check_policy(policy: Policy, text: str = "") -> list[Finding]:
    """All findings on a complete policy, in the order of its lines.

    :param text: where it was read from, for line and column.
    """
    places = _locate(text)
    findings = []
    for fields, message in _rules(policy):
        place = next((places[field] for field in fields if field in places), (0, 0))
        findings.append(Finding(*place, fields[0], message))
    return sorted(findings, key=lambda finding: (finding.line, finding.column))


_Broken = tuple[tuple[str, ...], str]


def _rules(policy: Policy) -> Iterator[_Broken]:
    """Each broken rule: the fields to point at, best first, and what to say."""
    size = len(policy.name.encode())
    if size > _MAX_NAME_BYTES:
        yield ("name",), f"name is {size} bytes long, at most {_MAX_NAME_BYTES} fit"
    yield from _timing(policy)
    yield from _percent("scarcity.available_below_pct", policy.scarcity.available_below_pct)
    yield from _stall(policy, "full_stall", policy.full_stall)
    yield from _level("low_swap", policy.low_swap)
    yield from _percent("low_swap.swap_free_low_pct", policy.low_swap.swap_free_low_pct)
    yield from _floor(policy, "low_swap", policy.low_swap.min_oom_score_adj)
    yield from _stall(policy, "some_stall", policy.some_stall)
    yield from _level("watermark", policy.watermark)
    yield from _floor(policy, "watermark", policy.watermark.min_oom_score_adj)
    yield from _uids("only_uids", list(policy.only_uids))
    yield from _uids("protected_uids", list(policy.protected_uids))
    yield from _harmless(policy)


def _harmless(policy: Policy) -> Iterator[_Broken]:
    """A policy under which nobody can ever die is a mistake; a dry run says so itself."""
    reasons = ("full_stall", "low_swap", "some_stall", "watermark")
    if not any(getattr(policy, reason).enabled for reason in reasons):
        yield (
            tuple(f"{reason}.enabled" for reason in reasons),
            "every reason is switched off: nobody would ever be killed; "
            "to decide without killing: dry_run: true",
        )
    if policy.only_uids and all(
        any(
            outer.first <= inner.first and inner.last <= outer.last
            for outer in policy.protected_uids
        )
        for inner in policy.only_uids
    ):
        yield (
            ("only_uids", "protected_uids"),
            "every range of only_uids lies within protected_uids: nobody would ever be killed",
        )


def _timing(policy: Policy) -> Iterator[_Broken]:
    timing = policy.timing
    for field in timing.DESCRIPTOR.fields:
        if getattr(timing, field.name) == 0:
            yield (f"timing.{field.name}",), f"timing.{field.name} must be more than 0"
    if timing.idle_interval_ms < timing.pressure_interval_ms:
        yield (
            ("timing.idle_interval_ms", "timing.pressure_interval_ms"),
            f"timing.idle_interval_ms ({timing.idle_interval_ms}) is shorter than "
            f"timing.pressure_interval_ms ({timing.pressure_interval_ms})",
        )
    if timing.retry_ms > timing.kill_timeout_ms:
        yield (
            ("timing.retry_ms", "timing.kill_timeout_ms"),
            f"timing.retry_ms ({timing.retry_ms}) is longer than "
            f"timing.kill_timeout_ms ({timing.kill_timeout_ms}): no retry would happen",
        )


def _stall(policy: Policy, path: str, reason: StallReason) -> Iterator[_Broken]:
    window = reason.window_ms
    if not _MIN_WINDOW_MS <= window <= _MAX_WINDOW_MS:
        yield (
            (f"{path}.window_ms",),
            f"{path}.window_ms is {window}, outside {_MIN_WINDOW_MS}..{_MAX_WINDOW_MS}",
        )
    if reason.stall_ms > window:
        yield (
            (f"{path}.stall_ms", f"{path}.window_ms"),
            f"{path}.stall_ms ({reason.stall_ms}) is more than fits in {path}.window_ms ({window})",
        )
    if reason.enabled and reason.stall_ms == 0:
        yield (
            (f"{path}.stall_ms",),
            f"{path}.stall_ms is 0, which always holds; to switch the reason off: enabled: false",
        )
    yield from _floor(policy, path, reason.min_oom_score_adj)


def _level(path: str, reason: SwapReason | WatermarkReason) -> Iterator[_Broken]:
    if reason.level not in (1, 2, 3):
        yield (
            (f"{path}.level",),
            f"{path}.level is one of WATERMARK_MIN, WATERMARK_LOW, WATERMARK_HIGH",
        )


def _percent(field: str, value: int) -> Iterator[_Broken]:
    if value > 100:
        yield (field,), f"{field} is {value}, more than 100 percent"


def _floor(policy: Policy, path: str, floor: int) -> Iterator[_Broken]:
    field = f"{path}.min_oom_score_adj"
    if not -1000 <= floor <= 1000:
        yield (field,), f"{field} is {floor}, outside -1000..1000"
    elif floor < 0 and not policy.allow_negative_floor:
        yield (
            (field,),
            f"{field} is {floor}: below 0 are persistent and system processes; "
            "if you mean it: allow_negative_floor: true",
        )


def _uids(field: str, ranges: list[UidRange]) -> Iterator[_Broken]:
    if len(ranges) > _MAX_UID_RANGES:
        yield (field,), f"{field} has {len(ranges)} ranges, at most {_MAX_UID_RANGES} fit"
    for index, entry in enumerate(ranges):
        places = (f"{field}[{index}]", field)
        if not entry.HasField("first") or not entry.HasField("last"):
            yield places, f"{field}: a range needs both first and last"
        elif entry.first > entry.last:
            yield places, f"{field}: first ({entry.first}) is above last ({entry.last})"
        elif entry.last > _UID_MAX:
            yield places, f"{field}: {entry.last} is no uid"


# -- where things are --------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<other>.)""",
    re.DOTALL,
)


def _locate(text: str) -> dict[str, tuple[int, int]]:
    """Field path -> line and column of its name, for text that parses.

    The n-th entry of a repeated field is at ``field[n]`` too.
    """
    places: dict[str, tuple[int, int]] = {}
    counts: dict[str, int] = {}
    path: list[str] = []
    name = ""
    is_value = False
    for match in _TOKEN.finditer(text):
        token = match.group()
        if match.lastgroup == "skip":
            continue
        if match.lastgroup == "word" and not is_value:
            name = token
            field = ".".join([*path, name])
            begin = text.rfind("\n", 0, match.start()) + 1
            place = (text.count("\n", 0, match.start()) + 1, match.start() - begin + 1)
            places.setdefault(field, place)
            places[f"{field}[{counts.get(field, 0)}]"] = place
            counts[field] = counts.get(field, 0) + 1
        elif token in "{<" and match.lastgroup == "other":
            path.append(name)
        elif token in "}>" and match.lastgroup == "other" and path:
            path.pop()
        is_value = token == ":" or (is_value and token == "-")
    return places
