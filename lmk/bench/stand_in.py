# SPDX-License-Identifier: Apache-2.0
"""Programs that take the place of a phone's: built from ``device-tests/device/stand_in``."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

from lmk.build.recipe import ABIS
from lmk.build.sources import source_root

__all__ = ["stand_in"]

_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-D_GNU_SOURCE")


@cache
def stand_in(name: str, abi: str) -> bytes:
    """``NAME.c``, a static program of `abi`. Needs a checkout, and its compiler.

    :raises subprocess.CalledProcessError: it does not compile.
    """
    source = source_root() / "device-tests" / "device" / "stand_in" / f"{name}.c"
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / name
        command = [f"{ABIS[abi].triplet}-gcc", *_FLAGS, str(source), "-o", str(output)]
        subprocess.run(command, check=True, timeout=120)
        return output.read_bytes()
