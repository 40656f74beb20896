# SPDX-License-Identifier: Apache-2.0
"""What every device makes of a shell and a place for files: trees, content, properties.

What carries commands and files is its own matter: adbd's services (:mod:`lmk.device.adbd`), or
system calls (:mod:`lmk.device.local`).
"""

from __future__ import annotations

import io
import os
import re
from abc import abstractmethod
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from lmk.closing import Closing
from lmk.device.interface import CommandResult, FileStat, Progress
from lmk.device.sync import check_path
from lmk.device.transfer import Files, PushPlan, plan_push, pull, send_files
from lmk.errors import TransientError, UsageError

__all__ = ["ShellDevice"]

_GETPROP = re.compile(r"^\[([^\]\n]+)\]: \[(.*?)\]$(?=\n\[|\n?\Z)", re.DOTALL | re.MULTILINE)


class ShellDevice(Closing):
    """The part of a :class:`lmk.device.interface.Device` that does not depend on what carries it.

    :param serial: the name the user gave it by, for errors.
    """

    def __init__(self, serial: str) -> None:
        self._serial = serial

    @property
    def serial(self) -> str:
        """The name the user gave it by."""
        return self._serial

    @property
    @abstractmethod
    def transport(self) -> str:
        """What carries it: ``direct``, ``server``, ``local``."""

    @abstractmethod
    def run(
        self,
        command: str,
        *,
        timeout: timedelta | None = timedelta(seconds=30),
        stdin: bytes = b"",
    ) -> CommandResult:
        """Run a shell command line; see the interface. What it started in the background lives."""

    @abstractmethod
    def _files(self) -> AbstractContextManager[Files]:
        """Where its files go to and come from."""

    def _settle(self, plan: PushPlan) -> None:
        """What is left to do once all of `plan` has been sent."""

    def push(
        self,
        source: bytes | str | os.PathLike[str] | BinaryIO,
        remote: str,
        *,
        mode: int = 0o644,
        progress: Progress | None = None,
    ) -> None:
        """Write `source` to `remote`; see the interface.

        `remote` names the result, or the folder that shall hold the file when it ends in ``/``.
        Files of a tree keep their own modes and links stay links; `mode` is for single files.
        """
        check_path(remote, self._serial)
        plan = plan_push(source, remote, mode)
        for command in plan.mkdir_commands():
            self._must(command)
        with self._files() as files:
            send_files(files, plan, progress)
        self._settle(plan)

    def pull(
        self,
        remote: str,
        local: str | os.PathLike[str] | BinaryIO,
        *,
        progress: Progress | None = None,
    ) -> None:
        """Copy `remote` to `local`; a remote directory is copied as a tree."""
        target = Path(local) if isinstance(local, str | os.PathLike) else local
        with self._files() as files:
            pull(files, remote, target, progress, self._serial)

    def read_file(self, remote: str) -> bytes:
        """The content of a small file, whatever size it claims."""
        content = io.BytesIO()
        with self._files() as files:
            for chunk in files.receive(remote):
                content.write(chunk)
        return content.getvalue()

    def stat(self, remote: str) -> FileStat | None:
        """What `remote` is, symbolic links followed, or None."""
        with self._files() as files:
            return files.stat(remote)

    def list_dir(self, remote: str) -> dict[str, FileStat]:
        """Names in a directory and what each is, symbolic links not followed."""
        with self._files() as files:
            return files.list_dir(remote)

    def properties(self) -> dict[str, str]:
        """All system properties, by ``getprop``; empty on a device without it."""
        listed = self.run("getprop")
        if listed.exit_code == 127:
            return {}
        if listed.exit_code:
            raise TransientError(
                f"{self._serial}: getprop ended with {listed.exit_code}",
                detail=listed.error_text,
                serial=self._serial,
            )
        return dict(_GETPROP.findall(listed.text.replace("\r\n", "\n")))

    def _must(self, command: str) -> None:
        result = self.run(command)
        if result.exit_code:
            words = result.error_text.strip() or f"exit code {result.exit_code}"
            raise UsageError(
                f"{self._serial}: {words.splitlines()[0]}", detail=command, serial=self._serial
            )
