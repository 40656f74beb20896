# SPDX-License-Identifier: Apache-2.0
"""Agent and guardian killed. Each starts the other again, so both are to die at one moment."""

from __future__ import annotations

from lmk.device.root import Root

__all__ = ["kill_9"]


def kill_9(root: Root, *pids: int) -> None:
    """``kill -9`` of all: stopped first, so that none sees another die."""
    words = " ".join(map(str, pids))
    assert root.run(f"kill -STOP {words} && kill -9 {words}").exit_code == 0
