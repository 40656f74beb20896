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
from lmkd_parts import Command, Refusal, connect, packet

from lmk.proto.control_pb2 import ControlRequest, GetStatus, LmkdSocket, Status

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


def status_of(agent: Agent) -> Status:
    return agent.control(ControlRequest(get_status=GetStatus())).status


def test_the_status_counts_what_goes_over_it(agent: Agent, tmp_path: Path, sleeper: int) -> None:
    path = tmp_path / "lmkd"
    agent.serve("--lmkd-socket", str(path))
    with connect(path) as link:
        link.send(packet(Command.PROCPRIO, sleeper, 10123, 900, 0))
        link.send(packet(Command.PROCPRIO, sleeper, 10123, 1001, 0))
        link.send(packet(Command.PROCREMOVE))
        link.send(packet(Command.PROCREMOVE))
        link.send(packet(Command.GETKILLCNT, 1001, 0))
        assert link.recv(256) == packet(4, 0)
        socket_status = status_of(agent).lmkd_socket
    names = [refused.name for refused in socket_status.refused]
    assert names == [
        "kernel_thread" if why is Refusal.KERNEL else why.name.lower() for why in Refusal if why
    ]
    counted = {refused.name: refused.value for refused in socket_status.refused if refused.value}
    assert counted == {"adj": 1, "length": 2}
    del socket_status.refused[:]
    assert socket_status == LmkdSocket(clients=1, processes=1, packets=5)


def test_a_client_that_never_reads_is_dropped_and_counted(
    agent: Agent, tmp_path: Path, sleeper: int
) -> None:
    path = tmp_path / "lmkd"
    agent.serve("--lmkd-socket", str(path))
    with connect(path) as deaf:
        with suppress(BrokenPipeError, ConnectionResetError):
            while True:
                deaf.send(packet(Command.GETKILLCNT, 1001, 0))
        assert register(path, sleeper, 900)
        socket_status = status_of(agent).lmkd_socket
    assert (socket_status.clients_deaf, socket_status.unsent) == (1, 1)


def test_without_it_there_is_nothing_to_count(agent: Agent) -> None:
    agent.serve()
    assert not status_of(agent).HasField("lmkd_socket")


def test_properties_monitoring_and_boot_are_answered(agent: Agent, tmp_path: Path) -> None:
    """As by lmkd; where there is no Android, no device has booted."""
    path = tmp_path / "lmkd"
    agent.serve("--lmkd-socket", str(path))
    with connect(path) as link:
        for _ in range(2):
            link.send(packet(Command.UPDATE_PROPS))
            assert link.recv(256) == packet(7, 0)
            link.send(packet(Command.START_MONITORING))
            link.send(packet(Command.BOOT_COMPLETED))
            assert link.recv(256) == packet(10, -1)


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
