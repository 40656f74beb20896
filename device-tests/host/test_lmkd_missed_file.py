# SPDX-License-Identifier: Apache-2.0
"""Kills that nobody heard of, from one session to the next, by way of a file."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest

from lmk.build.compiler import host_compiler
from lmk.build.sources import source_root


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    root = source_root()
    output = tmp_path_factory.mktemp("missed") / "missed.so"
    names = ("lmkd_missed", "lmkd_missed_file", "session_file", "process", "exit_code")
    sources = [root / "bpf/agent" / f"{name}.c" for name in names]
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-D_GNU_SOURCE"]
    flags += ["-Ibpf/include", "-Ibpf", "-Ibpf/agent", "-Ibpf/agent/generated", "-shared", "-fPIC"]
    sources.append(root / "device-tests/lmkd/missed_flat.c")
    command = [host_compiler(), *flags, *map(str, sources), "-o", str(output)]
    subprocess.run(command, check=True, cwd=root, timeout=120)
    return ctypes.CDLL(str(output))


@pytest.fixture
def library(built: ctypes.CDLL) -> ctypes.CDLL:
    built.flat_clear()
    return built


def taken(library: ctypes.CDLL) -> list[tuple[int, bytes | None]]:
    found = []
    name = ctypes.c_char_p()
    while pid := library.flat_take(ctypes.byref(name)):
        found.append((pid, name.value))
    return found


def save(library: ctypes.CDLL, directory: Path) -> Path:
    library.flat_add(71, b"com.example.first")
    library.flat_add(72, b"n" * 127)
    assert library.flat_save(bytes(directory)) == 0
    library.flat_clear()
    return directory / "lmkd-missed"


def test_the_next_session_takes_them_over_once(library: ctypes.CDLL, tmp_path: Path) -> None:
    path = save(library, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    library.flat_load(bytes(tmp_path))
    assert taken(library) == [(71, b"com.example.first"), (72, b"n" * 127)]
    library.flat_clear()
    library.flat_load(bytes(tmp_path))
    assert taken(library) == []


def test_where_there_are_none_there_is_no_file(library: ctypes.CDLL, tmp_path: Path) -> None:
    assert library.flat_save(bytes(tmp_path)) == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["boot", "short", "long", "empty"])
def test_what_is_of_another_boot_or_build_is_not_taken(
    library: ctypes.CDLL, tmp_path: Path, damage: str
) -> None:
    path = save(library, tmp_path)
    whole = path.read_bytes()
    other = b"e" if whole[:1] == b"f" else b"f"
    damaged = {"boot": other + whole[1:], "short": whole[:-1], "long": whole + b"x", "empty": b""}
    path.write_bytes(damaged[damage])
    library.flat_add(9, b"own")
    library.flat_load(bytes(tmp_path))
    assert taken(library) == [(9, b"own")]
    assert not path.exists()
