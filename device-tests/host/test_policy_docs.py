# SPDX-License-Identifier: Apache-2.0
"""docs/policy.md: every field of a policy, with the presets' real values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lmk.policy import preset
from lmk.policy.fields import flat
from lmk.proto.policy_pb2 import AppRule, Evaluate, Order, OtherKiller, Watermark
from lmk.proto.record_pb2 import Reason

TEXT = (Path(__file__).parents[2] / "docs/policy.md").read_text()
ENUMS: dict[str, dict[str, int]] = {
    "timing.evaluate": {
        "continuously": Evaluate.EVALUATE_CONTINUOUSLY,
        "on PSI events": Evaluate.EVALUATE_ON_PSI_EVENTS,
    },
    "swap.low_swap_level": {"low": Watermark.WATERMARK_LOW, "high": Watermark.WATERMARK_HIGH},
    "low_mem.level": {"low": Watermark.WATERMARK_LOW},
    "kills.order": {"largest gain": Order.ORDER_LARGEST_GAIN, "oldest": Order.ORDER_OLDEST},
    "other_killer": {"none": OtherKiller.OTHER_KILLER_NONE},
}


def rows() -> dict[str, list[str]]:
    """Path of a field -> the cells after it."""
    found: dict[str, list[str]] = {}
    group = ""
    section = TEXT.split("## Every field", 1)[1].split("\n## ", 1)[0]
    for line in section.splitlines():
        if match := re.match(r"### (\w+)$", line):
            group = "" if match[1] == "uids" else f"{match[1]}."
        elif match := re.match(r"\| `(\w+)` \|(.*)\|$", line):
            found[group + match[1]] = [cell.strip() for cell in match[2].split("|")]
    return found


def documented(field: str, cell: str) -> int:
    """The value that a cell stands for."""
    word = re.sub(r" \(.*\)$", "", cell)
    if field in ENUMS:
        return ENUMS[field][word]
    if word in ("true", "false"):
        return word == "true"
    return int(word)


def test_every_field_is_there_once_and_in_order() -> None:
    fields = [field for field, _ in flat(preset("default"))]
    fields += [f"rules.{field.name}" for field in AppRule.DESCRIPTOR.fields]
    assert sorted(rows()) == sorted(fields)


@pytest.mark.parametrize(
    ("name", "column", "part"),
    [("default", 1, 0), ("lmkd-highperf", 2, 0), ("lmkd-lowram", 2, -1)],
)
def test_the_values_are_the_presets(name: str, column: int, part: int) -> None:
    for field, value in flat(preset(name)):
        if field in ("name", "only_uids", "protected_uids", "rules"):
            continue
        cell = rows()[field][column].split(" / ")[part]
        assert documented(field, cell) == value, field


def test_every_reason_is_there() -> None:
    names = {name.removeprefix("REASON_") for name in Reason.DESCRIPTOR.values_by_name}
    for name in names - {"NONE", "VENDOR", "UNSPECIFIED"}:
        assert f"`{name}`" in TEXT
