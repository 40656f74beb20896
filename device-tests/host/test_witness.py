# SPDX-License-Identifier: Apache-2.0
"""The witness where it cannot trace: what it says, with nothing but Python to say it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_TOOL = Path(__file__).resolve().parents[2] / "tools" / "witness.py"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Isolated: neither this environment's packages nor the checkout; that is what a board has.
    command = [sys.executable, "-I", "-S", str(_TOOL), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_help_names_every_event_and_exit_code() -> None:
    said = _run("--help")
    assert said.returncode == 0
    for word in ("ready", "signal", "exit", "counts", "end", "--until-eof", "Exit codes"):
        assert word in said.stdout


def test_python_without_bcc_is_told_what_to_install() -> None:
    said = _run("--duration-s", "1")
    assert said.returncode == 3
    assert said.stdout == ""
    assert "python3-bpfcc" in said.stderr.splitlines()[-1]


@pytest.mark.parametrize("argument", ["--nonsense", "--duration-s=soon"])
def test_argument_that_cannot_be_is_refused(argument: str) -> None:
    assert _run(argument).returncode == 2
