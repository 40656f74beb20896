# SPDX-License-Identifier: Apache-2.0
"""The structs as ctypes sees them are the structs as C sees them."""

from __future__ import annotations

import ctypes
import enum
import re
import subprocess
from pathlib import Path

import pytest

from lmk.build.compiler import host_compiler
from lmk.build.sources import source_root
from lmk.policy import layout, preset
from lmk.policy.model import (
    Gate,
    Known,
    Level,
    Look,
    ProcessFlag,
    Reclaiming,
    Refusal,
    SignalBit,
    Victim,
)

STRUCTS: dict[str, type[ctypes.Structure]] = {
    "lmk_sample": layout.SampleStruct,
    "lmk_history": layout.HistoryStruct,
    "lmk_process": layout.ProcessStruct,
    "lmk_verdict": layout.VerdictStruct,
    "lmk_pending": layout.PendingStruct,
    "lmk_window": layout.WindowStruct,
    "lmk_psi_delta": layout.PsiDeltaStruct,
    "lmk_uid_range": layout.UidRangeStruct,
    "lmk_app_rule": layout.AppRuleStruct,
    "lmk_policy": layout.PolicyStruct,
}
ENUMS: dict[str, type[enum.IntEnum] | type[enum.IntFlag]] = {
    "LMK_KNOWN_": Known,
    "LMK_PROC_": ProcessFlag,
    "LMK_SIGNAL_": SignalBit,
    "LMK_REFUSE_": Refusal,
    "LMK_GATE_": Gate,
    "LMK_LEVEL_": Level,
    "LMK_LOOK_": Look,
    "LMK_RECLAIMING_": Reclaiming,
    "LMK_VICTIM_": Victim,
}
HEADERS = ("lmk/abi.h", "policy/pace.h", "policy/rank.h", "policy/window.h")


def compile_c(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    source = tmp_path / "layout.c"
    includes = "".join(f'#include "{header}"\n' for header in HEADERS)
    source.write_text(f"#include <stddef.h>\n#include <linux/types.h>\n{includes}{body}")
    root = source_root()
    return subprocess.run(
        [host_compiler(), "-fsyntax-only", f"-I{root}/bpf/include", f"-I{root}/bpf", str(source)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", STRUCTS)
def test_every_member_lies_where_c_puts_it(tmp_path: Path, name: str) -> None:
    struct = STRUCTS[name]
    lines = [f'_Static_assert(sizeof(struct {name}) == {ctypes.sizeof(struct)}, "size");']
    for field in struct._fields_:
        member = getattr(struct, field[0])
        at = f"offsetof(struct {name}, {field[0]}) == {member.offset}"
        size = f"sizeof(((struct {name} *)0)->{field[0]}) == {member.size}"
        lines.append(f'_Static_assert({at} && {size}, "{field[0]}");')
    done = compile_c(tmp_path, "\n".join(lines))
    assert done.returncode == 0, done.stderr


def test_a_member_that_lay_elsewhere_would_be_seen(tmp_path: Path) -> None:
    done = compile_c(
        tmp_path, '_Static_assert(offsetof(struct lmk_sample, free_kb) == 8, "free_kb");'
    )
    assert done.returncode != 0


@pytest.mark.parametrize("name", STRUCTS)
def test_no_member_of_c_is_missing_here(name: str) -> None:
    root = source_root() / "bpf"
    text = "".join(
        (root / "include" / header).read_text()
        for header in ("lmk/model.h", "lmk/abi.h", "lmk/policy_view.h")
    )
    text += "".join((root / header).read_text() for header in HEADERS[1:])
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    match = re.search(rf"struct {name} {{(.*?)}};", text, re.DOTALL)
    assert match is not None
    members = re.findall(r"(\w+)(?:\[\w+\])?;", match[1])
    assert members == [field[0] for field in STRUCTS[name]._fields_]


@pytest.mark.parametrize("prefix", ENUMS)
def test_every_number_means_the_same_on_both_sides(tmp_path: Path, prefix: str) -> None:
    lines = [
        f'_Static_assert({prefix}{name} == {int(value)}, "{name}");'
        for name, value in ENUMS[prefix].__members__.items()
        if name not in ("NOTHING", "ALL")
        and not (prefix in ("LMK_PROC_", "LMK_SIGNAL_") and name == "NONE")
    ]
    done = compile_c(tmp_path, "\n".join(lines))
    assert done.returncode == 0, done.stderr


def test_a_policy_reaches_c_field_by_field() -> None:
    policy = preset("default")
    policy.only_uids.add(first=10, last=20)
    policy.rules.add(process="one", prefer=True)
    policy.rules.add(floor_score=-5, weight_pct=50, relaunch_cost_kb=7).uids.first = 3
    policy.rules[1].uids.last = 4
    view = layout.PolicyStruct.of(policy)
    assert view.stall_psi_partial_stall_ms == policy.stall.psi_partial_stall_ms
    assert view.floors_perceptible_min_score == policy.floors.perceptible_min_score
    assert (view.only_uids_count, view.only_uids[0].first, view.only_uids[0].last) == (1, 10, 20)
    one, other = view.rules[0], view.rules[1]
    assert view.rules_count == 2
    assert (one.uids.first, one.uids.last) == (1, 0), "no uid"
    assert (one.prefer, one.floor_score, one.weight_pct, one.relaunch_cost_kb) == (1, 1000, 100, 0)
    assert (other.uids.first, other.uids.last, other.protect, other.prefer) == (3, 4, 0, 0)
    assert (other.floor_score, other.weight_pct, other.relaunch_cost_kb) == (-5, 50, 7)
