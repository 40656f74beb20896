# SPDX-License-Identifier: Apache-2.0
"""What a push or pull consists of: files, links and directories, and their sum of bytes."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from lmk.device.interface import FileStat, Progress
from lmk.errors import UsageError

__all__ = ["Files", "PushPlan", "plan_push", "pull", "send_files"]

_READ_BYTES = 256 * 1024
#: Keeps each command line well below the device's limit of 128 KiB per argument.
_COMMAND_BYTES = 32 * 1024


class Files(Protocol):
    """Where files go to and come from: adbd's file service, or this machine."""

    def stat(self, remote: str) -> FileStat | None:
        """What is at `remote`, symbolic links followed; None when there is nothing."""
        ...

    def list_dir(self, remote: str) -> dict[str, FileStat]:
        """Names in a directory and what each is, symbolic links not followed."""
        ...

    def send(
        self, chunks: Iterable[bytes], remote: str, mode: int, taken: Callable[[int], None]
    ) -> None:
        """Write `chunks`; `taken` is told the sum of bytes so far."""
        ...

    def receive(self, remote: str) -> Iterator[bytes]:
        """The content of `remote`, to its end."""
        ...


@dataclass(frozen=True, slots=True)
class _Item:
    source: bytes | Path | BinaryIO
    remote: str
    mode: int
    size: int


@dataclass(slots=True)
class PushPlan:
    """What a push does, in this order: directories, files and links, permissions."""

    directories: list[str] = field(default_factory=list)
    items: list[_Item] = field(default_factory=list)

    @property
    def total_bytes(self) -> int:
        """Sum of the files' sizes."""
        return sum(item.size for item in self.items)

    def mkdir_commands(self) -> Iterator[str]:
        """Shell commands that make the directories."""
        return _batched("mkdir -p --", self.directories)

    def chmod_commands(self) -> Iterator[str]:
        """Shell commands that set the modes, which adbd widens: 0600 arrives as 0666."""
        by_mode: dict[int, list[str]] = {}
        for item in self.items:
            if stat.S_ISREG(item.mode):
                by_mode.setdefault(stat.S_IMODE(item.mode), []).append(item.remote)
        for mode, paths in sorted(by_mode.items()):
            yield from _batched(f"chmod {mode:o}", paths)


def plan_push(
    source: bytes | str | os.PathLike[str] | BinaryIO, remote: str, mode: int
) -> PushPlan:
    """What to send for `source`.

    :raises lmk.errors.UsageError: there is no such local file, or it is a device, pipe or socket.
    """
    permissions = stat.S_IFREG | stat.S_IMODE(mode)
    if isinstance(source, bytes | bytearray | memoryview):
        return PushPlan(items=[_Item(bytes(source), remote, permissions, len(source))])
    if not isinstance(source, str | os.PathLike):
        return PushPlan(items=[_Item(source, remote, permissions, _size_of(source))])
    path = Path(source)
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return _plan_tree(path, remote.rstrip("/") or "/")
        if remote.endswith("/"):
            remote += path.name
        _require_regular(path, found.st_mode)
    except OSError as error:
        raise UsageError(f"cannot push {path}: {error.strerror}") from error
    return PushPlan(items=[_Item(path, remote, permissions, found.st_size)])


def send_files(files: Files, plan: PushPlan, progress: Progress | None) -> None:
    """Send the files and links of `plan`, telling the sum of bytes over all of them."""
    before = 0
    total = plan.total_bytes

    def taken(of_this_file: int) -> None:
        if progress is not None and before + of_this_file:
            progress(before + of_this_file, max(total, before + of_this_file))

    for item in plan.items:
        counted = _Counted(item)
        files.send(counted.chunks(), item.remote, item.mode, taken)
        before += counted.count
    if progress is not None:
        progress(before, before)


def pull(
    files: Files, remote: str, target: Path | BinaryIO, progress: Progress | None, name: str
) -> None:
    """Copy `remote`, a file or a tree, to `target`.

    :param name: how errors call the device.
    :raises lmk.errors.UsageError: it is not there, or is a directory that goes to an open file.
    """
    found = files.stat(remote)
    if found is None:
        raise UsageError(f"{name}: {remote}: No such file or directory", serial=name)
    if not stat.S_ISDIR(found.mode):
        _pull_file(files, remote, found.size, target, progress)
    elif isinstance(target, Path):
        _pull_tree(files, remote, target, progress)
    else:
        raise UsageError(f"{name}: {remote} is a directory", serial=name)


# Below --------------------------------------------------------------------------------------


