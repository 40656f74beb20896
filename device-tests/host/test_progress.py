# SPDX-License-Identifier: Apache-2.0
"""Progress: what a log and a terminal get to see."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from lmk import progress


def test_log_says_each_step_its_size_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.steps("Booting") as task:
        task.step("download", 2_000_000)
        task.advance(1_000_000)
        task.advance(1_000_000)
        task.step("unpack")
        task.done("3 files")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Booting\n" in err
    assert "download (2.0 MB)" in err
    assert "unpack: 3 files" in err


def test_log_shows_life_during_a_long_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_S", 0.0)
    with progress.steps("Work") as task:
        task.step("download", 4_000_000)
        task.advance(1_000_000)
    assert "download: 1.0 MB of 4.0 MB, " in capsys.readouterr().err


def test_step_ends_when_the_work_raises(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with progress.steps("Work") as task:
            task.step("unpack")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert "unpack: " in capsys.readouterr().err


def test_inner_work_shows_under_the_outer_title(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.steps("Outer") as outer:
        outer.step("first")
        with progress.steps("Inner") as inner:
            inner.step("second")
    err = capsys.readouterr().err
    assert err.count("Outer") == 1
    assert "Inner" not in err
    assert "second" in err


def test_terminal_gets_a_bar_with_size_and_rate() -> None:
    code = (
        "from lmk import progress\n"
        "with progress.steps('Booting') as task:\n"
        "    task.step('download', 2_000_000)\n"
        "    task.advance(2_000_000)\n"
        "    task.step('unpack')\n"
        "    task.done('3 files')\n"
    )
    ours, theirs = pty.openpty()
    environment = dict(os.environ, COLUMNS="120", TERM="xterm")
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:
        pass  # the terminal's other end is gone
    os.close(ours)
    assert process.wait(60) == 0
    assert b"2.0 MB of 2.0 MB" in shown
    assert b"3 files" in shown
