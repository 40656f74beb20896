# SPDX-License-Identifier: Apache-2.0
"""A cpio archive in the kernel's initramfs form, written without root and without a cpio program.

The form is "newc", as described in the kernel's
Documentation/driver-api/early-userspace/buffer-format.rst: an ASCII header of
thirteen eight-digit hex fields, the name, the content, each padded to 4 bytes.
No entry carries a time, so equal content gives equal bytes.
"""

from __future__ import annotations

import stat
from typing import BinaryIO

__all__ = ["Archive"]


class Archive:
    """Writes entries to `out`; parent directories are made as they are needed."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._inode = 0
        self._names: set[str] = set()

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add the directory `path`."""
        if self._new(path):
            self._entry(path, stat.S_IFDIR | mode)

    def file(
        self, path: str, content: bytes, mode: int = 0o644, owner: tuple[int, int] = (0, 0)
    ) -> None:
        """Add a regular file of `owner`, uid and gid."""
        if self._new(path):
            self._entry(path, stat.S_IFREG | mode, content, owner=owner)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link at `path` that says `target`."""
        if self._new(path):
            self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a device node; a file on the host would need root for it."""
        if self._new(path):
            self._entry(path, stat.S_IFCHR | mode, device=(major, minor))

    def close(self) -> None:
        """Write the trailer. The archive can be given to the kernel after this."""
        self._entry("TRAILER!!!", 0)

    def _new(self, path: str) -> bool:
        """Make the parents of `path`; False when `path` is in the archive already."""
        if path in self._names:
            return False
        parent = path.rpartition("/")[0]
        if parent:
            self.directory(parent)
        self._names.add(path)
        return True

    def _entry(
        self,
        path: str,
        mode: int,
        content: bytes = b"",
        device: tuple[int, int] = (0, 0),
        owner: tuple[int, int] = (0, 0),
    ) -> None:
        self._inode += 1
        name = path.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        # ino, mode, uid, gid, nlink, mtime, filesize, dev (2), rdev (2), namesize, check
        fields = (self._inode, mode, *owner, links, 0, len(content), 0, 0, *device, len(name), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        self._out.write(header + name + b"\0" * (-(len(header) + len(name)) % 4))
        self._out.write(content + b"\0" * (-len(content) % 4))
