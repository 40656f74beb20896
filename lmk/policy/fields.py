# SPDX-License-Identifier: Apache-2.0
"""Every field of a policy with what it is in words, and its values with their units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lmk.proto.policy_pb2 import AppRule, Evaluate, Order, OtherKiller, Policy, Watermark

__all__ = ["WORDS", "flat", "match_words", "rule_words", "stopped_killer", "value_words"]

#: Path of a field -> what it is, as it stands in a sentence.
WORDS = {
    "name": "name",
    "dry_run": "decide and report, kill nobody",
    "allow_negative_floor": "floors below 0 are meant",
    "other_killer": "other killer that is stopped meanwhile",
    "timing.pressure_interval_ms": "time between decisions while memory is short",
    "timing.idle_interval_ms": "longest time between looks at a device at rest",
    "timing.fill_rate_mb_per_s": "how fast memory may be used up between looks",
    "timing.kill_timeout_ms": "how long an unfinished kill holds up the next",
    "timing.retry_ms": "when a victim that does not exit gets its signal again",
    "timing.evaluate": "when to evaluate",
    "timing.poll_short_ms": "time between polls while swap is low or after a kill",
    "timing.poll_long_ms": "time between polls otherwise",
    "timing.early_out": "nothing is decided while nobody reclaims and nothing is refaulted",
    "timing.shadow_timeout_ms": "how long a would-be kill holds up the next verdict",
    "scarcity.available_below_pct": "share of memory available below which anybody may die",
    "scarcity.unless_thrashing": "thrashing is a reason however much is available",
    "stall.psi_partial_stall_ms": "`some` stall in a window that is too much",
    "stall.psi_complete_stall_ms": "`full` stall in a window that is too much",
    "stall.psi_window_size_ms": "the window that stall is counted in",
    "stall.partial_stall_min_score": "who may die for `some` stall alone",
    "stall.complete_stall_min_score": "who may die when the device does not respond",
    "stall.stall_limit_critical_pct": "`full` avg10 above which anybody may die",
    "stall.foreground_up_to_score": "whose stall is the foreground's",
    "stall.foreground_weight_pct": "what the foreground's stall counts",
    "stall.background_weight_pct": "what everybody else's stall counts",
    "stall.since_kill": "stall counts only since the last kill's memory was back",
    "swap.swap_free_low_percentage": "share of swap free below which it is low",
    "swap.no_swap_is_low": "a device without swap counts as one whose swap is low",
    "swap.low_swap_level": "watermark at which low swap is a reason",
    "swap.swap_util_max_pct": "share of what could be swapped that is too much",
    "swap.swap_util_min_score": "who may die for swap in use",
    "swap.swap_compression_ratio": "assumed compression of swap",
    "swap.swap_compression_ratio_div": "its divisor",
    "swap.measure_compression": "compression is measured where it can be",
    "thrashing.thrashing_limit_pct": "refaults a second that are thrashing",
    "thrashing.thrashing_limit_decay_pct": "share by which that limit falls with a kill",
    "thrashing.thrashing_limit_critical_pct": "thrashing that takes protection away",
    "thrashing.count_anon_refaults": "pages that come back from swap count",
    "thrashing.filecache_min_kb": "file cache below which it is low after thrashing",
    "thrashing.filecache_min_score": "who may die for low file cache",
    "low_mem.lowmem_min_oom_score": "who may die for free memory alone",
    "low_mem.level": "watermark at which free memory is low",
    "low_mem.watermark_per_zone": "each zone is held against its own watermark",
    "low_mem.relaxed_available_memory": "clean cache and what compresses are available",
    "low_mem.pressure_after_kill_min_score": "who may die when a kill was not enough",
    "low_mem.horizon_ms": "how far ahead free memory is low",
    "reclaim.direct_reclaim_threshold_ms": "time in direct reclaim after which a task is stuck",
    "reclaim.direct_reclaim_min_score": "who may die for a task that is stuck",
    "floors.perceptible_min_score": "who may die for thrashing and low swap",
    "floors.critical_min_score": "who may die for them when it is critical",
    "kills.wait_for_memory": "the next kill waits until memory is back",
    "kills.max_per_minute": "kills a minute at most",
    "kills.order": "who dies first at one oom_score_adj",
    "kills.largest_rss_up_to_score": "up to where the largest resident set goes first",
    "rest.pageout_min_score": "who is moved to swap at rest",
    "rest.pageout_after_ms": "how long they have been idle by then",
    "rest.pageout_swap_free_pct": "share of swap that is left free",
    "only_uids": "the only uids that may die",
    "protected_uids": "uids that never die",
    "rules": "rules for apps",
}

_OFF = 1001
_ENUMS: dict[str, tuple[Any, str]] = {
    "timing.evaluate": (Evaluate, "EVALUATE_"),
    "swap.low_swap_level": (Watermark, "WATERMARK_"),
    "low_mem.level": (Watermark, "WATERMARK_"),
    "kills.order": (Order, "ORDER_"),
    "other_killer": (OtherKiller, "OTHER_KILLER_"),
}
#: Fields that hold 0 or this for "off".
_SWITCHED_OFF = {
    "timing.kill_timeout_ms": (0, "without limit"),
    "timing.shadow_timeout_ms": (0, "without limit"),
    "scarcity.available_below_pct": (100, "always"),
    "stall.stall_limit_critical_pct": (100, "off"),
    "swap.swap_free_low_percentage": (0, "off"),
    "swap.swap_util_max_pct": (100, "off"),
    "swap.swap_compression_ratio": (0, "off"),
    "thrashing.filecache_min_kb": (0, "off"),
    "low_mem.horizon_ms": (0, "off"),
    "reclaim.direct_reclaim_threshold_ms": (0, "off"),
    "kills.max_per_minute": (0, "without limit"),
    "kills.largest_rss_up_to_score": (-1000, "nowhere"),
}
_UNITS = {
    "_mb_per_s": " MB/s",
    "_ms": " ms",
    "_kb": " kB",
    "_pct": " %",
    "_percentage": " %",
}


def flat(policy: Policy) -> Iterator[tuple[str, object]]:
    """Every field of a complete policy by its path, in the order of the definition."""
    for field in Policy.DESCRIPTOR.fields:
        value = getattr(policy, field.name)
        if field.message_type is None:
            yield field.name, value
        elif field.name == "rules":
            yield field.name, tuple(rule_words(rule) for rule in value)
        elif field.is_repeated:
            yield field.name, tuple((entry.first, entry.last) for entry in value)
        else:
            for member in field.message_type.fields:
                yield f"{field.name}.{member.name}", getattr(value, member.name)


def stopped_killer(policy: Policy) -> str:
    """Whom a session under `policy` stops while it lasts: ``none``, ``any``, ``systemd-oomd``, …"""
    name = OtherKiller.Name(policy.other_killer).removeprefix("OTHER_KILLER_")
    return "none" if policy.dry_run else name.replace("_", "-").lower()


def match_words(rule: AppRule) -> str:
    """Whom a rule is for: ``package com.example``, ``uids 10100..10109``."""
    match = rule.WhichOneof("match") or "nobody"
    if match == "uids":
        return f"uids {value_words('uids', ((rule.uids.first, rule.uids.last),))}"
    return f"{match} {getattr(rule, match)}" if match != "nobody" else match


def rule_words(rule: AppRule) -> str:
    """A rule for people: ``package com.example: counts as adj 200 at most``."""
    does = []
    if rule.protect:
        does.append("never dies")
    if rule.prefer:
        does.append("dies first unless it is perceptible")
    if rule.HasField("floor_score"):
        does.append(f"counts as adj {rule.floor_score} at most")
    if rule.HasField("weight_pct"):
        does.append(f"its gain counts {rule.weight_pct} %")
    if rule.relaunch_cost_kb:
        does.append(f"a relaunch costs {rule.relaunch_cost_kb} kB")
    return f"{match_words(rule)}: {', '.join(does) or 'as anybody'}"


def value_words(field: str, value: object) -> str:
    """`value` of the field at that path for people: ``70 ms``, ``701 and above``, ``off``."""
    if field == "rules" and isinstance(value, tuple):
        return "; ".join(value) or "none"
    if isinstance(value, tuple):
        return ", ".join(
            str(first) if first == last else f"{first}..{last}" for first, last in value
        ) or ("anybody" if field == "only_uids" else "none")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int):
        return str(value)
    if field in _ENUMS:
        enum, prefix = _ENUMS[field]
        return str(enum.Name(value)).removeprefix(prefix).replace("_", " ").lower()
    if _SWITCHED_OFF.get(field, (None, ""))[0] == value:
        return _SWITCHED_OFF[field][1]
    if field.endswith(("_min_score", "_min_oom_score")):
        return "nobody" if value >= _OFF else f"adj {value} and above"
    if field.endswith("_up_to_score"):
        return f"up to adj {value}"
    unit = next((unit for suffix, unit in _UNITS.items() if field.endswith(suffix)), "")
    return f"{value}{unit}"
