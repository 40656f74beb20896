# SPDX-License-Identifier: Apache-2.0
"""What a policy may not say, though it parses: contradictions, and limits nobody can mean.

Every rule looks at the complete policy (defaults filled in), so that a file which
changes one side of a pair is held against the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lmk.policy.whom import Broken, broken_rules, broken_uids
from lmk.proto.policy_pb2 import OtherKiller, Policy, Stall

__all__ = ["Finding", "check_policy"]

_MAX_NAME_BYTES = 63
_MIN_WINDOW_MS, _MAX_WINDOW_MS = 50, 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a policy.

    :ivar line: 1.., or 0 when the file does not name the field (a default is at fault).
    :ivar field: path of the field: ``stall.psi_partial_stall_ms``.
    """

    line: int
    column: int
    field: str
    message: str
    #: All fields that the rule holds against each other, `field` first.
    fields: tuple[str, ...] = ()

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
        findings.append(Finding(*place, fields[0], message, fields))
    return sorted(findings, key=lambda finding: (finding.line, finding.column))


def _rules(policy: Policy) -> Iterator[Broken]:
    """Each broken rule: the fields to point at, best first, and what to say."""
    size = len(policy.name.encode())
    if size > _MAX_NAME_BYTES:
        yield ("name",), f"name is {size} bytes long, at most {_MAX_NAME_BYTES} fit"
    if policy.other_killer not in OtherKiller.values()[1:]:
        names = ", ".join(OtherKiller.keys()[1:])
        yield ("other_killer",), f"other_killer is one of {names}"
    yield from _timing(policy)
    yield from _stall(policy.stall)
    for field in _PERCENTS:
        yield from _at_most(policy, field, 100, "more than 100 percent")
    for field in _WEIGHTS:
        yield from _at_most(policy, field, 1000, "more than tenfold")
    for field, least, most in _RANGES:
        value = _value(policy, field)
        if not least <= value <= most:
            yield (field,), f"{field} is {value}, outside {least}..{most}"
    for field in _LEVELS:
        if _value(policy, field) not in (1, 2, 3):
            yield (field,), f"{field} is one of WATERMARK_MIN, WATERMARK_LOW, WATERMARK_HIGH"
    for field in _SCORES:
        yield from _floor(policy, field)
    yield from _swap(policy)
    yield from _thrashing(policy)
    yield from _kills(policy)
    yield from broken_uids("only_uids", list(policy.only_uids))
    yield from broken_uids("protected_uids", list(policy.protected_uids))
    yield from broken_rules(policy)
    yield from _harmless(policy)


#: Floors: nobody below that oom_score_adj dies for that reason; 1001 switches the reason off.
_REASON_FLOORS = (
    "stall.partial_stall_min_score",
    "stall.complete_stall_min_score",
    "swap.swap_util_min_score",
    "thrashing.filecache_min_score",
    "low_mem.lowmem_min_oom_score",
    "low_mem.pressure_after_kill_min_score",
    "reclaim.direct_reclaim_min_score",
)
_FLOORS = (*_REASON_FLOORS, "floors.perceptible_min_score", "floors.critical_min_score")
_SCORES = (*_FLOORS, "rest.pageout_min_score")
_LEVELS = ("swap.low_swap_level", "low_mem.level")
_PERCENTS = (
    "scarcity.available_below_pct",
    "stall.stall_limit_critical_pct",
    "swap.swap_free_low_percentage",
    "swap.swap_util_max_pct",
    "thrashing.thrashing_limit_decay_pct",
    "rest.pageout_swap_free_pct",
)
_WEIGHTS = ("stall.foreground_weight_pct", "stall.background_weight_pct")
#: What the agent takes (bpf/agent/policy_check.c) and no other rule is about.
_RANGES = (
    ("timing.pressure_interval_ms", 0, 1000),
    ("timing.idle_interval_ms", 0, 60_000),
    ("timing.fill_rate_mb_per_s", 0, 1_000_000),
    ("timing.kill_timeout_ms", 0, 60_000),
    ("timing.retry_ms", 0, 60_000),
    ("timing.poll_short_ms", 0, 10_000),
    ("timing.poll_long_ms", 0, 10_000),
    ("timing.shadow_timeout_ms", 0, 3_600_000),
    ("stall.foreground_up_to_score", -1000, 1000),
    ("swap.swap_compression_ratio", 0, 1_000_000),
    ("swap.swap_compression_ratio_div", 0, 1_000_000),
    ("thrashing.thrashing_limit_pct", 0, 1_000_000),
    ("thrashing.thrashing_limit_critical_pct", 0, 1_000_000),
    ("kills.largest_rss_up_to_score", -1000, 1000),
    ("low_mem.horizon_ms", 0, 10_000),
    ("rest.pageout_after_ms", 100, 3_600_000),
)
_OFF = 1001


def _value(policy: Policy, field: str) -> int:
    group, _, name = field.partition(".")
    return int(getattr(getattr(policy, group), name))


def _at_most(policy: Policy, field: str, most: int, words: str) -> Iterator[Broken]:
    value = _value(policy, field)
    if value > most:
        yield (field,), f"{field} is {value}, {words}"


