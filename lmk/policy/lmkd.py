# SPDX-License-Identifier: Apache-2.0
"""lmkd's properties as a policy: what a device was tuned to, carried over.

``persist.device_config.lmkd_native.NAME`` goes before ``ro.lmk.NAME``, which goes before the
default; with ``ro.config.low_ram`` the defaults are those of a device that is low on RAM. Values
are read as lmkd reads them: clamped where it clamps, its default where they make no sense.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lmk.policy.check import check_policy
from lmk.policy.text import dump, preset
from lmk.proto.policy_pb2 import Order, Policy

__all__ = ["CarriedOver", "LeftOut", "Taken", "from_properties", "text_of"]

_OVERRIDE = "persist.device_config.lmkd_native."
_PLAIN = "ro.lmk."
_TRUE, _FALSE = ("1", "y", "yes", "on", "true"), ("0", "n", "no", "off", "false")
_UINT32_MAX = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Taken:
    """A property that went into the policy.

    :ivar key: with its prefix, as ``getprop`` has it.
    :ivar field: where it went: ``stall.psi_partial_stall_ms``.
    :ivar stored: what it says there, if not the value itself.
    """

    key: str
    value: str
    field: str
    stored: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A property that the policy says nothing about, and why."""

    key: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class CarriedOver:
    """A device's properties as a policy.

    :ivar policy: complete and checked.
    :ivar low_ram: the defaults are those for low RAM.
    """

    policy: Policy
    low_ram: bool
    taken: list[Taken] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Number:
    """An integer property: where it goes and how lmkd clamps it."""

    path: str
    least: int = 0
    most: int = _UINT32_MAX
    as_stored: Callable[[int], int] = int


def _score(value: int) -> int:
    return min(value, 1001)


#: Name without prefix -> what becomes of it.
_NUMBERS = {
    "kill_timeout_ms": _Number("timing.kill_timeout_ms"),
    "swap_free_low_percentage": _Number("swap.swap_free_low_percentage", most=100),
    "psi_partial_stall_ms": _Number("stall.psi_partial_stall_ms"),
    "psi_complete_stall_ms": _Number("stall.psi_complete_stall_ms"),
    "psi_window_size_ms": _Number("stall.psi_window_size_ms"),
    "thrashing_limit": _Number("thrashing.thrashing_limit_pct"),
    "thrashing_limit_decay": _Number("thrashing.thrashing_limit_decay_pct", most=100),
    "thrashing_limit_critical": _Number("thrashing.thrashing_limit_critical_pct"),
    "swap_util_max": _Number("swap.swap_util_max_pct", most=100),
    "filecache_min_kb": _Number("thrashing.filecache_min_kb"),
    "stall_limit_critical": _Number(
        "stall.stall_limit_critical_pct", as_stored=lambda value: min(value, 100)
    ),
    "pressure_after_kill_min_score": _Number(
        "low_mem.pressure_after_kill_min_score", least=-1000, as_stored=_score
    ),
    "lowmem_min_oom_score": _Number("low_mem.lowmem_min_oom_score", least=201, as_stored=_score),
    "direct_reclaim_threshold_ms": _Number("reclaim.direct_reclaim_threshold_ms"),
    "swap_compression_ratio": _Number("swap.swap_compression_ratio"),
    "swap_compression_ratio_div": _Number("swap.swap_compression_ratio_div"),
}
_OLD_STRATEGY = "only lmkd's old strategy (memcg v1) has it"
_NEVER = {
    "low": _OLD_STRATEGY,
    "medium": _OLD_STRATEGY,
    "critical": _OLD_STRATEGY,
    "critical_upgrade": _OLD_STRATEGY,
    "upgrade_pressure": _OLD_STRATEGY,
    "downgrade_pressure": _OLD_STRATEGY,
    "debug": "every kill is reported in full as it is",
    "log_stats": "every kill is reported in full as it is",
    "delay_monitors_until_boot": "handlers sense from `lmk attach` on",
    "reinit": "it is a request, not a setting",
}


def from_properties(properties: Mapping[str, str], *, name: str = "lmkd") -> CarriedOver:
    """The policy that lmkd would follow on a device with these properties.

    :param properties: as of :meth:`lmk.device.interface.Device.properties`.
    :param name: of the policy.
    """
    low_ram = _boolean(properties.get("ro.config.low_ram", "")) is True
    policy = preset("lmkd-lowram" if low_ram else "lmkd-highperf")
    policy.name = name
    carried = CarriedOver(policy, low_ram)
    found = _properties(properties)
    _whole_strategy(found, carried)
    for key, (short, value) in found.items():
        if short in _NUMBERS:
            _take_number(carried, key, value, _NUMBERS[short])
        elif short == "kill_heaviest_task":
            _take_switch(carried, key, value, "kills.order")
        elif short == "relaxed_available_memory":
            _take_switch(carried, key, value, "low_mem.relaxed_available_memory")
        elif short in _NEVER:
            carried.left_out.append(LeftOut(key, value, _NEVER[short]))
        elif short not in ("use_psi", "use_new_strategy", "use_minfree_levels"):
            carried.left_out.append(LeftOut(key, value, "AOSP's lmkd has no such property"))
    _settle(carried, found)
    memcg = properties.get("ro.config.per_app_memcg")
    if memcg is not None:
        carried.left_out.append(
            LeftOut("ro.config.per_app_memcg", memcg, "memory cgroups are not written to")
        )
    return carried


