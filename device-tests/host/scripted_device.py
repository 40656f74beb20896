# SPDX-License-Identifier: Apache-2.0
"""A device whose shell and sockets answer what a test wants."""

from __future__ import annotations

from typing import Any, cast

from lmk.device.interface import CommandResult, Device
from lmk.device.root import Root

__all__ = [
    "FACTS",
    "SESSION",
    "TOKEN",
    "ScriptedDevice",
    "ScriptedStream",
    "as_device",
    "result",
    "root_on",
    "session_lines",
]

TOKEN = bytes(range(16))
SESSION = f"""record_socket=lmk-records-1
control_socket=lmk-control-1
token={TOKEN.hex()}
build_id={"ab" * 32}
boot_id=boot-1
run=3
agent_pid=12
later_key=of a newer agent
kill_path=in_kernel
"""
FACTS = "uid=0\nabi=x86_64\nkernel=7.3\nbtf=1\nboot=boot-1\nname=dev\ndir=/data/lmk\n"


class ScriptedDevice:
    """A device whose shell and sockets answer what they are told to."""

    serial = "scripted"

    def __init__(self, *answers: str | CommandResult, transport: str = "direct") -> None:
        self.transport = transport
        self.answers = list(answers)
        self.commands: list[str] = []
        self.pushed: list[str] = []
        self.reply = b""

    def run(self, command: str, **_options: Any) -> CommandResult:
        self.commands.append(command)
        answer = self.answers.pop(0) if self.answers else ""
        return answer if isinstance(answer, CommandResult) else result(answer)

    def push(self, _source: bytes, remote: str, **_options: Any) -> None:
        self.pushed.append(remote)

    def open(self, service: str, **_options: Any) -> ScriptedStream:  # noqa: ARG002
        return ScriptedStream(self.reply)


class ScriptedStream:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, **_options: Any) -> bytes:
        taken, self._data = self._data[:3], self._data[3:]
        return taken

    def write(self, data: bytes) -> None:
        """Take the request."""

    def close(self) -> None:
        """Nothing to do."""

    def __enter__(self) -> ScriptedStream:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing to do."""


def result(stdout: str = "", stderr: str = "", code: int = 0) -> CommandResult:
    return CommandResult(code, stdout.encode(), stderr.encode())


def root_on(*answers: str | CommandResult) -> tuple[ScriptedDevice, Root]:
    device = ScriptedDevice(*answers)
    return device, Root(cast(Device, device), "{}")


def as_device(device: ScriptedDevice) -> Device:
    return cast(Device, device)


def session_lines() -> str:
    """:data:`SESSION` as the one look at a device has it."""
    return "".join(f"session={line}\n" for line in SESSION.splitlines())
