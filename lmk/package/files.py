# SPDX-License-Identifier: Apache-2.0
"""The files of a package, and the folder that they are written into: all of them or none."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from lmk.build import Bundle
from lmk.cache import remove_tree
from lmk.errors import UsageError
from lmk.policy import Policy

__all__ = ["Packaged", "Written", "check_folder", "fill", "programs", "write"]

#: What the agent needs to start, and what becomes of its mode.
_PROGRAMS = {"lmk-agent": 0o755, "lmk-loader": 0o755, "lmk.bpf.o": 0o644, "assisted.bpf.o": 0o644}
_MARK = re.compile(r"@([A-Z_]+)@")


@dataclass(frozen=True, slots=True)
class Packaged:
    """One file of a package.

    :ivar path: below the folder that is written.
    :ivar mode: permission bits, here and on the device.
    :ivar place: where it goes on the device; empty: it stays here.
    :ivar owner: there, USER:GROUP.
    :ivar label: its SELinux label there; empty: as its folder gives it.
    """

    path: str
    content: bytes
    mode: int = 0o644
    place: str = ""
    owner: str = "root:root"
    label: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """One file that was written: see :class:`Packaged`.

    :ivar path: with the folder.
    :ivar sha256: of the content, hex.
    """

    path: Path
    mode: int
    place: str
    owner: str
    label: str
    sha256: str


def programs(bundle: Bundle, abi: str, policy: Policy) -> dict[str, tuple[bytes, int]]:
    """Content and mode by name: agent, loader, handlers and ``policy.pb``.

    :raises lmk.errors.UsageError: the policy kills nobody, which would leave the device without
        a killer.
    :raises lmk.errors.UnsupportedError: the bundle has nothing for that ABI.
    """
    if policy.dry_run:
        raise UsageError(
            "a policy with dry_run: true in place of the device's own killer would leave nobody "
            "who kills: set it to false, or attach with --shadow"
        )
    files = {
        name: (bundle.file(abi, name).content, mode) for name, mode in sorted(_PROGRAMS.items())
    }
    files["policy.pb"] = (policy.SerializeToString(deterministic=True), 0o644)
    return files


def fill(template: str, values: Mapping[str, str]) -> bytes:
    """A file of ``templates`` with each ``@NAME@`` replaced."""
    text = (resources.files("lmk.package") / "templates" / template).read_text(encoding="utf-8")
    return _MARK.sub(lambda mark: values[mark[1]], text).encode()


def check_folder(folder: Path | str) -> Path:
    """The absolute path of a folder that a package can be written into.

    :raises lmk.errors.UsageError: there is something already.
    """
    folder = Path(folder).expanduser().absolute()
    try:
        free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise UsageError(f"cannot look into {folder}: {error.strerror}") from error
    if not free:
        raise UsageError(
            f"{folder} is there, and not an empty folder: nothing was written; name another, or "
            "remove it"
        )
    return folder


def write(folder: Path | str, files: Iterable[Packaged]) -> list[Written]:
    """Write a package into `folder`, which is made, or is there and empty.

    It appears whole or not at all: it is written beside it and renamed into its place.

    :raises lmk.errors.UsageError: there is something already, or it cannot be written.
    """
    folder = check_folder(folder)
    partial = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        partial.chmod(0o755)
        written = [_write_one(partial, folder, file) for file in files]
        partial.rename(folder)  # also onto an empty folder
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}; nothing was left") from error
    finally:
        if partial is not None and partial.exists():
            remove_tree(partial)
    return written


def _write_one(partial: Path, folder: Path, file: Packaged) -> Written:
    path = partial / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    path.chmod(file.mode)
    digest = hashlib.sha256(file.content).hexdigest()
    return Written(folder / file.path, file.mode, file.place, file.owner, file.label, digest)