def _harmless(policy: Policy) -> Iterator[Broken]:
    """A policy under which nobody can ever die is a mistake; a dry run says so itself."""
    if all(_value(policy, field) >= _OFF for field in _FLOORS):
        yield (
            _FLOORS,
            f"every floor is {_OFF}: nobody would ever be killed; "
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


def _timing(policy: Policy) -> Iterator[Broken]:
    timing = policy.timing
    for field in timing.DESCRIPTOR.fields:
        # A timeout of 0 is lmkd's "wait without limit".
        if field.name in ("early_out", "evaluate", "kill_timeout_ms", "shadow_timeout_ms"):
            continue
        if getattr(timing, field.name) == 0:
            yield (f"timing.{field.name}",), f"timing.{field.name} must be more than 0"
    if timing.evaluate not in (1, 2):
        yield (
            ("timing.evaluate",),
            "timing.evaluate is one of EVALUATE_CONTINUOUSLY, EVALUATE_ON_PSI_EVENTS",
        )
    if timing.idle_interval_ms < timing.pressure_interval_ms:
        yield (
            ("timing.idle_interval_ms", "timing.pressure_interval_ms"),
            f"timing.idle_interval_ms ({timing.idle_interval_ms}) is shorter than "
            f"timing.pressure_interval_ms ({timing.pressure_interval_ms})",
        )
    if timing.poll_long_ms < timing.poll_short_ms:
        yield (
            ("timing.poll_long_ms", "timing.poll_short_ms"),
            f"timing.poll_long_ms ({timing.poll_long_ms}) is shorter than "
            f"timing.poll_short_ms ({timing.poll_short_ms})",
        )
    if timing.kill_timeout_ms and timing.retry_ms > timing.kill_timeout_ms:
        yield (
            ("timing.retry_ms", "timing.kill_timeout_ms"),
            f"timing.retry_ms ({timing.retry_ms}) is longer than "
            f"timing.kill_timeout_ms ({timing.kill_timeout_ms}): no retry would happen",
        )


def _stall(stall: Stall) -> Iterator[Broken]:
    window = stall.psi_window_size_ms
    if not _MIN_WINDOW_MS <= window <= _MAX_WINDOW_MS:
        yield (
            ("stall.psi_window_size_ms",),
            f"stall.psi_window_size_ms is {window}, outside {_MIN_WINDOW_MS}..{_MAX_WINDOW_MS}",
        )
    for name in ("psi_partial_stall_ms", "psi_complete_stall_ms"):
        value = getattr(stall, name)
        if value > window:
            yield (
                (f"stall.{name}", "stall.psi_window_size_ms"),
                f"stall.{name} ({value}) is more than fits in stall.psi_window_size_ms ({window})",
            )
        if value == 0:
            yield (
                (f"stall.{name}",),
                f"stall.{name} is 0, which always holds; to switch a reason off, give its floor "
                f"{_OFF}",
            )


def _swap(policy: Policy) -> Iterator[Broken]:
    swap = policy.swap
    if swap.swap_compression_ratio_div == 0:
        yield (
            ("swap.swap_compression_ratio_div",),
            "swap.swap_compression_ratio_div must be more than 0",
        )
    elif swap.swap_compression_ratio and (
        swap.swap_compression_ratio < swap.swap_compression_ratio_div
    ):
        yield (
            ("swap.swap_compression_ratio", "swap.swap_compression_ratio_div"),
            f"swap.swap_compression_ratio ({swap.swap_compression_ratio}) is less than "
            f"swap.swap_compression_ratio_div ({swap.swap_compression_ratio_div}): "
            "compressed memory would take more than it holds",
        )


def _thrashing(policy: Policy) -> Iterator[Broken]:
    thrashing = policy.thrashing
    if thrashing.thrashing_limit_critical_pct < thrashing.thrashing_limit_pct:
        yield (
            ("thrashing.thrashing_limit_critical_pct", "thrashing.thrashing_limit_pct"),
            f"thrashing.thrashing_limit_critical_pct ({thrashing.thrashing_limit_critical_pct}) "
            f"is less than thrashing.thrashing_limit_pct ({thrashing.thrashing_limit_pct})",
        )


def _kills(policy: Policy) -> Iterator[Broken]:
    if policy.kills.order not in (1, 2, 3):
        yield (
            ("kills.order",),
            "kills.order is one of ORDER_LARGEST_GAIN, ORDER_OLDEST, ORDER_LARGEST_RSS",
        )
    yield from _at_most(policy, "kills.max_per_minute", 6000, "more than 100 a second")


def _floor(policy: Policy, field: str) -> Iterator[Broken]:
    floor = _value(policy, field)
    if not -1000 <= floor <= _OFF:
        yield (field,), f"{field} is {floor}, outside -1000..{_OFF} ({_OFF}: off)"
    elif floor < 0 and not policy.allow_negative_floor:
        yield (
            (field,),
            f"{field} is {floor}: below 0 are persistent and system processes; "
            "if you mean it: allow_negative_floor: true",
        )


# -- where things are --------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<other>.)""",
    re.DOTALL,
)


def _locate(text: str) -> dict[str, tuple[int, int]]:
    """Field path -> line and column of its name, for text that parses.

    The n-th entry of a repeated field is at ``field[n]`` too, what is in it at ``field[n].name``.
    """
    places: dict[str, tuple[int, int]] = {}
    counts: dict[str, int] = {}
    path: list[str] = []
    exact: list[str] = []
    name = entry = ""
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
            entry = f"{name}[{counts.get(field, 0)}]"
            places[".".join([*path, entry])] = place
            places.setdefault(".".join([*exact, name]), place)
            counts[field] = counts.get(field, 0) + 1
        elif token in "{<" and match.lastgroup == "other":
            path.append(name)
            exact.append(entry)
        elif token in "}>" and match.lastgroup == "other" and path:
            path.pop()
            exact.pop()
        is_value = token == ":" or (is_value and token == "-")
    return places
