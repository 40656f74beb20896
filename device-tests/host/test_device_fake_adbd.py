# SPDX-License-Identifier: Apache-2.0
"""The fake adbd is proven by the real ``adb`` client, so that what it shows of faults counts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_adbd import FakeAdbd

Adb = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.skipif(shutil.which("adb") is None, reason="no adb (apt install adb)")


@pytest.fixture
def adb(tmp_path: Path) -> Iterator[Adb]:
    """The real client with a server of its own: another port, another home."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "ANDROID_ADB_SERVER_PORT": str(port),
        "ADB_MDNS": "0",
    }
    environment.pop("ANDROID_SERIAL", None)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["adb", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    run("start-server")
    yield run
    run("kill-server")


def test_real_adb_runs_a_command_on_the_fake(adb: Adb) -> None:
    with FakeAdbd() as fake:
        serial = f"127.0.0.1:{fake.port}"
        adb("connect", serial)
        assert f"{serial}\tdevice" in adb("devices").stdout
        ran = adb("-s", serial, "shell", "echo out; echo err >&2; exit 7")
        assert (ran.returncode, ran.stdout, ran.stderr) == (7, "out\n", "err\n")


def test_real_adb_shows_unauthorized_for_the_fake_that_prompts(adb: Adb) -> None:
    with FakeAdbd(auth="prompt") as fake:
        serial = f"127.0.0.1:{fake.port}"
        adb("connect", serial)
        assert f"{serial}\tunauthorized" in adb("devices").stdout
    assert fake.auth_log[-1] == "public key"


def test_real_adb_is_let_in_by_the_fake_that_accepts(adb: Adb) -> None:
    with FakeAdbd(auth="accept") as fake:
        serial = f"127.0.0.1:{fake.port}"
        adb("connect", serial)
        assert adb("-s", serial, "shell", "echo in").stdout == "in\n"


def test_real_adb_sees_a_refused_service_closed(adb: Adb) -> None:
    with FakeAdbd() as fake:
        serial = f"127.0.0.1:{fake.port}"
        adb("connect", serial)
        forwarded = adb("-s", serial, "forward", "tcp:0", "localabstract:nobody").stdout.strip()
        with socket.create_connection(("127.0.0.1", int(forwarded)), timeout=10) as link:
            assert link.recv(1) == b""