def _pull_file(
    files: Files, remote: str, size: int, local: Path | BinaryIO, progress: Progress | None
) -> None:
    """Copy one remote file; a local path appears only when all of it is here."""
    if not isinstance(local, Path):
        _copy(files, remote, size, local, progress)
        return
    unfinished = local.with_name(f".{local.name}.{os.getpid()}.part")
    with _writing(local):
        local.parent.mkdir(parents=True, exist_ok=True)
        sink = unfinished.open("wb")
    try:
        with sink:
            _copy(files, remote, size, sink, progress)
        with _writing(local):
            unfinished.replace(local)
    finally:
        unfinished.unlink(missing_ok=True)


def _pull_tree(files: Files, remote: str, local: Path, progress: Progress | None) -> None:
    """Copy a remote directory: directories, files, and the files that links lead to."""
    wanted: list[tuple[str, Path, FileStat]] = []
    waiting = [(remote, local)]
    while waiting:
        directory, target = waiting.pop()
        with _writing(target):
            target.mkdir(parents=True, exist_ok=True)
        for name, listed in files.list_dir(directory).items():
            path = f"{directory.rstrip('/')}/{name}"
            found = _link_target(files, path) if stat.S_ISLNK(listed.mode) else listed
            if found is not None and stat.S_ISDIR(found.mode):
                waiting.append((path, target / name))
            elif found is not None and stat.S_ISREG(found.mode):
                wanted.append((path, target / name, found))
    total = sum(found.size for _, _, found in wanted)
    before, told = 0, -1
    for path, target, found in wanted:

        def forward(done: int, _: int, before: int = before) -> None:
            nonlocal told
            if progress is not None and before + done > told:
                told = before + done
                progress(told, max(total, told))

        _pull_file(files, path, found.size, target, forward)
        before += found.size
    if progress is not None and told < 0:
        progress(0, 0)


def _link_target(files: Files, path: str) -> FileStat | None:
    """The file that a link leads to; None for a directory (they can go in circles) or nothing."""
    target = files.stat(path)
    return target if target is not None and stat.S_ISREG(target.mode) else None


class _Counted:
    """The content of an item in pieces, and how many bytes it turned out to have."""

    def __init__(self, item: _Item) -> None:
        self._item = item
        self.count = 0

    def chunks(self) -> Iterator[bytes]:
        source = self._item.source
        if isinstance(source, Path):
            if stat.S_ISLNK(self._item.mode):
                yield self._count(os.fsencode(source.readlink()))
                return
            with source.open("rb") as opened:
                yield from self._read(opened)
        elif isinstance(source, bytes):
            yield from self._read(io.BytesIO(source))
        else:
            yield from self._read(source)

    def _read(self, opened: BinaryIO) -> Iterator[bytes]:
        while chunk := opened.read(_READ_BYTES):
            yield self._count(chunk)

    def _count(self, chunk: bytes) -> bytes:
        self.count += len(chunk)
        return chunk


@contextlib.contextmanager
def _writing(local: object) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write {local}: {error.strerror}") from error


def _copy(files: Files, remote: str, size: int, sink: BinaryIO, progress: Progress | None) -> None:
    done = 0
    for chunk in files.receive(remote):
        with _writing(getattr(sink, "name", "the local file")):
            sink.write(chunk)
        done += len(chunk)
        if progress is not None and done < size:
            progress(done, size)
    if progress is not None:
        progress(done, done)


def _plan_tree(top: Path, remote: str) -> PushPlan:
    plan = PushPlan()
    for folder, names, files in os.walk(top):
        below = PurePosixPath(remote, *Path(folder).relative_to(top).parts)
        plan.directories.append(str(below))
        for name in sorted(names + files):
            path = Path(folder, name)
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode):
                size = len(os.fsencode(path.readlink()))
                plan.items.append(_Item(path, str(below / name), found.st_mode, size))
            elif not stat.S_ISDIR(found.st_mode):
                _require_regular(path, found.st_mode)
                plan.items.append(_Item(path, str(below / name), found.st_mode, found.st_size))
    return plan


def _require_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise UsageError(f"cannot push {path}: not a file, link or directory")


def _size_of(source: BinaryIO) -> int:
    """Bytes from where `source` stands to its end; 0 when it cannot tell."""
    if not source.seekable():
        return 0
    here = source.tell()
    size = source.seek(0, os.SEEK_END) - here
    source.seek(here)
    return size


def _batched(command: str, paths: list[str]) -> Iterator[str]:
    line = command
    for path in paths:
        word = " " + shlex.quote(path)
        if len(line) + len(word) > _COMMAND_BYTES and line != command:
            yield line
            line = command
        line += word
    if line != command:
        yield line
