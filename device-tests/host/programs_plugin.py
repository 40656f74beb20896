# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that run device programs on this machine: ``programs``, ``run``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import Running, compile_program


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Device programs for this machine, each compiled when it is first asked for."""
    directory = tmp_path_factory.mktemp("programs")
    return functools.cache(lambda name: compile_program(name, directory))


@pytest.fixture
def run(programs: Callable[[str], Path]) -> Iterator[Callable[..., Running]]:
    """``run(PROGRAM, ARGUMENT…)`` starts one, which ends with the test."""
    started: list[Running] = []

    def start(name: str, *arguments: str | Path) -> Running:
        started.append(Running(programs(name), *arguments))
        return started[-1]

    yield start
    for running in started:
        running.close()
