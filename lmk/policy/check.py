# SPDX-License-Identifier: Apache-2.0
"""What a policy may not say, though it parses: contradictions, and limits nobody can mean.

Every rule looks at the complete policy (defaults filled in), so that a file which
changes one side of a pair is held against the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lmk.proto.policy_pb2 import AppRule, Order, Policy, Stall, UidRange

__all__ = ["Finding", "check_policy"]

#: bpf/include/lmk/policy_view.h: LMK_UID_RANGES, LMK_APP_RULES.
_MAX_UID_RANGES = 8
_MAX_APP_RULES = 16
#: policy.options.
_MAX_BYTES = {"package": 127, "process": 94, "cgroup": 127, "unit": 127}
#: bpf/include/lmk/abi.h: LMK_CGROUP_LEVELS.
_MAX_CGROUP_LEVELS = 16
_MAX_WEIGHT_PCT = 1000
_MAX_NAME_BYTES = 63
_MIN_WINDOW_MS, _MAX_WINDOW_MS = 50, 10_000
_UID_MAX = 0xFFFF_FFFE  # -1 is no uid


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


_Broken = tuple[tuple[str, ...], str]


def _rules(policy: Policy) -> Iterator[_Broken]:
    """Each broken rule: the fields to point at, best first, and what to say."""
    size = len(policy.name.encode())
    if size > _MAX_NAME_BYTES:
        yield ("name",), f"name is {size} bytes long, at most {_MAX_NAME_BYTES} fit"
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
    yield from _uids("only_uids", list(policy.only_uids))
    yield from _uids("protected_uids", list(policy.protected_uids))
    yield from _rules_for_apps(policy)
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


def _at_most(policy: Policy, field: str, most: int, words: str) -> Iterator[_Broken]:
    value = _value(policy, field)
    if value > most:
        yield (field,), f"{field} is {value}, {words}"


def _harmless(policy: Policy) -> Iterator[_Broken]:
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


def _timing(policy: Policy) -> Iterator[_Broken]:
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


def _stall(stall: Stall) -> Iterator[_Broken]:
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


def _swap(policy: Policy) -> Iterator[_Broken]:
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


def _thrashing(policy: Policy) -> Iterator[_Broken]:
    thrashing = policy.thrashing
    if thrashing.thrashing_limit_critical_pct < thrashing.thrashing_limit_pct:
        yield (
            ("thrashing.thrashing_limit_critical_pct", "thrashing.thrashing_limit_pct"),
            f"thrashing.thrashing_limit_critical_pct ({thrashing.thrashing_limit_critical_pct}) "
            f"is less than thrashing.thrashing_limit_pct ({thrashing.thrashing_limit_pct})",
        )


def _kills(policy: Policy) -> Iterator[_Broken]:
    if policy.kills.order not in (1, 2, 3):
        yield (
            ("kills.order",),
            "kills.order is one of ORDER_LARGEST_GAIN, ORDER_OLDEST, ORDER_LARGEST_RSS",
        )
    yield from _at_most(policy, "kills.max_per_minute", 6000, "more than 100 a second")


def _floor(policy: Policy, field: str) -> Iterator[_Broken]:
    floor = _value(policy, field)
    if not -1000 <= floor <= _OFF:
        yield (field,), f"{field} is {floor}, outside -1000..{_OFF} ({_OFF}: off)"
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


def _rules_for_apps(policy: Policy) -> Iterator[_Broken]:
    rules = policy.rules
    if len(rules) > _MAX_APP_RULES:
        yield ("rules",), f"there are {len(rules)} rules, at most {_MAX_APP_RULES} fit"
    for index, rule in enumerate(rules):
        where = f"rules[{index}]"
        for field, message in (*_whom(rule), *_effects(rule, policy)):
            places = (f"{where}.{field}", where) if field else (where,)
            yield places, f"rule {index + 1}: {message}"


def _whom(rule: AppRule) -> Iterator[tuple[str, str]]:
    match = rule.WhichOneof("match")
    if match is None:
        yield "", "it needs one of uids, package, process, cgroup, unit: whom it is for"
    elif match == "uids":
        for _, message in _uids("uids", [rule.uids]):
            yield "uids", message
    else:
        name = getattr(rule, match)
        size, most = len(name.encode()), _MAX_BYTES[match]
        if not name:
            yield match, f"{match} is empty"
        elif size > most:
            yield match, f"{match} is {size} bytes long, at most {most} fit"
        elif match == "package" and not re.fullmatch(r"[\w.]+", name, re.ASCII):
            yield match, f"{name!r} is no package; for a process of it: process"
        elif match == "cgroup":
            yield from (("cgroup", message) for message in _path(name))
        elif match == "unit" and "/" in name:
            yield match, f"{name!r} is no unit but a path; for that: cgroup"


def _path(cgroup: str) -> Iterator[str]:
    names = cgroup.split("/")[1:]
    if not cgroup.startswith("/"):
        yield f"{cgroup!r} does not begin with /, the root of the hierarchy; for one name: unit"
    elif cgroup == "/":
        yield "/ is the root: every process is in it or below"
    elif "" in names:
        yield f"{cgroup!r} has an empty name: one / between two, none at the end"
    elif "." in names or ".." in names:
        yield f"{cgroup!r} has . or .. in it: a path from the root has neither"
    elif len(names) > _MAX_CGROUP_LEVELS:
        yield f"cgroup has {len(names)} names, at most {_MAX_CGROUP_LEVELS} are looked at"


def _effects(rule: AppRule, policy: Policy) -> Iterator[tuple[str, str]]:
    kills = policy.kills
    if rule.HasField("floor_score") and not -999 <= rule.floor_score <= 999:
        least = " (to let nobody of it die: protect)" if rule.floor_score < -999 else ""
        yield "floor_score", f"floor_score is {rule.floor_score}, outside -999..999{least}"
    if rule.HasField("weight_pct") and rule.weight_pct > _MAX_WEIGHT_PCT:
        yield "weight_pct", f"weight_pct is {rule.weight_pct}, more than tenfold"
    weighs = (rule.HasField("weight_pct") and rule.weight_pct != 100) or rule.relaunch_cost_kb
    others = [
        name
        for name, stated in (
            ("prefer", rule.prefer),
            ("floor_score", rule.HasField("floor_score")),
            ("weight_pct", rule.HasField("weight_pct")),
            ("relaunch_cost_kb", rule.relaunch_cost_kb),
        )
        if stated
    ]
    if rule.protect and others:
        yield others[0], f"{others[0]} says nothing of who is protected and never dies"
    elif rule.prefer and rule.HasField("floor_score"):
        yield "floor_score", "prefer and floor_score pull opposite ways: only one can be meant"
    elif not (rule.protect or rule.prefer or rule.HasField("floor_score") or weighs):
        yield (
            "",
            (
                "it changes nothing: give it protect, prefer, floor_score, weight_pct (not 100) "
                "or relaunch_cost_kb"
            ),
        )
    elif (
        weighs
        and not (rule.prefer or rule.HasField("floor_score"))
        and kills.order == Order.ORDER_OLDEST
        and kills.largest_rss_up_to_score <= -1000
    ):
        yield "", "weight_pct and relaunch_cost_kb say nothing where kills.order is ORDER_OLDEST"


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
