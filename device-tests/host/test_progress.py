# SPDX-License-Identifier: Apache-2.0
"""Progress: what a log and a terminal get to see."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from lmk import progress


def test_what_is_unsaid_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.steps("outer") as outer:
        outer.step("shown")
        with progress.unsaid(), progress.steps("inner") as inner:
            inner.step("hidden")
            inner.say("hidden, too")
            inner.done()
        outer.done()
    assert "hidden" not in (said := capsys.readouterr().err)
    assert "shown: done" in said


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


@pytest.mark.parametrize(
    ("error", "word"), [(RuntimeError(), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_step_that_an_error_ends_is_not_called_done(
    capsys: pytest.CaptureFixture[str], error: BaseException, word: str
) -> None:
    def work() -> None:
        with progress.steps("Work") as task:
            task.step("unpack")
            raise error

    with pytest.raises(type(error)):
        work()
    assert f"unpack: {word}" in capsys.readouterr().err


def test_inner_work_shows_under_the_outer_title(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.steps("Outer") as outer:
        outer.step("first")
        with progress.steps("Inner") as inner:
            inner.step("second")
    err = capsys.readouterr().err
    assert err.count("Outer") == 1
    assert "Inner" not in err
    assert "second" in err


@pytest.mark.parametrize("columns", [120, 80])
def test_terminal_gets_a_bar_with_size_and_rate(columns: int) -> None:
    code = (
        "import time\n"
        "from lmk import progress\n"
        "with progress.steps('Booting') as task:\n"
        "    task.step('download linux-modules-7.3.4+deb13-cloud-amd64', 2_000_000)\n"
        "    task.advance(1_000_000)\n"
        "    time.sleep(0.05)\n"
        "    task.advance(1_000_000)\n"
        "    task.step('unpack')\n"
        "    task.done('3 files')\n"
    )
    ours, theirs = pty.openpty()
    environment = dict(os.environ, COLUMNS=str(columns), TERM="xterm")
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
    assert re.search(rb"2\.0 MB of 2\.0 MB, [0-9.]+ .B/s", shown), shown
    assert b"3 files" in shown
