# SPDX-License-Identifier: Apache-2.0
"""lmkd's properties as a policy: precedence, defaults, clamps, and what is said of the rest."""

from __future__ import annotations

import pytest

from lmk.policy import check_policy, parse, preset
from lmk.policy.fields import flat
from lmk.policy.lmkd import CarriedOver, from_properties, text_of
from lmk.proto.policy_pb2 import Order


def value(carried: CarriedOver, path: str) -> object:
    return dict(flat(carried.policy))[path]


def why_not(carried: CarriedOver, key: str) -> str:
    return next(each.why for each in carried.left_out if each.key == key)


@pytest.mark.parametrize(
    ("low_ram", "base"),
    [("", "lmkd-highperf"), ("false", "lmkd-highperf"), ("true", "lmkd-lowram"),
     ("1", "lmkd-lowram"), ("maybe", "lmkd-highperf")],
)  # fmt: skip
def test_without_properties_it_is_lmkds_default_for_that_kind_of_device(
    low_ram: str, base: str
) -> None:
    carried = from_properties({"ro.config.low_ram": low_ram}, name=base)
    assert carried.policy == preset(base)
    assert (carried.taken, carried.left_out) == ([], [])


#: Every number that lmkd has as a property, a value of its own, and where that goes.
NUMBERS = [
    ("kill_timeout_ms", "350", "timing.kill_timeout_ms", 350),
    ("swap_free_low_percentage", "17", "swap.swap_free_low_percentage", 17),
    ("psi_partial_stall_ms", "123", "stall.psi_partial_stall_ms", 123),
    ("psi_complete_stall_ms", "456", "stall.psi_complete_stall_ms", 456),
    ("psi_window_size_ms", "2000", "stall.psi_window_size_ms", 2000),
    ("thrashing_limit", "60", "thrashing.thrashing_limit_pct", 60),
    ("thrashing_limit_decay", "35", "thrashing.thrashing_limit_decay_pct", 35),
    ("thrashing_limit_critical", "444", "thrashing.thrashing_limit_critical_pct", 444),
    ("swap_util_max", "77", "swap.swap_util_max_pct", 77),
    ("filecache_min_kb", "250000", "thrashing.filecache_min_kb", 250_000),
    ("stall_limit_critical", "55", "stall.stall_limit_critical_pct", 55),
    ("pressure_after_kill_min_score", "201", "low_mem.pressure_after_kill_min_score", 201),
    ("lowmem_min_oom_score", "800", "low_mem.lowmem_min_oom_score", 800),
    ("direct_reclaim_threshold_ms", "50", "reclaim.direct_reclaim_threshold_ms", 50),
    ("swap_compression_ratio", "263", "swap.swap_compression_ratio", 263),
    ("swap_compression_ratio_div", "100", "swap.swap_compression_ratio_div", 100),
]


@pytest.mark.parametrize("prefix", ["ro.lmk.", "persist.device_config.lmkd_native."])
def test_every_number_is_carried_over(prefix: str) -> None:
    carried = from_properties({prefix + name: text for name, text, _, _ in NUMBERS})
    assert {path: value(carried, path) for _, _, path, _ in NUMBERS} == {
        path: number for _, _, path, number in NUMBERS
    }
    assert {each.key for each in carried.taken} == {prefix + name for name, *_ in NUMBERS}
    assert carried.left_out == []
    assert check_policy(carried.policy) == []


def test_an_override_goes_before_the_vendors_value_and_an_empty_one_does_not() -> None:
    carried = from_properties(
        {
            "ro.lmk.thrashing_limit": "50",
            "persist.device_config.lmkd_native.thrashing_limit": "70",
            "ro.lmk.psi_partial_stall_ms": "90",
            "persist.device_config.lmkd_native.psi_partial_stall_ms": "",
        }
    )
    assert value(carried, "thrashing.thrashing_limit_pct") == 70
    assert value(carried, "stall.psi_partial_stall_ms") == 90
    assert len(carried.taken) == 2


@pytest.mark.parametrize(
    ("name", "text", "path", "expected"),
    [
        ("swap_free_low_percentage", "250", "swap.swap_free_low_percentage", 100),
        ("swap_free_low_percentage", "-3", "swap.swap_free_low_percentage", 0),
        ("thrashing_limit_decay", "101", "thrashing.thrashing_limit_decay_pct", 100),
        ("thrashing_limit", "-1", "thrashing.thrashing_limit_pct", 0),
        ("lowmem_min_oom_score", "200", "low_mem.lowmem_min_oom_score", 201),
        ("lowmem_min_oom_score", "201", "low_mem.lowmem_min_oom_score", 201),
        ("lowmem_min_oom_score", "1000", "low_mem.lowmem_min_oom_score", 1000),
        ("lowmem_min_oom_score", "1001", "low_mem.lowmem_min_oom_score", 1001),
        ("lowmem_min_oom_score", "5000", "low_mem.lowmem_min_oom_score", 1001),
        ("stall_limit_critical", "5000", "stall.stall_limit_critical_pct", 100),
        ("kill_timeout_ms", "0", "timing.kill_timeout_ms", 0),
        ("psi_partial_stall_ms", "0x64", "stall.psi_partial_stall_ms", 100),
    ],
)
def test_values_are_clamped_as_lmkd_clamps_them(
    name: str, text: str, path: str, expected: int
) -> None:
    assert value(from_properties({f"ro.lmk.{name}": text}), path) == expected


