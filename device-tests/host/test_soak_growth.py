# SPDX-License-Identifier: Apache-2.0
"""What a soak calls growth of a killer, and what not."""

from __future__ import annotations

from holdings import samples

from lmk.soak.cost import growths


def test_flat_is_flat() -> None:
    assert growths(samples(*[(1700, 28)] * 8)) == []


def test_connection_that_is_being_answered_is_no_growth() -> None:
    assert growths(samples((1700, 28), (1748, 29), (1748, 30), (1748, 28))) == []


def test_slow_growth_is_seen() -> None:
    (line,) = growths(samples(*[(1700 + 20 * step, 28) for step in range(8)]))
    assert line == "the agent grew from 1720 to 1840 KiB"


def test_file_that_stays_open_is_seen() -> None:
    (line,) = growths(samples((1700, 28), (1700, 28), (1700, 29), (1700, 29)))
    assert line == "the agent grew from 28 to 29 open files"


def test_another_process_in_its_place_is_seen() -> None:
    (line,) = growths(samples((1700, 28), (1700, 28), pids=(1, 2)))
    assert "not the one it was" in line
