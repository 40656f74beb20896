# SPDX-License-Identifier: Apache-2.0
"""What tests build beside the bundle: the programs of ``device/victims``."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from lmk import progress
from lmk.build.compiler import Job
from lmk.build.recipe import ABIS, HANDLERS
from lmk.build.sources import source_root

__all__ = ["traps_object", "victims_program"]


@cache
def victims_program(abi: str) -> bytes:
    """The program of victims/ for `abi`."""
    folder = Path(__file__).parent / "device" / "victims"
    sources = sorted(set(folder.glob("*.c")) - set(folder.glob("*.bpf.c")))
    sources += sorted((source_root() / "bpf" / "assist").glob("*.c"))
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "victims"
        command = [f"{ABIS[abi].triplet}-gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
        command += ["-static", "-pthread", "-include", "linux/types.h"]
        command += [f"-I{source_root() / 'bpf' / 'include'}", f"-I{source_root() / 'bpf'}"]
        command += ["-D_GNU_SOURCE", *map(str, sources)]
        command += ["-o", str(output)]
        subprocess.run(command, check=True, timeout=120)
        return output.read_bytes()


def traps_object() -> bytes:
    """The handlers of the in_kernel path with the program of traps.bpf.c."""
    recipe = replace(
        HANDLERS,
        output="traps.bpf.o",
        sources=("device-tests/device/victims/traps.bpf.c",),
        headers=(*HANDLERS.headers, *HANDLERS.sources),
    )
    with progress.steps("Preparing the traps") as task:
        return Job(recipe, None, source_root()).run(task)
