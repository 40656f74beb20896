# SPDX-License-Identifier: Apache-2.0
"""Which shared libraries a program needs, read from its ELF headers.

``ldd`` would run the program, which cannot be done for another ABI. The
layout is the System V ABI's (elf.h): program headers, of which PT_DYNAMIC
names the libraries and PT_LOAD maps its addresses to file offsets.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmk.errors import LmkError, ProtocolError

__all__ = ["libraries"]

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29


@dataclass(frozen=True, slots=True)
class _Needs:
    interpreter: str | None
    names: list[str]
    run_path: list[str]


def libraries(program: Path, root: Path, search: Sequence[str]) -> dict[str, Path]:
    """Interpreter and libraries that `program` needs, and those that they need.

    :param root: the unpacked tree that `program` was built for.
    :param search: directories of `root` to look in after each file's own run path.
    :return: path inside the root (absolute, where the loader will look) to the file on the host.
    :raises lmk.errors.LmkError: a library is not in `root`.
    """
    found: dict[str, Path] = {}
    seen: set[str] = set()
    queue = [program]
    while queue:
        file = queue.pop()
        needs = _needs(file)
        if needs.interpreter and needs.interpreter not in found:
            found[needs.interpreter] = _inside(root, needs.interpreter)
        for name in needs.names:
            if name in seen:
                continue
            seen.add(name)
            place = _find(name, [*needs.run_path, *search], root)
            if place is None:
                raise LmkError(f"{file.name} needs {name}, which its packages do not have")
            found[place] = _inside(root, place)
            queue.append(found[place])
    return found


def _find(name: str, directories: Sequence[str], root: Path) -> str | None:
    for directory in directories:
        if (root / directory.lstrip("/") / name).exists():
            return f"{directory}/{name}"
    return None


def _inside(root: Path, path: str) -> Path:
    """The file at `path` of `root`: links are followed inside the root, /lib* may be under usr."""
    for place in (root / path.lstrip("/"), root / "usr" / path.lstrip("/")):
        if place.is_symlink() and str(place.readlink()).startswith("/"):
            return _inside(root, str(place.readlink()))
        if place.exists():
            return place.resolve()
    raise LmkError(f"{path} is missing from the unpacked packages")


def _needs(file: Path) -> _Needs:
    data = file.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ProtocolError(f"{file} is not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", data, 32)
    entry_size, count = struct.unpack_from("<HH", data, 54)
    loads: list[tuple[int, int, int]] = []
    dynamic = b""
    interpreter = None
    for index in range(count):
        kind, _flags, offset, address, _physical, size = struct.unpack_from(
            "<IIQQQQ", data, table + index * entry_size
        )
        if kind == _PT_LOAD:
            loads.append((address, address + size, offset))
        elif kind == _PT_DYNAMIC:
            dynamic = data[offset : offset + size]
        elif kind == _PT_INTERP:
            interpreter = data[offset : offset + size].rstrip(b"\0").decode()
    tags = list(struct.iter_unpack("<QQ", dynamic[: len(dynamic) // 16 * 16]))
    strings = next((value for tag, value in tags if tag == _DT_STRTAB), 0)
    start = next((off + strings - low for low, high, off in loads if low <= strings < high), 0)

    def text(position: int) -> str:
        begin = start + position
        return data[begin : data.index(b"\0", begin)].decode()

    paths = [text(value) for tag, value in tags if tag in (_DT_RPATH, _DT_RUNPATH)]
    return _Needs(
        interpreter,
        [text(value) for tag, value in tags if tag == _DT_NEEDED],
        [part for path in paths for part in path.split(":") if part.startswith("/")],
    )
