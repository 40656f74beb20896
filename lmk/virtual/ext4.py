# SPDX-License-Identifier: Apache-2.0
"""File systems of a guest's disks, written by ``mke2fs``; it is unpacked, not installed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lmk import debian
from lmk.errors import LmkError
from lmk.virtual.kernels import host_abi

__all__ = ["write"]

_SUITE = "bookworm"
#: The machine's own C library must go with the machine's own loader.
_HOST_HAS = {"libc6"}


def write(path: Path, size_kb: int, *options: str) -> None:
    """Make an ext4 file system of root's in the file `path`.

    :param options: of mke2fs(8), besides.
    :raises lmk.errors.LmkError: it cannot be written. Raises like :func:`lmk.debian.fetch` too.
    """
    arch = host_abi().debian
    wanted = debian.closure(["e2fsprogs"], _SUITE, arch)
    tools = debian.sysroot([name for name in wanted if name not in _HOST_HAS], _SUITE, arch)
    libraries = [tools / place / host_abi().triplet for place in ("lib", "usr/lib")]
    done = subprocess.run(
        [
            str(tools / "sbin/mke2fs"),
            *("-q", "-t", "ext4", "-E", "root_owner=0:0", *options),
            *(str(path), f"{size_kb}k"),
        ],
        env=dict(
            os.environ,
            LD_LIBRARY_PATH=":".join(map(str, libraries)),
            MKE2FS_CONFIG=str(tools / "etc/mke2fs.conf"),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LmkError(f"cannot write a file system into {path}", detail=done.stderr)
