# SPDX-License-Identifier: Apache-2.0
"""Runs of several sessions as one series: what may be put together, and what comes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lmk.bench.killers.measure import UNITS
from lmk.bench.killers.pool import pool, read_runs
from lmk.bench.killers.publish import Where, to_json
from lmk.bench.killers.run import Run
from lmk.bench.killers.summary import summarise
from lmk.errors import CheckFailed, UsageError

WHERE = Where("virtual:7.3#bench-1", "7.3.4", "x86_64", "458 MB, 255 MB swap")


def _run(killer: str, lost_ms: float, faults: tuple[str, ...] = ()) -> Run:
    return Run(
        killer,
        "burst",
        "in_kernel",
        dict.fromkeys(UNITS, 1.0) | {"lost_ms": lost_ms},
        deaths=({"name": "a", "pid": 7, "adj": 900},),
        late=((12, 3.5),),
        events_ms=(100,),
        faults=faults,
    )


def _file(path: Path, runs: list[Run], where: Where = WHERE) -> Path:
    path.write_text(to_json(where, summarise(runs), runs, {}))
    return path


def test_runs_of_two_sessions_are_one_series(tmp_path: Path) -> None:
    first = [_run(name, lost) for lost in (1.0, 2.0) for name in ("level@4", "lmk:default@50")]
    second = [_run(name, 9.0) for name in ("level@4", "lmk:default@50")]
    files = [_file(tmp_path / "1.json", first), _file(tmp_path / "2.json", second)]
    where, runs = read_runs(files)
    assert where == WHERE
    assert runs == first + second
    done = CliRunner().invoke(
        pool, [*map(str, files), "--json", "-", "--plot", str(tmp_path / "plot.html")]
    )
    assert done.exit_code == 0
    content = json.loads(done.stdout)
    assert [(each["killer"], each["runs"]) for each in content["entries"]] == [
        ("level@4", 3), ("lmk:default@50", 3),
    ]  # fmt: skip
    assert content["entries"][0]["figures"]["lost_ms"]["p50"] == 2.0
    assert [each["rival"] for each in content["comparisons"]] == ["level@4"]
    assert "<svg" in (tmp_path / "plot.html").read_text()


def test_what_was_put_together_can_be_put_together_again(tmp_path: Path) -> None:
    first = _file(tmp_path / "1.json", [_run("level", 1.0)])
    CliRunner().invoke(pool, [str(first), "--json", str(tmp_path / "2.json")])
    assert read_runs([tmp_path / "2.json"]) == read_runs([first])


@pytest.mark.parametrize("other", ["kernel", "abi", "variant"])
def test_runs_of_another_device_are_refused(tmp_path: Path, other: str) -> None:
    parts = {key: getattr(WHERE, key) for key in ("device", "kernel", "abi", "variant")}
    elsewhere = Where(**parts | {other: "other"})
    files = [
        _file(tmp_path / "1.json", [_run("level", 1.0)]),
        _file(tmp_path / "2.json", [_run("level", 2.0)], elsewhere),
    ]
    with pytest.raises(UsageError, match=r"2\.json is of another device than .*1\.json"):
        read_runs(files)


def test_runs_that_would_count_twice_are_refused(tmp_path: Path) -> None:
    file = _file(tmp_path / "1.json", [_run("level", 1.0)])
    with pytest.raises(UsageError, match=r"1\.json has runs that a file before it has"):
        read_runs([file, file])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not what this"),
        ("[]", "not what this"),
        ('{"bench": "kill"}', "of the bench kill"),
        ('{"bench": "killers", "entries": []}', "not what this"),
        ('{"bench": "killers", "entries": [{}], "runs": []}', "KeyError: 'device'"),
    ],
)
def test_file_that_holds_no_runs_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match=why):
        read_runs([tmp_path / "x.json"])


def test_fault_of_a_pooled_run_is_one_of_the_series(tmp_path: Path) -> None:
    runs = [_run("lmk:default", 1.0, ("the kernel's OOM killer killed a",))]
    done = CliRunner().invoke(pool, [str(_file(tmp_path / "1.json", runs))])
    assert isinstance(done.exception, CheckFailed)
    assert "OOM killer killed a" in str(done.exception)
