# SPDX-License-Identifier: Apache-2.0
"""Where the C sources are: in a checkout beside the package, or inside the installed wheel.

The wheel carries ``bpf/`` and ``proto/`` as ``lmk/_source`` (pyproject.toml), so an
installed ``lmk`` builds what a checkout builds.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import lmk
from lmk.errors import UsageError

__all__ = ["read_sources", "source_root"]


def source_root() -> Path:
    """The directory that has ``bpf/`` and ``proto/``.

    :raises lmk.errors.UsageError: neither a checkout nor a wheel with sources.
    """
    package = Path(lmk.__file__).resolve().parent
    for candidate in (package / "_source", package.parent):
        if (candidate / "bpf" / "include" / "lmk" / "abi.h").is_file():
            return candidate
    raise UsageError(
        f"no sources beside {package}: install the lmk wheel, work in a checkout, "
        "or give a built bundle with --bundle FILE"
    )


def read_sources(
    root: Path, patterns: Iterable[str], exclude: Iterable[str] = ()
) -> dict[str, bytes]:
    """Content of the files below `root` that match `patterns`, by relative path, in order.

    :param exclude: relative paths to leave out.

    Read once, then hashed and compiled from this copy: an editor that saves in
    between cannot put one content under the key of another.
    """
    found: dict[str, bytes] = {}
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            name = path.relative_to(root).as_posix()
            if path.is_file() and name not in set(exclude):
                found[name] = path.read_bytes()
    return found
