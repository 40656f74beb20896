# SPDX-License-Identifier: Apache-2.0
"""Programs that take the place of a phone's: built from ``device-tests/device/stand_in``."""

from __future__ import annotations

from functools import cache

from lmk import progress
from lmk.build.compiler import Job
from lmk.build.recipe import ABIS, Recipe
from lmk.build.sources import source_root
from lmk.errors import UsageError

__all__ = ["stand_in"]

_PLACE = "device-tests/device/stand_in"
_FLAGS = ("-std=gnu11", "-O2", "-g0", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE")


@cache
def stand_in(name: str, abi: str) -> bytes:
    """``NAME.c``, a static program for `abi`, as uname(2) names it.

    :raises lmk.errors.UsageError: this is no checkout (the wheel has no stand-ins), or there is no
        compiler.
    :raises lmk.errors.LmkError: it does not compile; the compiler's words are in ``detail``.
    """
    root, source = source_root(), f"{_PLACE}/{name}.c"
    if not (root / source).is_file():
        raise UsageError(
            f"the stand-in for {name} is built in a checkout of lmk, and {root} is none: it has no "
            f"{source}"
        )
    recipe = Recipe(
        output=name,
        sources=(source,),
        headers=(),
        include=(),
        flags=_FLAGS,
        link=("-static", "-s", "-Wl,--build-id=none"),
    )
    with progress.steps(f"Preparing the stand-in for {name}") as task:
        return Job(recipe, ABIS[abi], root).run(task)
