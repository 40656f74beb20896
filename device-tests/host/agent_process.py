# SPDX-License-Identifier: Apache-2.0
"""A real agent on this machine, without handlers, and a plain client of its sockets."""

from __future__ import annotations

import json
import os
import platform
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

from lmk import progress
from lmk.build.compiler import Job
from lmk.build.recipe import ABIS, PROGRAMS
from lmk.build.sources import source_root
from lmk.proto.control_pb2 import ControlReply, ControlRequest, StreamRequest
from lmk.proto.record_pb2 import Record
from lmk.report.wire import StreamParser, decode_varint, encode_varint

DEADLINE_S = 30.0
T = TypeVar("T")


def build_agent(directory: Path) -> Path:
    recipe = next(recipe for recipe in PROGRAMS if recipe.output == "lmk-agent")
    with progress.steps("test") as task:
        content = Job(recipe, ABIS[platform.machine()], source_root()).run(task)
    path = directory / "lmk-agent"
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def until(condition: Callable[[], T | None], deadline_s: float = DEADLINE_S) -> T:
    """What `condition` gives once it gives something."""
    end = time.monotonic() + deadline_s
    while (found := condition()) is None:
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)
    return found


class Agent:
    """`lmk-agent` with a directory of its own."""

    def __init__(self, binary: Path, directory: Path) -> None:
        self.binary = binary
        self.directory = directory

    def run(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Run a subcommand on the directory; its JSON answer ({"error": …} when it failed)."""
        done = subprocess.run(
            [str(self.binary), *arguments, "--dir", str(self.directory)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == code, done.stderr
        if code:
            return {"error": done.stderr.strip()}
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def serve(self, *arguments: str) -> dict[str, Any]:
        return self.run("serve", *arguments)

    def stop(self) -> dict[str, Any]:
        return self.run("stop")

    def fill(self, count: int, *arguments: str) -> dict[str, Any]:
        return self.run("--spool-fill", str(count), *arguments)

    @property
    def session(self) -> dict[str, str]:
        text = (self.directory / "session").read_text()
        return dict(line.split("=", 1) for line in text.splitlines())

    def session_of_new_agent(self, old: dict[str, str]) -> dict[str, str]:
        def changed() -> dict[str, str] | None:
            try:
                session = self.session
            except FileNotFoundError:
                return None
            return session if session["agent_pid"] != old["agent_pid"] else None

        return until(changed)

    def wait_until_over(self) -> None:
        until(lambda: None if (self.directory / "session").exists() else True)

    def segments(self) -> list[Path]:
        return sorted((self.directory / "spool").glob("*.pb"))

    def records(self, run: int = 1, seq: int = 1, boot_id: str = "") -> list[Record]:
        """All there is from RUN:SEQ on, Hello and Lost included."""
        with RecordClient(self.session) as client:
            client.ask(run=run, from_seq=seq, boot_id=boot_id)
            return list(client)

    def control(self, request: ControlRequest, token: bytes | None = None) -> ControlReply:
        session = self.session
        request.token = bytes.fromhex(session["token"]) if token is None else token
        payload = request.SerializeToString()
        with connect(session["control_socket"]) as link:
            link.sendall(encode_varint(len(payload)) + payload)
            received = bytearray()
            while True:
                head = decode_varint(received)
                if head is not None and len(received) >= head[0] + head[1]:
                    return ControlReply.FromString(bytes(received[head[1] : head[0] + head[1]]))
                data = link.recv(65536)
                assert data, "no reply"
                received += data

    def end(self) -> None:
        """Whatever a test left running of it."""
        try:
            session = self.session
        except FileNotFoundError:
            session = {}
        # Each would bring back the other: both are stopped before either dies.
        pids = [int(session.get(who, 0)) for who in ("guardian_pid", "agent_pid")]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                if pid and is_agent(pid, self.directory):
                    os.kill(pid, number)
        self.stop()


def is_agent(pid: int, directory: Path) -> bool:
    """A live lmk-agent that works in that directory."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return command.startswith(b"lmk-agent\0") and Path(f"/proc/{pid}/cwd").readlink() == (
            directory
        )
    except OSError:
        return False


def connect(name: str) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(DEADLINE_S)
    link.connect("\0" + name)
    return link


class RecordClient:
    """The record socket: one request, then records."""

    def __init__(self, session: dict[str, str]) -> None:
        self.session = session
        self.link = connect(session["record_socket"])
        self.parser = StreamParser()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    def send(self, payload: bytes) -> None:
        self.link.sendall(encode_varint(len(payload)) + payload)

    def ask(self, *, token: bytes | None = None, **fields: Any) -> Self:
        if token is None:
            token = bytes.fromhex(self.session["token"])
        self.send(StreamRequest(token=token, **fields).SerializeToString())
        return self

    def __iter__(self) -> Iterator[Record]:
        while data := self.link.recv(1 << 20):
            yield from self.parser.feed(data)

    def is_silent(self, seconds: float) -> bool:
        return not select.select([self.link], [], [], seconds)[0]
