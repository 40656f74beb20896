# SPDX-License-Identifier: Apache-2.0
"""Agent and guardian killed. Each starts the other again, so both are to die at one moment."""

from __future__ import annotations

from lmk.device.root import Root
from lmk.facts import gather

__all__ = ["daemons", "kill_9"]


def daemons(root: Root) -> tuple[int, int]:
    """Guardian and agent of the session that its file tells of, whoever started it."""
    facts = gather(root)
    assert facts.session is not None
    guardian = root.run(f"sed -n s/^guardian_pid=//p {facts.directory}/session").text
    return int(guardian), facts.session.agent_pid


def kill_9(root: Root, *pids: int) -> None:
    """``kill -9`` of all: stopped first, so that none sees another die."""
    words = " ".join(map(str, pids))
    assert root.run(f"kill -STOP {words} && kill -9 {words}").exit_code == 0
