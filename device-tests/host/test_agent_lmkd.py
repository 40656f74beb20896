# SPDX-License-Identifier: Apache-2.0
"""The agent serves lmkd's socket beside its own, and a new agent goes on with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from agent_process import Agent, until
from lmkd_parts import Command, connect, packet

from lmk.proto.control_pb2 import ControlRequest, GetStatus

pytest_plugins = ("agent_plugin",)


@pytest.fixture
def sleeper() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "600"])
    yield process.pid
    process.kill()
    process.wait()


def register(path: Path, pid: int, adj: int) -> bool | None:
    """True once it is done; None: nobody answers now."""
    with suppress(ConnectionError, FileNotFoundError), connect(path) as link:
        link.send(packet(Command.PROCPRIO, pid, 10123, adj, 0))
        link.send(packet(Command.GETKILLCNT, 1001, 0))
        return link.recv(256) == packet(4, 0) or None
    return None


def test_activity_manager_is_served_beside_the_host(
    agent: Agent, tmp_path: Path, sleeper: int
) -> None:
    path = tmp_path / "lmkd"
    agent.serve("--lmkd-socket", str(path))
    assert register(path, sleeper, 900)
    assert Path(f"/proc/{sleeper}/oom_score_adj").read_text() == "900\n"
    assert agent.control(ControlRequest(get_status=GetStatus())).status.agent_pid


def test_a_new_agent_goes_on_with_it(agent: Agent, tmp_path: Path, sleeper: int) -> None:
    path = tmp_path / "lmkd"
    agent.serve("--lmkd-socket", str(path))
    first = agent.session
    with connect(path) as link:
        os.kill(int(first["agent_pid"]), signal.SIGKILL)
        with suppress(ConnectionResetError):
            assert link.recv(256) == b""
    assert until(lambda: register(path, sleeper, 901))
    assert agent.session_of_new_agent(first)["agent_pid"] != first["agent_pid"]
    assert Path(f"/proc/{sleeper}/oom_score_adj").read_text() == "901\n"


def test_a_socket_that_somebody_serves_is_left_to_them(agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "lmkd"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as lmkd:
        lmkd.bind(str(path))
        lmkd.listen()
        answer = agent.run("serve", "--lmkd-socket", str(path), code=1)
        assert f"{path}: Address already in use" in answer["error"]
        agent.stop()
        with connect(path):
            lmkd.accept()[0].close()


@pytest.mark.parametrize(
    "options", [["--lmkd-socket", "relative"], ["--lmkd-prockill-bytes", "13"]]
)
def test_options_are_checked(agent: Agent, options: list[str]) -> None:
    assert options[0] in agent.run("serve", *options, code=2)["error"]


def test_beside_handlers_it_is_served_in_lmkds_place_only(agent: Agent, tmp_path: Path) -> None:
    answer = agent.run(
        "start", "--policy", "/dev/null", "--lmkd-socket", str(tmp_path / "lmkd"), code=2
    )
    assert "--replace-lmkd serves lmkd's" in answer["error"]
