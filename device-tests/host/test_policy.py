# SPDX-License-Identifier: Apache-2.0
"""Policies: what is refused, where, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmk import policy
from lmk.errors import UsageError
from lmk.policy import Policy


def only_finding(text: str) -> policy.Finding:
    (finding,) = policy.check(text)
    return finding


# -- reading -----------------------------------------------------------------------------------


def test_the_default_preset_sets_every_field_and_has_nothing_wrong() -> None:
    default = policy.preset("default")
    assert policy.check(policy.dump(default)) == []
    stated = {field.name for field, _value in default.ListFields()}
    for field in Policy.DESCRIPTOR.fields:
        if field.is_repeated:
            continue
        assert field.name in stated
        if field.message_type is not None:
            group = getattr(default, field.name)
            unset = [f.name for f in field.message_type.fields if not group.HasField(f.name)]
            assert not unset, field.name


def test_a_file_changes_what_it_names_and_the_preset_fills_in_the_rest() -> None:
    mine = policy.parse('name: "mine" stall { psi_partial_stall_ms: 70 }')
    default = policy.preset("default")
    assert mine.stall.psi_partial_stall_ms == 70
    assert mine.stall.psi_window_size_ms == default.stall.psi_window_size_ms
    assert mine.timing == default.timing


def test_a_dumped_policy_reads_back_the_same() -> None:
    mine = policy.parse("dry_run: true only_uids { first: 10000 last: 19999 }")
    assert policy.parse(policy.dump(mine)) == mine


def test_a_name_that_is_neither_file_nor_preset_lists_the_presets() -> None:
    with pytest.raises(UsageError, match=r"'defualt' is neither a file nor a preset \(.*default"):
        policy.load("defualt")


def test_a_policy_that_is_no_text_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="binary is no policy: not text"):
        policy.load(path)


def test_an_error_names_the_file_the_line_and_the_column(tmp_path: Path) -> None:
    path = tmp_path / "mine.textpb"
    path.write_text('name: "mine"\n\nstall {\n  psi_partial_stall: 70\n}\n')
    with pytest.raises(
        UsageError, match=r"mine\.textpb:4:3: Stall has no field psi_partial_stall;"
    ):
        policy.load(path)


# -- what does not parse -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (
            "stall { psi_partial_stall: 70 }",
            (1, 9),
            "did you mean psi_partial_stall_ms (in milliseconds)?",
        ),
        ("timing { retry_s: 1 }", (1, 10), "did you mean retry_ms (in milliseconds)?"),
        ("scarcity { available: 12 }", (1, 12), "did you mean available_below_pct (in percent)?"),
        ("low_mme { }", (1, 1), "Policy has no field low_mme; did you mean low_mem"),
        ("timing { retry_ms: 70ms }", (1, 20), "a whole number of milliseconds, not 70ms"),
        ("timing { retry_ms: 0.7 }", (1, 20), "a whole number of milliseconds, not 0.7"),
        ("timing { retry_ms: -1 }", (1, 20), "a whole number of milliseconds, not -1"),
        ("timing {\n retry_ms: '250'\n}", (2, 12), "a whole number of milliseconds, not '250'"),
        ("floors { critical_min_score: all }", (1, 30), "oom_score_adj, 1001 for off"),
        ("low_mem { level: LOW }", (1, 18), "one of WATERMARK_MIN, WATERMARK_LOW"),
        ("kills { order: OLDEST }", (1, 16), "one of ORDER_LARGEST_GAIN, ORDER_OLDEST"),
        ("psi_window_size_ms: 70", (1, 1), "it is a field of Stall"),
        ("timing { retry_ms: 1 retry_ms: 2 }", (1, 32), "retry_ms is given twice"),
        ("timing { retry_ms: 1", (1, 20), 'expected "}"'),
        ("rules {\n package: 'a'\n process: 'b'\n}", (3, 2), "process and package in one rule"),
        ("rules { floor: 200 }", (1, 9), "did you mean floor_score"),
    ],
)
def test_what_does_not_parse_is_said_with_its_place_and_what_to_write(
    text: str, place: tuple[int, int], words: str
) -> None:
    finding = only_finding(text)
    assert (finding.line, finding.column) == place
    assert words in finding.message


# -- what parses and cannot be meant -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("stall { psi_partial_stall_ms: 1001 }", "stall.psi_partial_stall_ms", "more than fits"),
        ("stall { psi_window_size_ms: 99 }", "stall.psi_partial_stall_ms", "more than fits in"),
        ("stall { psi_window_size_ms: 49 }", "stall.psi_window_size_ms", "outside 50..10000"),
        ("stall { psi_window_size_ms: 10001 }", "stall.psi_window_size_ms", "outside 50..10000"),
        ("stall { psi_complete_stall_ms: 0 }", "stall.psi_complete_stall_ms", "always holds"),
        ("stall { foreground_weight_pct: 1001 }", "stall.foreground_weight_pct", "tenfold"),
        ("stall { stall_limit_critical_pct: 101 }", "stall.stall_limit_critical_pct", "percent"),
        ("timing { idle_interval_ms: 9 }", "timing.idle_interval_ms", "is shorter than"),
        ("timing { poll_long_ms: 9 }", "timing.poll_long_ms", "is shorter than"),
        ("timing { retry_ms: 2001 }", "timing.retry_ms", "no retry would happen"),
        ("timing { poll_short_ms: 0 }", "timing.poll_short_ms", "more than 0"),
        ("timing { evaluate: EVALUATE_UNSPECIFIED }", "timing.evaluate", "EVALUATE_ON_PSI_EVENTS"),
        ("scarcity { available_below_pct: 101 }", "scarcity.available_below_pct", "100 percent"),
        (
            "swap { swap_free_low_percentage: 101 }",
            "swap.swap_free_low_percentage",
            "100 percent",
        ),
        (
            "swap { swap_compression_ratio_div: 0 }",
            "swap.swap_compression_ratio_div",
            "more than 0",
        ),
        (
            "swap { swap_compression_ratio: 1 swap_compression_ratio_div: 2 }",
            "swap.swap_compression_ratio",
            "more than it holds",
        ),
        (
            "thrashing { thrashing_limit_critical_pct: 99 }",
            "thrashing.thrashing_limit_critical_pct",
            "is less than",
        ),
        ("low_mem { lowmem_min_oom_score: 1002 }", "low_mem.lowmem_min_oom_score", "-1000..1001"),
        ("floors { critical_min_score: -1001 }", "floors.critical_min_score", "-1000..1001"),
        ("swap { swap_util_min_score: -1 }", "swap.swap_util_min_score", "negative_floor"),
        ("swap { low_swap_level: WATERMARK_UNSPECIFIED }", "swap.low_swap_level", "WATERMARK_HIGH"),
        ("low_mem { level: 9 }", "low_mem.level", "WATERMARK_HIGH"),
        ("kills { order: 9 }", "kills.order", "ORDER_OLDEST"),
        ("other_killer: 9", "other_killer", "OTHER_KILLER_EARLYOOM"),
        ("other_killer: OTHER_KILLER_UNSPECIFIED", "other_killer", "OTHER_KILLER_NONE"),
        ("kills { max_per_minute: 6001 }", "kills.max_per_minute", "100 a second"),
        ("only_uids { first: 5 last: 4 }", "only_uids[0]", "first (5) is above last (4)"),
        ("protected_uids { first: 5 }", "protected_uids[0]", "needs both"),
        ("only_uids { first: 1 last: 4294967295 }", "only_uids[0]", "is no uid"),
        ('name: "%s"' % ("n" * 64), "name", "at most 63"),
    ],
)
def test_a_contradiction_is_found_where_it_is_written(text: str, field: str, words: str) -> None:
    findings = policy.check(text)
    found = [finding for finding in findings if finding.field == field]
    assert found, findings
    assert words in found[0].message
    assert found[0].line == 1
    with pytest.raises(UsageError):
        policy.parse(text)


def test_a_policy_is_called_after_its_file_unless_it_says_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "gentle.textpb"
    file.write_text("stall { psi_partial_stall_ms: 150 }")
    assert policy.load(file).name == "gentle"
    file.write_text('name: "kind"')
    assert policy.load(file).name == "kind"
    assert policy.load("default").name == "default"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "stall { partial_stall_min_score: 1001 complete_stall_min_score: 1001 } "
            "swap { swap_util_min_score: 1001 } thrashing { filecache_min_score: 1001 } "
            "low_mem { lowmem_min_oom_score: 1001 pressure_after_kill_min_score: 1001 } "
            "reclaim { direct_reclaim_min_score: 1001 } "
            "floors { perceptible_min_score: 1001 critical_min_score: 1001 }",
            "every floor is 1001",
        ),
        (
            "only_uids { first: 10 last: 12 } protected_uids { first: 5 last: 20 }",
            "within protected_uids",
        ),
    ],
)
def test_a_policy_under_which_nobody_can_die_is_a_mistake(text: str, words: str) -> None:
    (finding,) = policy.check(text)
    assert words in finding.message
    assert finding.line == 1


def test_a_floor_below_zero_is_taken_with_the_override() -> None:
    mine = policy.parse("allow_negative_floor: true floors { critical_min_score: -800 }")
    assert mine.floors.critical_min_score == -800


def test_more_ranges_than_the_handlers_hold_are_refused() -> None:
    text = "\n".join(f"only_uids {{ first: {n} last: {n} }}" for n in range(9))
    assert "at most 8" in only_finding(text).message


def test_findings_come_in_the_order_of_their_lines() -> None:
    text = "floors { critical_min_score: 2000 }\nscarcity { available_below_pct: 200 }\n"
    assert [finding.line for finding in policy.check(text)] == [1, 2]


def test_a_field_in_the_second_entry_of_a_list_is_found_there() -> None:
    text = "only_uids { first: 1 last: 2 }\nonly_uids { first: 9 last: 3 }\n"
    assert only_finding(text).line == 2


@pytest.mark.parametrize(
    ("rule", "field", "words"),
    [
        ("protect: true", "rules[1]", "one of uids, package, process, cgroup, unit"),
        ("process: 'one'", "rules[1]", "changes nothing"),
        ("process: 'one' weight_pct: 100", "rules[1]", "changes nothing"),
        ("process: 'one' protect: false prefer: false", "rules[1]", "changes nothing"),
        ("process: '' protect: true", "rules[1].process", "empty"),
        ("package: '' protect: true", "rules[1].package", "empty"),
        ("package: 'com.example:remote' protect: true", "rules[1].package", "no package"),
        ("process: '%s' protect: true" % ("n" * 95), "rules[1].process", "at most 94"),
        ("package: '%s' protect: true" % ("n" * 128), "rules[1].package", "at most 127"),
        ("cgroup: '' protect: true", "rules[1].cgroup", "empty"),
        ("cgroup: 'system.slice' protect: true", "rules[1].cgroup", "does not begin with /"),
        ("cgroup: '/' protect: true", "rules[1].cgroup", "every process"),
        ("cgroup: '/a/' protect: true", "rules[1].cgroup", "empty name"),
        ("cgroup: '/a//b' protect: true", "rules[1].cgroup", "empty name"),
        ("cgroup: '/a/../b' protect: true", "rules[1].cgroup", ".. in it"),
        ("cgroup: '/./b' protect: true", "rules[1].cgroup", ". or .."),
        ("cgroup: '%s' protect: true" % ("/a" * 17), "rules[1].cgroup", "at most 16"),
        ("cgroup: '/%s' protect: true" % ("n" * 127), "rules[1].cgroup", "at most 127"),
        ("unit: '' protect: true", "rules[1].unit", "empty"),
        ("unit: '/ssh.service' protect: true", "rules[1].unit", "for that: cgroup"),
        ("unit: '%s' protect: true" % ("n" * 128), "rules[1].unit", "at most 127"),
        ("uids { first: 1 } protect: true", "rules[1].uids", "needs both"),
        ("uids { first: 2 last: 1 } protect: true", "rules[1].uids", "first (2) is above last"),
        ("process: 'one' floor_score: 1000", "rules[1].floor_score", "outside -999..999"),
        ("process: 'one' floor_score: -1000", "rules[1].floor_score", "protect"),
        ("process: 'one' weight_pct: 1001", "rules[1].weight_pct", "tenfold"),
        ("process: 'one' protect: true weight_pct: 50", "rules[1].weight_pct", "never dies"),
        ("process: 'one' protect: true prefer: true", "rules[1].prefer", "never dies"),
        ("process: 'one' prefer: true floor_score: 0", "rules[1].floor_score", "opposite"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_found_on_its_line(
    rule: str, field: str, words: str
) -> None:
    good = "rules { uids { first: 1 last: 2 } floor_score: 1 weight_pct: 5 prefer: false }"
    finding = only_finding(f"{good}\nrules {{ {rule} }}\n")
    assert (finding.line, finding.field) == (2, field)
    assert finding.message.startswith("rule 2: ")
    assert words in finding.message


@pytest.mark.parametrize(
    "rule",
    [
        "package: 'com.example.app_1' protect: true",
        "process: '/usr/bin/with space' prefer: true",
        "process: '%s' relaunch_cost_kb: 1" % ("n" * 94),
        "package: '%s' weight_pct: 0" % ("n" * 127),
        "cgroup: '/%s' weight_pct: 0" % ("n" * 126),
        "cgroup: '%s' protect: true" % ("/a" * 16),
        "cgroup: '/user.slice/*/..hidden/session-*.scope' protect: true",
        "unit: '%s' prefer: true" % ("n" * 127),
        "unit: 'user@*.service' protect: true",
        "uids { first: 0 last: 4294967294 } floor_score: 999",
        "uids { first: 7 last: 7 } floor_score: -999 weight_pct: 1000",
    ],
)
def test_a_rule_at_its_bounds_is_taken(rule: str) -> None:
    assert policy.check(f"rules {{ {rule} }}") == []


def test_weights_say_nothing_where_the_oldest_goes_first() -> None:
    text = "kills { order: ORDER_OLDEST %s } rules { process: 'one' weight_pct: 50 }"
    assert "ORDER_OLDEST" in only_finding(text % "").message
    assert policy.check(text % "largest_rss_up_to_score: 200") == []


def test_more_rules_than_the_handlers_hold_are_refused() -> None:
    rule = "rules { process: 'one' prefer: true }\n"
    assert policy.check(rule * 16) == []
    assert "at most 16" in only_finding(rule * 17).message


@given(st.text(max_size=60))
def test_no_text_breaks_the_checker(text: str) -> None:
    for finding in policy.check(text):
        assert finding.message


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_stall_limit_is_taken_exactly_when_it_fits_its_window(stall: int, window: int) -> None:
    text = (
        f"stall {{ psi_partial_stall_ms: {stall} psi_complete_stall_ms: 1"
        f" psi_window_size_ms: {window} }}"
    )
    assert (policy.check(text) == []) == (50 <= window <= 10_000 and 0 < stall <= window)
