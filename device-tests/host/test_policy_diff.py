# SPDX-License-Identifier: Apache-2.0
"""What differs between policies, in words; and that there are words for every field."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lmk.cli import cli
from lmk.policy import differences, load, preset, presets
from lmk.policy.fields import WORDS, flat, value_words
from lmk.proto.policy_pb2 import Order


def test_every_field_has_words() -> None:
    assert list(WORDS) == [field for field, _ in flat(preset("default"))]
    assert len(set(WORDS.values())) == len(WORDS), "no two fields read the same"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("stall.psi_partial_stall_ms", 70, "70 ms"),
        ("timing.fill_rate_mb_per_s", 200, "200 MB/s"),
        ("thrashing.filecache_min_kb", 4096, "4096 kB"),
        ("thrashing.filecache_min_kb", 0, "off"),
        ("swap.swap_free_low_percentage", 10, "10 %"),
        ("stall.stall_limit_critical_pct", 100, "off"),
        ("low_mem.lowmem_min_oom_score", 701, "adj 701 and above"),
        ("low_mem.lowmem_min_oom_score", 1001, "nobody"),
        ("low_mem.level", 2, "low"),
        ("kills.order", Order.ORDER_LARGEST_GAIN, "largest gain"),
        ("kills.max_per_minute", 0, "without limit"),
        ("dry_run", True, "yes"),
        ("only_uids", (), "anybody"),
        ("protected_uids", ((1000, 1000), (10_000, 19_999)), "1000, 10000..19999"),
    ],
)
def test_values_are_said_with_their_units(field: str, value: object, words: str) -> None:
    assert value_words(field, value) == words


def test_a_policy_is_the_same_as_itself_whatever_its_name() -> None:
    other = preset("default")
    other.name = "other"
    assert differences(preset("default"), other) == []


def test_each_changed_field_is_one_difference() -> None:
    before, after = preset("default"), preset("default")
    after.stall.psi_partial_stall_ms += 1
    after.protected_uids.add(first=1, last=2)
    found = differences(before, after)
    assert [each.field for each in found] == ["stall.psi_partial_stall_ms", "protected_uids"]
    assert (found[1].before, found[1].after) == ("none", "1..2")


def test_rules_differ_by_what_only_one_has() -> None:
    before, after = preset("default"), preset("default")
    before.rules.add(package="com.example.kept", protect=True)
    before.rules.add(process="old", prefer=True)
    after.rules.add(package="com.example.kept", protect=True)
    rule = after.rules.add(floor_score=200, weight_pct=50, relaunch_cost_kb=4096)
    rule.uids.first, rule.uids.last = 10_100, 10_109
    (found,) = differences(before, after)
    assert (found.field, found.before) == (
        "rules",
        "process old: dies first unless it is perceptible",
    )
    assert found.after == (
        "uids 10100..10109: counts as adj 200 at most, its gain counts 50 %, "
        "a relaunch costs 4096 kB"
    )
    (found,) = differences(preset("default"), before)
    assert (found.before, found.after.count(": ")) == ("none", 2)


def test_rules_in_another_order_differ() -> None:
    before, after = preset("default"), preset("default")
    for policy, names in ((before, "ab"), (after, "ba")):
        for name in names:
            policy.rules.add(process=name, protect=True)
    (found,) = differences(before, after)
    assert found.before == "process a: never dies; process b: never dies"
    assert found.after == "process b: never dies; process a: never dies"


def test_rules_for_cgroups_and_units_are_named() -> None:
    after = preset("default")
    after.rules.add(cgroup="/system.slice/ssh.service", protect=True)
    after.rules.add(unit="session-*.scope", floor_score=100)
    (found,) = differences(preset("default"), after)
    assert found.after == (
        "cgroup /system.slice/ssh.service: never dies; "
        "unit session-*.scope: counts as adj 100 at most"
    )


@pytest.mark.parametrize("name", presets())
def test_presets_are_found_by_name(name: str) -> None:
    assert load(name).name == name


def test_command_prints_a_table_and_json() -> None:
    done = CliRunner().invoke(cli, ["policy", "diff", "lmkd-highperf", "lmkd-lowram"])
    assert done.exit_code == 0
    assert "stall.psi_partial_stall_ms" in done.stdout
    assert "70 ms" in done.stdout
    assert "200 ms" in done.stdout
    done = CliRunner().invoke(cli, ["policy", "diff", "lmkd-highperf", "lmkd-lowram", "--json"])
    found = {each["field"]: each for each in json.loads(done.stdout)}
    assert found["thrashing.thrashing_limit_pct"]["after"] == "30 %"


def test_exit_code_tells_scripts_whether_they_differ() -> None:
    def code(*words: str) -> int:
        return CliRunner().invoke(cli, ["policy", "diff", *words]).exit_code

    assert code("default", "default", "--exit-code") == 0
    assert code("default", "lmkd-lowram") == 0
    with pytest.raises(Exception, match="differ in"):
        CliRunner().invoke(
            cli, ["policy", "diff", "default", "lmkd-lowram", "--exit-code"], catch_exceptions=False
        )
