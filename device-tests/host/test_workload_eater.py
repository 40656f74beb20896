# SPDX-License-Identifier: Apache-2.0
"""``lmk-eater``, run on this machine: what it eats and how it ends."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from running import DEADLINE_S, Running, rss_kb

pytest_plugins = ("programs_plugin",)


def test_eater_holds_the_size_it_was_told(run: Callable[..., Running]) -> None:
    eater = run("lmk-eater", "--size-mb", "24", "--rate-mb-per-s", "100")
    grown = eater.until("grown")
    assert grown["kb"] == 24 * 1024
    assert 24 * 1024 <= rss_kb(eater.process.pid) < 26 * 1024


def test_eater_stops_before_the_floor_and_says_so(run: Callable[..., Running]) -> None:
    total_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    floor_mb = min(total_mb + 1, 65536)
    if floor_mb < total_mb:
        pytest.skip("more memory than the largest floor")
    eater = run("lmk-eater", "--size-mb", "100", "--floor-mb", str(floor_mb))
    stopped = eater.until("floor")
    assert stopped["kb"] == 0
    assert stopped["available_kb"] < stopped["floor_kb"]


@pytest.mark.parametrize("pct", [0, 50, 100])
def test_eaten_pages_compress_by_the_share_they_should(
    run: Callable[..., Running], pct: int
) -> None:
    eater = run("lmk-eater", "--size-mb", "8", "--compressible-pct", str(pct))
    eater.until("grown")
    sizes = []
    maps = Path(f"/proc/{eater.process.pid}/maps").read_text().splitlines()
    with Path(f"/proc/{eater.process.pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            first, last = (int(end, 16) for end in line.split()[0].split("-"))
            if last - first < 1 << 20 or "[" in line or "/" in line:
                continue
            for page in range(first, last, 64 * 4096):
                memory.seek(page)
                sizes.append(len(zlib.compress(memory.read(4096), 1)))
    assert sizes
    saved_pct = 100 - 100 * sum(sizes) / (4096 * len(sizes))
    assert pct - 6 <= saved_pct <= pct + 6


def test_eater_looks_like_the_app_it_is_named_after(run: Callable[..., Running]) -> None:
    eater = run("lmk-eater", "--size-mb", "1", "--name", "com.example.greedy")
    eater.until("grown")
    proc = Path(f"/proc/{eater.process.pid}")
    assert (proc / "cmdline").read_bytes().rstrip(b"\0") == b"com.example.greedy"
    assert (proc / "comm").read_text() == "m.example.greedy"[-15:] + "\n"
    assert int((proc / "oom_score_adj").read_text()) == 900


def test_eater_ends_when_its_input_closes(run: Callable[..., Running]) -> None:
    eater = run("lmk-eater", "--size-mb", "4")
    eater.until("grown")
    assert eater.process.stdin is not None
    eater.process.stdin.close()
    assert eater.rest()[-1]["event"] == "end"
    assert eater.process.wait(DEADLINE_S) == 0


def test_eater_ends_when_nobody_reads_it(run: Callable[..., Running]) -> None:
    eater = run("lmk-eater", "--size-mb", "4")
    eater.until("grown")
    assert eater.process.stdout is not None
    eater.process.stdout.close()
    assert eater.process.wait(DEADLINE_S) != 0


def test_eater_ends_when_its_lease_runs_out(run: Callable[..., Running]) -> None:
    eater = run("lmk-eater", "--size-mb", "4", "--lease-s", "1")
    eater.until("end")
    assert eater.process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--size-mb", "0"),
        ("--size-mb", "12x"),
        ("--size-mb", "1", "--adj", "1001"),
        ("--size-mb", "1", "--name", 'a"b'),
        ("--size-mb", "1", "--sise-mb", "2"),
        ("--size-mb", "1", "more"),
    ],
)
def test_eater_refuses_bad_arguments(
    run: Callable[..., Running], arguments: tuple[str, ...]
) -> None:
    eater = run("lmk-eater", *arguments)
    assert eater.rest()[0]["event"] == "error"
    assert eater.process.wait(DEADLINE_S) == 2