@pytest.mark.parametrize(("limit", "critical"), [("50", 150), ("0", 0), ("100", 300)])
def test_critical_thrashing_is_three_times_the_limit_unless_given(
    limit: str, critical: int
) -> None:
    carried = from_properties({"ro.lmk.thrashing_limit": limit})
    assert value(carried, "thrashing.thrashing_limit_critical_pct") == critical


@pytest.mark.parametrize("text", ["ten", "", "12ms", "1e3", "9" * 30, "12\ndry_run: true"])
def test_what_is_no_number_leaves_lmkds_default_and_is_said(text: str) -> None:
    key = "ro.lmk.psi_partial_stall_ms"
    carried = from_properties({key: text})
    assert value(carried, "stall.psi_partial_stall_ms") == 70
    if text:
        assert "lmkd takes its default, 70" in why_not(carried, key)


@pytest.mark.parametrize(
    ("text", "order"),
    [("true", Order.ORDER_LARGEST_RSS), ("1", Order.ORDER_LARGEST_RSS),
     ("off", Order.ORDER_OLDEST), ("?", Order.ORDER_OLDEST)],
)  # fmt: skip
def test_kill_heaviest_task_is_an_order(text: str, order: int) -> None:
    carried = from_properties({"ro.lmk.kill_heaviest_task": text})
    assert carried.policy.kills.order == order
    assert len(carried.left_out) == (text == "?")


def test_relaxed_available_memory_is_carried_over() -> None:
    carried = from_properties({"ro.lmk.relaxed_available_memory": "true"})
    assert carried.policy.low_mem.relaxed_available_memory


@pytest.mark.parametrize(
    ("properties", "left_out"),
    [
        ({"ro.lmk.use_minfree_levels": "true"}, ["ro.lmk.use_minfree_levels"]),
        ({"ro.lmk.use_minfree_levels": "true", "ro.config.low_ram": "true"}, []),
        ({"ro.lmk.use_minfree_levels": "true", "ro.lmk.use_new_strategy": "true"}, []),
        ({"ro.lmk.use_new_strategy": "false"}, ["ro.lmk.use_new_strategy"]),
        ({"ro.lmk.use_psi": "false"}, ["ro.lmk.use_psi"]),
        ({"ro.lmk.use_psi": "true"}, []),
        ({"ro.lmk.medium": "800"}, ["ro.lmk.medium"]),
        ({"ro.lmk.debug": "true"}, ["ro.lmk.debug"]),
        ({"ro.lmk.enhance_batch_kill": "true"}, ["ro.lmk.enhance_batch_kill"]),
        ({"ro.config.per_app_memcg": "true"}, ["ro.config.per_app_memcg"]),
        ({"ro.lmk_something": "1", "ro.product.model": "x"}, []),
    ],
)
def test_what_has_no_place_in_a_policy_is_said(
    properties: dict[str, str], left_out: list[str]
) -> None:
    carried = from_properties(properties)
    assert [each.key for each in carried.left_out] == left_out
    assert all(each.why for each in carried.left_out)


@pytest.mark.parametrize(
    ("properties", "refused"),
    [
        ({"psi_partial_stall_ms": "1500"}, "psi_partial_stall_ms"),
        ({"psi_complete_stall_ms": "0"}, "psi_complete_stall_ms"),
        ({"psi_window_size_ms": "10"}, "psi_window_size_ms"),
        ({"swap_compression_ratio_div": "0"}, "swap_compression_ratio_div"),
        ({"swap_compression_ratio_div": "3"}, "swap_compression_ratio_div"),
        ({"thrashing_limit_critical": "20"}, "thrashing_limit_critical"),
        ({"pressure_after_kill_min_score": "-5"}, "pressure_after_kill_min_score"),
    ],
)
def test_what_the_handlers_would_refuse_goes_back_to_the_default_and_is_said(
    properties: dict[str, str], refused: str
) -> None:
    good = {"ro.lmk.swap_free_low_percentage": "20"}
    carried = from_properties(
        {**good, **{f"ro.lmk.{name}": text for name, text in properties.items()}}
    )
    assert [each.key for each in carried.left_out] == [f"ro.lmk.{refused}"]
    assert check_policy(carried.policy) == []
    assert value(carried, "swap.swap_free_low_percentage") == 20
    default = dict(flat(preset("lmkd-highperf")))
    path = next(path for name, _, path, _ in NUMBERS if name == refused)
    assert value(carried, path) == default[path]


def test_a_short_timeout_brings_the_retry_with_it() -> None:
    carried = from_properties({"ro.lmk.kill_timeout_ms": "40"})
    assert carried.policy.timing.retry_ms == 40
    assert carried.left_out == []


def test_the_file_says_where_each_value_is_from_and_reads_back_the_same() -> None:
    carried = from_properties(
        {"ro.lmk.thrashing_limit": "60", "ro.lmk.medium": "8\n00"}, name="lmkd of phone"
    )
    text = text_of(carried, source="phone")
    assert parse(text) == carried.policy
    assert "#   ro.lmk.thrashing_limit=60\n" in text
    assert "#   ro.lmk.medium=8?00 (" in text


def test_value_beyond_what_the_field_can_be_is_said_to_be_less() -> None:
    carried = from_properties({"ro.lmk.stall_limit_critical": "900000"}, name="lmkd of dev")
    assert carried.policy.stall.stall_limit_critical_pct == 100
    assert carried.taken[0].stored == "100 (most it can be)"
    told = text_of(carried, source="dev")
    assert (
        "ro.lmk.stall_limit_critical=900000 "
        "(stall.stall_limit_critical_pct is 100 (most it can be))"
    ) in told
