# SPDX-License-Identifier: Apache-2.0
"""SELinux policy that is packaged: compiled by checkpolicy against a stand-in for Android's own.

That shows the language, and that permissions and classes are the kernel's. Whether a device's
policy has these types, and whether its neverallow rules let them pass, it does not.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lmk.build import build
from lmk.package import Packaged, init_rc, magisk
from lmk.policy import load

ABI = platform.machine()
PLATFORM = Path(__file__).with_name("sepolicy_platform.conf")
#: A policy needs them to be one; roles and users come after all types.
END = "role r;\nrole r types domain;\nuser u roles r;\nsid kernel u:r:kernel\n"
#: magiskpolicy's words, which are not the language's.
RULE = re.compile(r"allow (\S+) (\S+) (\S+) (\{.*\}|\S+)")
TRANSITION = re.compile(r"type_transition (\S+) (\S+) (\S+) (\S+)")

pytestmark = pytest.mark.skipif(
    not (shutil.which("checkpolicy") and shutil.which("m4")),
    reason="needs checkpolicy and m4: tools/setup test installs them",
)


def content(files: list[Packaged], name: str) -> str:
    (found,) = [file.content.decode() for file in files if file.path.endswith(name)]
    return found


@pytest.fixture(scope="module")
def lmk_te() -> str:
    return content(init_rc(build([ABI]), ABI, load("default"), 16), "lmk.te")


def compiled(policy: str, scratch: Path) -> subprocess.CompletedProcess[str]:
    expanded = subprocess.run(
        ["m4", "-"], input=f"{PLATFORM.read_text()}\n{policy}\n{END}", capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip
    source = scratch / "policy.conf"
    source.write_text(expanded)
    return subprocess.run(
        ["checkpolicy", "-o", str(scratch / "policy"), str(source)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_lmk_te_compiles(lmk_te: str, tmp_path: Path) -> None:
    done = compiled(lmk_te, tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_type_that_file_contexts_names_is_one(lmk_te: str) -> None:
    contexts = content(init_rc(build([ABI]), ABI, load("default"), 16), "file_contexts")
    labels = [line.split()[-1] for line in contexts.splitlines()]
    assert labels
    for label in labels:
        user, role, name, level = label.split(":")
        assert (user, role, level) == ("u", "object_r", "s0")
        assert f"type {name}," in lmk_te


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("map_create", "map_invent", "permission map_invent is not defined"),
        ("fs_bpf:dir", "fs_bpf:folder", "class folder"),
        ("lmkd_socket:sock_file", "lmkd_sockets:sock_file", "unknown type lmkd_sockets"),
        ("setsched;", "setsched", "syntax error"),
        ("set_prop(lmk, ctl_start_prop)", "set_props(lmk, ctl_start_prop)", "syntax error"),
    ],
)
def test_what_is_wrong_in_it_is_seen(
    was: str, becomes: str, said: str, lmk_te: str, tmp_path: Path
) -> None:
    assert was in lmk_te
    done = compiled(lmk_te.replace(was, becomes, 1), tmp_path)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_the_rules_of_the_module_are_magisks_and_say_what_compiles(tmp_path: Path) -> None:
    lines = content(magisk(build([ABI]), ABI, load("default"), 16), "sepolicy.rule").splitlines()
    policy = []
    for line in lines:
        if rule := RULE.fullmatch(line):
            source, target, kind, permissions = rule.groups()
            policy.append(f"allow {source} {target}:{kind} {permissions};")
        else:
            move = TRANSITION.fullmatch(line)
            assert move, f"not magiskpolicy's: {line}"
            source, target, kind, result = move.groups()
            policy.append(f"type_transition {source} {target}:{kind} {result};")
    done = compiled("\n".join(policy), tmp_path)
    assert done.returncode == 0, done.stderr