def text_of(carried: CarriedOver, *, source: str) -> str:
    """The policy as a file, with a comment for each property that it comes from.

    :param source: what the comment calls the device.
    """
    base = "lmkd-lowram" if carried.low_ram else "lmkd-highperf"
    lines = [f"# {source}: the preset {base} with"]
    lines += [f"#   {each.key}={each.value}" + _becomes(each) for each in carried.taken]
    if not carried.taken:
        lines.append("#   nothing changed")
    if carried.left_out:
        lines.append("# and without")
        lines += [f"#   {each.key}={each.value} ({each.why})" for each in carried.left_out]
    printable = ("".join(c if c.isprintable() else "?" for c in line) for line in lines)
    return dump(carried.policy) + "\n" + "\n".join(printable) + "\n"


def _becomes(taken: Taken) -> str:
    if not taken.field or taken.stored == taken.value:
        return ""
    return f" ({taken.field} is {taken.stored})"


def _properties(properties: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Key -> name and value of the ones that lmkd looks at: the override where there is one."""
    found: dict[str, tuple[str, str]] = {}
    shorts: set[str] = set()
    for prefix in (_OVERRIDE, _PLAIN):
        for key, value in sorted(properties.items()):
            short = key.removeprefix(prefix)
            if key.startswith(prefix) and short not in shorts and value != "":
                found[key] = (short, value)
                shorts.add(short)
    return found


def _whole_strategy(found: dict[str, tuple[str, str]], carried: CarriedOver) -> None:
    """The properties that choose another way to decide altogether."""
    values = {short: (key, value) for key, (short, value) in found.items()}

    def given(short: str, default: bool) -> bool:
        asked = _boolean(values.get(short, ("", ""))[1])
        return default if asked is None else asked

    minfree = given("use_minfree_levels", False)
    for short, is_old in (
        ("use_psi", not given("use_psi", True)),
        ("use_new_strategy", not given("use_new_strategy", True)),
        ("use_minfree_levels", minfree and not given("use_new_strategy", carried.low_ram)),
    ):
        if short not in values:
            continue
        key, value = values[short]
        if is_old:
            why = "it chooses lmkd's old strategy (memcg v1); this policy is the new one's"
            carried.left_out.append(LeftOut(key, value, why))
        else:
            carried.taken.append(Taken(key, value, "", "as it is"))


def _take_number(carried: CarriedOver, key: str, value: str, to: _Number) -> None:
    try:
        number = int(value, 0)
    except ValueError:
        why = f"not a number: lmkd takes its default, {_read(carried.policy, to.path)}"
        carried.left_out.append(LeftOut(key, value, why))
        return
    if not -(2**63) <= number < 2**63:
        why = f"out of range: lmkd takes its default, {_read(carried.policy, to.path)}"
        carried.left_out.append(LeftOut(key, value, why))
        return
    stored = to.as_stored(min(max(number, to.least), to.most))
    words = ""
    if number != stored:
        words = f"{stored} ({'most' if number > stored else 'least'} it can be)"
    _take(carried, key, value, to.path, stored, words)


def _take_switch(carried: CarriedOver, key: str, value: str, path: str) -> None:
    asked = _boolean(value)
    if asked is None:
        why = "neither true nor false: lmkd takes its default, false"
        carried.left_out.append(LeftOut(key, value, why))
    elif path == "kills.order":
        order = Order.ORDER_LARGEST_RSS if asked else Order.ORDER_OLDEST
        _take(carried, key, value, path, order, Order.Name(order))
    else:
        _take(carried, key, value, path, asked)


def _take(
    carried: CarriedOver, key: str, value: str, path: str, stored: int, words: str = ""
) -> None:
    _write(carried.policy, path, stored)
    carried.taken.append(Taken(key, value, path, words or str(stored).lower()))


def _settle(carried: CarriedOver, found: dict[str, tuple[str, str]]) -> None:
    """What lmkd derives, and what the handlers would not take goes back to its default."""
    policy = carried.policy
    shorts = {short for short, _ in found.values()}
    if "thrashing_limit_critical" not in shorts:
        policy.thrashing.thrashing_limit_critical_pct = min(
            3 * policy.thrashing.thrashing_limit_pct, _UINT32_MAX
        )
    _keep_retry_within_timeout(policy)
    defaults = preset("lmkd-lowram" if carried.low_ram else "lmkd-highperf")
    while findings := check_policy(policy):
        by_field = {field: each.message for each in findings for field in each.fields}
        refused = next(each for each in carried.taken if each.field in by_field)
        _write(policy, refused.field, _read(defaults, refused.field))
        _keep_retry_within_timeout(policy)
        carried.taken.remove(refused)
        carried.left_out.append(LeftOut(refused.key, refused.value, by_field[refused.field]))


def _keep_retry_within_timeout(policy: Policy) -> None:
    timing = policy.timing
    if timing.kill_timeout_ms:
        timing.retry_ms = min(timing.retry_ms, timing.kill_timeout_ms)


def _boolean(value: str) -> bool | None:
    if value in _TRUE:
        return True
    return False if value in _FALSE else None


def _read(policy: Policy, path: str) -> int:
    group, _, name = path.partition(".")
    return int(getattr(getattr(policy, group), name))


def _write(policy: Policy, path: str, value: int) -> None:
    group, _, name = path.partition(".")
    kind = type(getattr(getattr(policy, group), name))
    setattr(getattr(policy, group), name, kind(value))
