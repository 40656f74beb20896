# SPDX-License-Identifier: Apache-2.0
"""docs/wire-format.md is enough: stock adb, the page's own script, plain protoc."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lmk.attachment import attach, detach
from lmk.build.sources import source_root
from lmk.device.interface import Device
from lmk.policy import load
from lmk.virtual import Guest

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "wire-format.md"

pytestmark = [
    pytest.mark.virtual_only,
    pytest.mark.skipif(shutil.which("adb") is None, reason="adb is not installed"),
    pytest.mark.skipif(shutil.which("protoc") is None, reason="protoc is not installed"),
]

Adb = Callable[..., str]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def adb(guest: Guest | None) -> Iterator[Adb]:
    """Stock adb with a server of its own, connected to the guest."""
    assert guest is not None
    serial = f"127.0.0.1:{guest.port}"
    environment = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(free_port())}
    environment.pop("ANDROID_SERIAL", None)

    def run(*arguments: str) -> str:
        return subprocess.run(
            ["adb", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    run("connect", serial)
    try:
        yield lambda *arguments: run("-s", serial, *arguments)
    finally:
        run("kill-server")


def script_of_the_page() -> str:
    """The Python lines of the section "By hand"."""
    section = _PAGE.read_text().partition("## By hand")[2]
    lines = [line.removeprefix("    ") for line in section.splitlines()]
    first = lines.index("import socket, sys")
    last = next(index for index in range(first, len(lines)) if "out.write(data)" in lines[index])
    return "\n".join(lines[first : last + 1])


def test_stock_tools_read_a_capture(adb: Adb, device: Device, tmp_path: Path) -> None:
    policy = load("default")
    policy.dry_run = True
    with attach(device, policy) as session:
        text = adb("shell", "cat", "/data/lmk/session")
        values = dict(line.split("=", 1) for line in text.split())
        port = free_port()
        adb("forward", f"tcp:{port}", f"localabstract:{values['record_socket']}")
        script = script_of_the_page()
        assert len(script.splitlines()) <= 10
        subprocess.run(
            [sys.executable, "-c", script.replace("7001", str(port)), values["token"]],
            cwd=tmp_path,
            check=True,
            timeout=60,
        )
        adb("forward", "--remove", f"tcp:{port}")
        build_id = session.hello.build_id
    with (tmp_path / "capture.pb").open("rb") as capture:
        decoded = subprocess.run(
            [
                "protoc",
                f"--proto_path={source_root() / 'proto'}",
                "--decode=lmk.v1.Stream",
                "lmk/v1/record.proto",
            ],
            stdin=capture,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert f'build_id: "{build_id}"' in decoded
    assert "kind: ATTACHED" in decoded
    # Nothing in it that the message does not have: only names, no bare numbers.
    assert not re.search(r"^\s*\d+[:{ ]", decoded, re.MULTILINE)
    detach(device)
