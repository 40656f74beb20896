# SPDX-License-Identifier: Apache-2.0
"""`lmk-agent run`, for an init: one that somebody is just ending does not keep it from starting."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent_process import DEADLINE_S, Agent

from lmk.errors import ExitCode

pytest_plugins = ("agent_plugin",)

SESSION = "record_socket=a\ncontrol_socket=b\nboot_id={}\nagent_pid=1\nguardian_pid=1\n"
#: `start` gives one that ends 2 s.
HELD_S = 3.0


@contextmanager
def held(agent: Agent) -> Iterator[None]:
    """Its directory's lock is somebody's, as a `stop` holds it."""
    agent.directory.mkdir(mode=0o700)
    with (agent.directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def running(agent: Agent) -> Iterator[subprocess.Popen[str]]:
    words = ["run", "--dir", str(agent.directory), "--policy", "/nothing", "--build-id", "x"]
    process = subprocess.Popen(
        [str(agent.binary), *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("stale", ["", SESSION.format("00000000-0000-0000-0000-000000000000")])
def test_run_waits_for_one_that_is_just_ending(stale: str, agent: Agent) -> None:
    """With the session file that a power cut left, too: it is of another boot."""
    with contextlib.ExitStack() as stack:
        with held(agent):
            if stale:
                (agent.directory / "session").write_text(stale)
            process = stack.enter_context(running(agent))
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(HELD_S)
        _, said = process.communicate(timeout=DEADLINE_S)
        assert "running" not in said, "it had its turn, and failed by what it was given"


def test_run_beside_a_session_of_this_boot_is_refused_at_once(agent: Agent) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with held(agent):
        (agent.directory / "session").write_text(SESSION.format(boot))
        with running(agent) as process:
            _, said = process.communicate(timeout=HELD_S * 5)
            assert process.returncode == ExitCode.USAGE
            assert "already running" in said
