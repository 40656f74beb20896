# SPDX-License-Identifier: Apache-2.0
"""A Debian root file system as a disk for a guest: packages unpacked, no root needed.

It is what a board with a distribution has and Android has not: Python, BCC, any tool that Debian
packages. The guest mounts it read-only at ``/debian``, with its own /proc, /sys, /dev, /run, /tmp
and /data inside, so that ``chroot /debian COMMAND`` sees the running device.

Maintainer scripts are not run: what only they set up (users, alternatives) is not there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from lmk import debian, progress
from lmk.cache import cache_root, content_key, publish, remove_tree
from lmk.virtual import ext4
from lmk.virtual.kernels import Abi

__all__ = ["SUITE", "build", "image"]

SUITE = "bookworm"
#: Raise when what :func:`_lay_out` or :func:`_write` does changes.
_LAYOUT = "debian root 1"
#: Places where the guest mounts its own.
_PLACES = ("proc", "sys", "dev", "run", "tmp", "data")
#: Nobody reads them in a guest, and they are a sixth of the size.
_LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")
_BLOCK = 4096
#: For inodes, directories and the file system's own tables.
_ROOM_PCT, _ROOM_KB = 8, 16 * 1024


def build(packages: Sequence[str], abi: Abi) -> Path:
    """The image of a root with `packages` and all they depend on; from the cache when it is there.

    Raises like :func:`lmk.debian.fetch`.
    """
    return image(debian.fetch(debian.closure(packages, SUITE, abi.debian), SUITE, abi.debian))


def image(
    debs: Sequence[Path],
    layout: Sequence[str | bytes] = (),
    finish: Callable[[Path], None] | None = None,
) -> Path:
    """The image of a root with just `debs`; from the cache when it is there.

    :param finish: makes what else is to be in the unpacked tree.
    :param layout: what `finish` does, so that another one is another image.
    """
    # A package file lies in a folder that is named by its content.
    key = content_key(_LAYOUT, *sorted(f"{deb.parent.name}/{deb.name}" for deb in debs), *layout)

    def fill(directory: Path) -> None:
        with (
            progress.steps("Debian root") as task,
            tempfile.TemporaryDirectory(prefix=".root-", dir=directory.parent) as scratch,
        ):
            tree = Path(scratch) / "root"
            try:
                task.step(f"unpack {len(debs)} packages")
                _lay_out(debs, tree)
                if finish is not None:
                    finish(tree)
                task.step("write the disk")
                _write(tree, directory / "root.ext4")
                task.done(f"{(directory / 'root.ext4').stat().st_blocks * 512 / 1e6:.0f} MB")
            finally:
                # Packages have directories that only root could empty as they are.
                remove_tree(tree)

    return publish(cache_root() / "images" / key, fill) / "root.ext4"


def _lay_out(debs: Sequence[Path], tree: Path) -> None:
    debian.unpack(debs, tree)
    for place in _LEFT_OUT:
        if (tree / place).is_dir():
            remove_tree(tree / place)
    for place in _PLACES:
        (tree / place).mkdir(exist_ok=True)


def _write(tree: Path, image: Path) -> None:
    kb = sum(
        -(-path.lstat().st_size // _BLOCK) * (_BLOCK // 1024)
        for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    ext4.write(
        image,
        kb + kb * _ROOM_PCT // 100 + _ROOM_KB,
        # Never written to: no journal, nothing kept for root.
        *("-b", str(_BLOCK), "-L", "debian", "-O", "^has_journal", "-m", "0", "-d", str(tree)),
    )
