# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that speak to the server of lmkd's socket."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lmkd_client import Server
from lmkd_parts import build_server
from running import Running


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_server(tmp_path_factory.mktemp("lmkd"))


@pytest.fixture
def server(program: Path, tmp_path: Path) -> Iterator[Server]:
    path = tmp_path / "lmkd"
    running = Running(program, path)
    yield Server(running, str(path))
    running.close()


@pytest.fixture
def open_server(program: Path) -> Iterator[Server]:
    """One whose socket was made by somebody else, and has no file that keeps anybody out."""
    name = f"\0lmkd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(name)
        listener.listen(8)
        running = Running(program, "--fd", str(listener.fileno()), fds=[listener.fileno()])
        yield Server(running, name)
        running.close()


@pytest.fixture
def link(server: Server) -> Iterator[socket.socket]:
    with server.connect() as link:
        yield link


@pytest.fixture
def spawn() -> Iterator[Callable[[], int]]:
    """Starts processes that sleep; their pids."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> int:
        started.append(subprocess.Popen(["sleep", "600"]))
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.wait()
