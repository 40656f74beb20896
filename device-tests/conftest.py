# SPDX-License-Identifier: Apache-2.0
"""What every test run can be told: which device to use."""

from __future__ import annotations

import signal
from types import FrameType

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        metavar="SERIAL",
        default=None,
        help="run device tests on SERIAL instead of booting a virtual device for them",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "virtual_only: needs a virtual device of its own; skipped with --device"
    )
    # Ended from outside (`timeout`, a CI runner), a run still takes its guests down:
    # as an interrupt it reaches every fixture's clean-up.
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt("terminated")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--device") is None:
        return
    skip = pytest.mark.skip(reason="needs a virtual device of its own; --device names another")
    for item in items:
        if "virtual_only" in item.keywords:
            item.add_marker(skip)
