# SPDX-License-Identifier: Apache-2.0
"""From C sources to one bundle file: handlers, agent, loader and workload programs.

::

    bundle = lmk.build.build(["x86_64"])
    bundle.build_id("x86_64")
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lmk import progress
from lmk.build.bundle import Bundle, BundleFile, pack
from lmk.build.compiler import Job, require_compilers
from lmk.build.programs import BpfProgram
from lmk.build.recipe import ABIS, ASSISTED, HANDLERS, PROGRAMS, Abi
from lmk.build.sources import source_root
from lmk.cache import cache_root, content_key, publish
from lmk.errors import UsageError

__all__ = [
    "BpfProgram",
    "Bundle",
    "BundleFile",
    "build",
    "cached",
    "open_bundle",
    "toolkit_version",
]

_BUNDLE = "lmk.bundle"


def build(abis: Sequence[str] = ("x86_64", "aarch64"), *, output: Path | None = None) -> Bundle:
    """Compile what changed and pack a bundle for `abis` (uname's names).

    :param output: also write it there; without, it stays in the cache.
    :raises lmk.errors.UsageError: a compiler is missing (with the command that
        installs it), an unknown ABI, or no sources.
    :raises lmk.errors.LmkError: the compiler refused; its output is in ``detail``.
    """
    wanted = _known(abis)
    require_compilers(wanted)
    handlers, programs = _jobs(wanted)
    release = toolkit_version()

    def fill(directory: Path) -> None:
        with progress.steps("Building " + ", ".join(abi.name for abi in wanted)) as task:
            made = {job.recipe.output: job.run(task) for job in handlers}
            contents: dict[str, dict[str, bytes]] = {abi.name: {} for abi in wanted}
            for job in programs:
                if job.abi is not None:
                    contents[job.abi.name][job.recipe.output] = job.run(task)
        (directory / _BUNDLE).write_bytes(pack(made, contents, release))

    path = publish(_place(handlers, programs), fill) / _BUNDLE
    if output is not None:
        _copy(path, output)
        path = output
    return Bundle(path)


def cached(abi: str) -> Bundle | None:
    """What :func:`build` would return for `abi` without compiling anything, or None."""
    try:
        path = _place(*_jobs(_known([abi]))) / _BUNDLE
    except UsageError:
        return None
    return Bundle(path) if path.exists() else None


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle file and check it. Raises like :class:`Bundle`."""
    return Bundle(Path(path))


def toolkit_version() -> str:
    """Version of the installed toolkit."""
    try:
        return version("lmk")
    except PackageNotFoundError:
        return "0"


def _known(abis: Sequence[str]) -> list[Abi]:
    unknown = [abi for abi in abis if abi not in ABIS]
    if unknown or not abis:
        raise UsageError(f"no such ABI: {', '.join(unknown) or 'none'}; one of {', '.join(ABIS)}")
    return [ABIS[name] for name in ABIS if name in abis]


def _jobs(abis: Sequence[Abi]) -> tuple[list[Job], list[Job]]:
    root = source_root()
    programs = [Job(recipe, abi, root) for abi in abis for recipe in PROGRAMS]
    return [Job(recipe, None, root) for recipe in (HANDLERS, ASSISTED)], programs


def _place(handlers: Sequence[Job], programs: Sequence[Job]) -> Path:
    keys = [job.key for job in (*handlers, *programs)]
    key = content_key("bundle 2", toolkit_version(), *keys)
    return cache_root() / "bundles" / key


def _copy(source: Path, output: Path) -> None:
    """Copy so that `output` is never half a bundle."""
    partial = output.with_name(f".{output.name}.partial")
    try:
        shutil.copyfile(source, partial)
        partial.replace(output)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
