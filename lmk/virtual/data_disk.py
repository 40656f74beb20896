# SPDX-License-Identifier: Apache-2.0
"""A guest's /data in a file: what a device keeps over a reboot, persistent properties included."""

from __future__ import annotations

from pathlib import Path

from lmk.errors import UsageError
from lmk.virtual import ext4

__all__ = ["SIZE_MB", "make"]

#: As large as the /data of a guest that keeps nothing.
SIZE_MB = 192


def make(path: Path) -> None:
    """Make the file, sparse, with an empty file system; one that is there is left as it is.

    :raises lmk.errors.UsageError: it is no file, or its folder is not there.
    """
    if path.exists():
        if not path.is_file():
            raise UsageError(f"{path} is not a file that could hold a guest's /data")
        return
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder")
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        ext4.write(partial, SIZE_MB * 1024, "-L", "data")
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
