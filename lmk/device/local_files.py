# SPDX-License-Identifier: Apache-2.0
"""Files of this machine, read and written as adbd's file service does elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lmk.device.interface import FileStat
from lmk.device.sync import check_path, refused

__all__ = ["LocalFiles"]

_READ_BYTES = 256 * 1024


class LocalFiles:
    """See :class:`lmk.device.transfer.Files`.

    :param name: how errors call the device.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def stat(self, remote: str) -> FileStat | None:
        """What is at `remote`, symbolic links followed; None when there is nothing."""
        check_path(remote, self._name)
        with self._telling(remote):
            try:
                return _as_stat(Path(remote).stat())
            except (FileNotFoundError, NotADirectoryError):
                return None

    def list_dir(self, remote: str) -> dict[str, FileStat]:
        """Names in a directory and what each is, symbolic links not followed."""
        check_path(remote, self._name)
        listed: dict[str, FileStat] = {}
        with self._telling(remote), os.scandir(remote) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # gone since the name was read
                    listed[entry.name] = _as_stat(entry.stat(follow_symlinks=False))
        return listed

    def send(
        self, chunks: Iterable[bytes], remote: str, mode: int, taken: Callable[[int], None]
    ) -> None:
        """Write `chunks` to `remote`; `mode` with its file type (``S_IFREG``, ``S_IFLNK``).

        Makes missing parents, and unlinks a file that is there first (so a program that runs can
        be replaced).

        :param taken: called with the sum of bytes so far, as long as there are more.
        """
        check_path(remote, self._name)
        path = Path(remote)
        with contextlib.ExitStack() as stack:
            with self._telling(remote):
                path.parent.mkdir(parents=True, exist_ok=True)
                _make_way(path)
                if stat.S_ISLNK(mode):
                    path.symlink_to(os.fsdecode(b"".join(chunks)))
                    return
                file = stack.enter_context(path.open("wb", buffering=0))
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    os.fchmod(file.fileno(), stat.S_IMODE(mode))
            carried = 0
            for chunk in chunks:
                if carried:
                    taken(carried)
                with self._telling(remote):
                    _write_all(file, chunk)
                carried += len(chunk)

    def receive(self, remote: str) -> Iterator[bytes]:
        """The content of `remote`, to its end, whatever size it claims."""
        check_path(remote, self._name)
        with contextlib.ExitStack() as stack:
            with self._telling(remote):
                file = stack.enter_context(Path(remote).open("rb", buffering=0))
            while True:
                with self._telling(remote):
                    chunk = file.read(_READ_BYTES)
                if not chunk:
                    return
                yield chunk

    @contextlib.contextmanager
    def _telling(self, remote: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise refused(self._name, remote, error.strerror or str(error)) from error


def _as_stat(found: os.stat_result) -> FileStat:
    return FileStat(mode=found.st_mode, size=found.st_size, mtime=int(found.st_mtime))


def _make_way(path: Path) -> None:
    """Unlink a file or link; a device stays, and a directory is left for the open to refuse."""
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            path.unlink()


def _write_all(file: io.FileIO, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]
