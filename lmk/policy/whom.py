# SPDX-License-Identifier: Apache-2.0
"""What a policy may not say of whom it is for: ranges of uids, and rules for apps."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lmk.proto.policy_pb2 import AppRule, Order, Policy, UidRange

__all__ = ["Broken", "broken_rules", "broken_uids"]

#: A broken rule: the fields to point at, best first, and what to say.
Broken = tuple[tuple[str, ...], str]

#: bpf/include/lmk/policy_view.h: LMK_UID_RANGES, LMK_APP_RULES.
_MAX_UID_RANGES = 8
_MAX_APP_RULES = 16
#: policy.options.
_MAX_BYTES = {"package": 127, "process": 94, "cgroup": 127, "unit": 127}
#: bpf/include/lmk/abi.h: LMK_CGROUP_LEVELS.
_MAX_CGROUP_LEVELS = 16
_MAX_WEIGHT_PCT = 1000
_UID_MAX = 0xFFFF_FFFE  # -1 is no uid


def broken_uids(field: str, ranges: list[UidRange]) -> Iterator[Broken]:
    """What is wrong with ranges of uids."""
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


def broken_rules(policy: Policy) -> Iterator[Broken]:
    """What is wrong with the rules for apps."""
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
        for _, message in broken_uids("uids", [rule.uids]):
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
