# SPDX-License-Identifier: Apache-2.0
"""Generated code is what tools/generate makes of the contract, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What tools/generate reads and writes, in a place where it may be spoilt."""
    for folder in ("proto", "tools", "lmk/proto", "bpf/include", "bpf/agent/generated"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def check(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / ".venv/bin/python", checkout / "tools/generate", "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_regenerating_changes_nothing(checkout: Path) -> None:
    done = check(checkout)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_change_of_the_contract_is_noticed_in_every_language(checkout: Path) -> None:
    policy = checkout / "proto/lmk/v1/policy.proto"
    changed = policy.read_text().replace(
        "optional uint32 retry_ms = 5;", "optional uint32 retry_ms = 100;"
    )
    policy.write_text(changed + "\nmessage Added { optional uint32 sooner_ms = 1; }\n")
    done = check(checkout)
    assert done.returncode == 6
    for path in ("lmk/proto/policy_pb2.py", "bpf/agent/generated/lmk/v1/policy.pb.h"):
        assert path in done.stderr


def test_a_new_field_of_a_policy_reaches_the_view_in_c(checkout: Path) -> None:
    policy = checkout / "proto/lmk/v1/policy.proto"
    field = "  optional uint32 retry_ms = 5;"
    policy.write_text(
        policy.read_text().replace(field, f"{field}\n  optional uint32 new_ms = 100;")
    )
    assert "bpf/include/lmk/policy_view.h" in check(checkout).stderr
