# SPDX-License-Identifier: Apache-2.0
"""Files that are part of a guest's system at each of its boots, as on a device that was built so.

A guest boots from an initramfs and keeps nothing. What is to be there with every boot comes in a
second archive behind the first: the kernel unpacks one after the other. A folder is laid out as
the guest's root. Where it has a file ``fs_config``, as ``lmk package --init-rc`` writes one, only
what that lists is taken, with the owners and modes that it says; else all of it, with the
folder's own modes, as root's.

- ``init="busybox"``: what lies below ``system``. ``system/build.prop`` sets properties,
  ``system/etc/init/*.rc`` is read by an Android-like init (:mod:`lmk.virtual.services`).
- ``init="systemd"``: any place; it is laid over the Debian root.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lmk.errors import UsageError
from lmk.virtual import services
from lmk.virtual.cpio import Archive
from lmk.virtual.kernels import Abi

__all__ = ["CONFIG", "check", "write"]

#: AOSP's form (`canned_fs_config`): a line for each file, ``PATH UID GID MODE``.
CONFIG = "fs_config"
#: The guest's rc runs it; ``setprop ctl.start`` finds it there.
_KEEPER = "etc/lmk-services"
#: Laid over the Debian root by the guest's rc.
_OVER = "over/"


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    source: Path
    mode: int
    owner: tuple[int, int]


def check(folders: Sequence[str], init: str) -> None:
    """Look at `folders` before anything is booted with them.

    :raises lmk.errors.UsageError: one is not there, empty, damaged, or has what a guest with that
        `init` cannot take.
    """
    for folder in folders:
        entries = list(_entries(Path(folder)))
        if not entries:
            raise UsageError(f"{folder} has no files for a guest's system")
        for entry in entries:
            if init == "busybox" and entry.path.partition("/")[0] != "system":
                raise UsageError(
                    f"{folder}/{entry.path}: a guest takes what lies below {folder}/system; other "
                    "places are for --init systemd"
                )


def write(folders: Sequence[str], init: str, abi: Abi, out: BinaryIO) -> None:
    """Write the archive with the files of `folders`; of two at one place the first one counts.

    :raises lmk.errors.UsageError: as :func:`check`.
    """
    archive = Archive(out)
    prefix = _OVER if init == "systemd" else ""
    has_rc = False
    for folder in folders:
        for entry in _entries(Path(folder)):
            has_rc = has_rc or entry.path.startswith("system/etc/init/")
            path = prefix + entry.path
            if entry.source.is_symlink():
                archive.symlink(path, str(entry.source.readlink()))
            elif entry.source.is_dir():
                archive.directory(path, entry.mode)
            else:
                archive.file(path, _content(entry.source), entry.mode, entry.owner)
    if has_rc and init == "busybox":
        archive.file(_KEEPER, services.program(abi.machine), 0o755)
    archive.close()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _entries(folder: Path) -> Iterator[_Entry]:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder")
    config = folder / CONFIG
    yield from _listed(folder, config) if config.exists() else _all(folder)


def _listed(folder: Path, config: Path) -> Iterator[_Entry]:
    for number, line in enumerate(config.read_text(errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            path, uid, gid, mode = line.split()[:4]
            entry = _Entry(path, folder / path, int(mode, 8), (int(uid), int(gid)))
        except ValueError:
            raise UsageError(f"{config}:{number}: not PATH UID GID MODE: {line}") from None
        if path.startswith("/") or ".." in path.split("/"):
            raise UsageError(f"{config}:{number}: not a path below the folder: {path}")
        if not entry.source.exists() and not entry.source.is_symlink():
            raise UsageError(f"{config}:{number}: there is no {entry.source}")
        yield entry


def _all(folder: Path) -> Iterator[_Entry]:
    for source in sorted(folder.rglob("*")):
        status = source.lstat()
        if not (stat.S_ISREG(status.st_mode) or source.is_dir() or source.is_symlink()):
            raise UsageError(f"{source} is neither a file, nor a folder, nor a link")
        path = str(source.relative_to(folder))
        yield _Entry(path, source, stat.S_IMODE(status.st_mode), (0, 0))
