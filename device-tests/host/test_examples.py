# SPDX-License-Identifier: Apache-2.0
"""The example for scripts does what it says; device/test_session_examples.py runs the other two."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

from fake_agent import hello, kill

from lmk.report import encode_record

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_ingesting_overlapping_captures_gives_one_row_for_each_kill(tmp_path: Path) -> None:
    one, two = kill(1, name="com.example.one"), kill(2, name='a,b\n"c"')
    two.kill.times.signalled_ns, two.kill.times.memory_back_ns = 1_000_000, 43_500_000
    two.kill.freed_kb = 4096
    for name, records in (("x.pb", [one]), ("y.pb", [one, two])):
        data = b"".join(map(encode_record, [hello(1, 3), *records]))
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, EXAMPLES / "ingest.py", tmp_path / "x.pb", tmp_path / "y.pb"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert rows[0]["freed_kb"] == "", "not measured is not 0"
    assert [row["name"] for row in rows] == ["com.example.one", 'a,b\n"c"']
    assert rows[1]["signal_to_back_ms"] == "42.5"
    assert rows[1]["freed_kb"] == "4096"
    assert rows[0]["signal_to_back_ms"] == ""


def test_a_capture_that_is_none_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.pb").write_bytes(b"no capture")
    done = subprocess.run(
        [sys.executable, EXAMPLES / "ingest.py", tmp_path / "x.pb"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_example_is_short_enough_to_read_at_a_glance() -> None:
    for path in EXAMPLES.glob("*.py"):
        code = [
            line
            for line in path.read_text().split('"""', 2)[2].splitlines()
            if line.strip() and not line.startswith(("import", "from"))
        ]
        assert len(code) <= 15, path.name
