# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that run the agent on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_process import Agent, build_agent


@pytest.fixture(scope="session")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_agent(tmp_path_factory.mktemp("agent"))


@pytest.fixture
def agent(binary: Path, tmp_path: Path) -> Iterator[Agent]:
    """One that does not run yet."""
    agent = Agent(binary, tmp_path / "lmk")
    yield agent
    agent.end()
