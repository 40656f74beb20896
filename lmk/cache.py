# SPDX-License-Identifier: Apache-2.0
"""The cache directory: what was downloaded, built or booted, and how two processes share it.

Entries are content-addressed: a directory is named by a key over every input,
is filled beside its final place and renamed into it, and never changes after
that. So an entry that exists is complete, and a changed input is another entry.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lmk.errors import UsageError

__all__ = ["cache_root", "content_key", "lock", "publish", "remove_tree"]


def cache_root() -> Path:
    """The cache directory: ``$LMK_CACHE``, else ``$XDG_CACHE_HOME/lmk``, else ``~/.cache/lmk``.

    :raises lmk.errors.UsageError: it cannot be created or written.
    """
    chosen = os.environ.get("LMK_CACHE")
    if chosen:
        root = Path(chosen)
    else:
        # The base directory specification says to ignore a relative XDG_CACHE_HOME.
        base = os.environ.get("XDG_CACHE_HOME", "")
        root = (Path(base) if base.startswith("/") else Path.home() / ".cache") / "lmk"
    root = root.expanduser().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot create the cache directory {root}: {error.strerror}; set LMK_CACHE to another"
        ) from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise UsageError(
            f"cannot write to the cache directory {root}; set LMK_CACHE to another one"
        )
    return root


def content_key(*parts: bytes | str | Path, length: int = 32) -> str:
    """A key over `parts`, in hex.

    Bytes and strings count by their content, a path to a file by the file's
    content, a path to a directory by the names, modes and contents below it.
    Parts are framed, so that ``("ab", "c")`` and ``("a", "bc")`` differ.

    :param length: hex digits, 16..64.
    """
    if not 16 <= length <= 64:
        raise ValueError(f"a content key has 16..64 digits, not {length}")
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            _feed_path(digest, part)
        else:
            _feed(digest, part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:length]


def _feed(digest: hashlib._Hash, content: bytes) -> None:
    digest.update(len(content).to_bytes(8, "little"))
    digest.update(content)


def _feed_path(digest: hashlib._Hash, path: Path) -> None:
    if path.is_dir():
        for entry in sorted(path.rglob("*")):
            if entry.is_symlink():
                _feed(digest, f"{entry.relative_to(path)} -> {entry.readlink()}".encode())
            elif entry.is_file():
                mode = entry.stat().st_mode & 0o777
                _feed(digest, f"{entry.relative_to(path)} {mode:o}".encode())
                _feed(digest, entry.read_bytes())
    else:
        _feed(digest, path.read_bytes())


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` (made if missing) between processes and threads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Whoever held it before may have removed the file: then this lock is on nothing.
            if _is_same_file(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def publish(key_dir: Path, fill: Callable[[Path], None]) -> Path:
    """Make the entry `key_dir` unless it is there, and return it.

    :param key_dir: the final directory, named by a :func:`content_key`.
    :param fill: called with an empty directory on the same file system. What
        it leaves there becomes the entry; if it raises, nothing is left.

    Two processes that want one entry build it once: the second waits.
    """
    if key_dir.is_dir():
        return key_dir
    key_dir.parent.mkdir(parents=True, exist_ok=True)
    with lock(key_dir.parent / f".{key_dir.name}.lock"):
        if key_dir.is_dir():
            return key_dir
        # The lock is ours, so what lies here was left by a process that was killed.
        for left in key_dir.parent.glob(f".{key_dir.name}.partial-*"):
            remove_tree(left)
        partial = Path(tempfile.mkdtemp(prefix=f".{key_dir.name}.partial-", dir=key_dir.parent))
        try:
            partial.chmod(0o755)
            fill(partial)
            partial.rename(key_dir)
        except BaseException:
            remove_tree(partial)
            raise
        finally:
            (key_dir.parent / f".{key_dir.name}.lock").unlink(missing_ok=True)
    return key_dir


def remove_tree(path: Path) -> None:
    """Remove a directory tree, read-only directories included (packages have some)."""
    for directory, _names, _files in os.walk(path):
        Path(directory).chmod(0o755)
    shutil.rmtree(path)
