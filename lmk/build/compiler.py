# SPDX-License-Identifier: Apache-2.0
"""Carry out a recipe: find the compilers, compile in parallel, link, keep the result.

Results are content-addressed by sources, flags, libraries' names and compilers, so
what was built once is found again without a mirror or a compiler run.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lmk import debian
from lmk.build.recipe import ABIS, Abi, Recipe
from lmk.build.sources import read_sources
from lmk.cache import cache_root, content_key, publish
from lmk.errors import LmkError, UsageError
from lmk.progress import Task

__all__ = ["Job", "host_compiler", "require_compilers"]

#: Part of every key: raise it when this module compiles the same recipe differently.
_EDITION = "2"


def require_compilers(abis: Iterable[Abi]) -> None:
    """Check that everything a build of `abis` needs is installed.

    :raises lmk.errors.UsageError: with one apt-get command for all that is missing.
    """
    needed: list[tuple[str, tuple[str, ...]]] = [
        ("clang", ("clang",)),
        ("llvm-strip", ("llvm",)),
    ]
    needed += [(f"{abi.triplet}-gcc", _gcc_packages(abi)) for abi in abis]
    missing = [(name, packages) for name, packages in needed if _which(name) is None]
    if missing:
        packages = " ".join(sorted({package for _, names in missing for package in names}))
        programs = ", ".join(name for name, _ in missing)
        raise UsageError(
            f"{programs} not found: apt-get install {packages} "
            "(or attach with a bundle built elsewhere: --bundle FILE)"
        )


def host_compiler() -> str:
    """The C compiler for programs of this machine.

    :raises lmk.errors.UsageError: there is none.
    """
    for name in ("gcc", "clang", "cc"):
        path = _which(name)
        if path is not None:
            return path
    raise UsageError("no C compiler found: apt-get install gcc libc6-dev")


class Job:
    """One output of a recipe: its inputs as they are now, and the place of the result.

    :param abi: None for the handlers, which serve every ABI.
    :raises lmk.errors.UsageError: the source tree has no such sources.
    """

    def __init__(self, recipe: Recipe, abi: Abi | None, root: Path) -> None:
        self.recipe = recipe
        self.abi = abi
        sources = read_sources(root, recipe.sources, recipe.exclude)
        if not sources:
            raise UsageError(f"no source of {recipe.output} in {root}: {' '.join(recipe.sources)}")
        self._sources = list(sources)
        self._tree = sources | read_sources(root, recipe.headers)
        parts: list[str | bytes] = [_EDITION, repr(recipe)]
        if abi is None:
            parts.append(_version("clang"))
        else:
            parts += [abi.name, _version(f"{abi.triplet}-gcc")]
        for path, content in self._tree.items():
            parts += [path, content]
        #: Over every input: sources, flags, compilers.
        self.key = content_key(*parts)

    def run(self, task: Task) -> bytes:
        """The output's bytes, compiled unless they are in the cache.

        :raises lmk.errors.LmkError: the compiler refused; its output is in ``detail``.
        """

        def fill(directory: Path) -> None:
            whose = f" for {self.abi.name}" if self.abi is not None else ""
            task.step(f"compile {self.recipe.output}{whose}")
            with tempfile.TemporaryDirectory(prefix="lmk-build-") as scratch:
                work = Path(scratch)
                _write(self._tree, work)
                output = directory / self.recipe.output
                if self.abi is None:
                    self._handlers(work, output)
                else:
                    self._program(self.abi, work, output)

        entry = publish(cache_root() / "builds" / self.key, fill)
        return (entry / self.recipe.output).read_bytes()

    def _handlers(self, work: Path, output: Path) -> None:
        search, _libraries, maps = _libraries_of(self.recipe, ABIS["x86_64"])
        flags = [*self.recipe.flags, *_includes(self.recipe), *search, *_uapi()]
        objects = _compile(["clang", *flags], self._sources, work, maps)
        linked = work / self.recipe.output
        if len(objects) == 1:
            shutil.copyfile(work / objects[0], linked)
        else:
            _run(["bpftool", "gen", "object", str(linked), *objects], work, f"link {linked.name}")
        # Line numbers for the verifier are in .BTF.ext; DWARF would only fill the wire.
        _run(["llvm-strip", "--strip-debug", str(linked)], work, f"strip {linked.name}")
        shutil.copyfile(linked, output)

    def _program(self, abi: Abi, work: Path, output: Path) -> None:
        search, libraries, maps = _libraries_of(self.recipe, abi)
        gcc = f"{abi.triplet}-gcc"
        flags = [*self.recipe.flags, *_includes(self.recipe), *search]
        objects = _compile([gcc, *flags], self._sources, work, maps)
        link = [gcc, "-o", str(output), *objects, *libraries, *self.recipe.link]
        _run(link, work, f"link {output.name} for {abi.name}")
        output.chmod(0o755)


# -- inputs --------------------------------------------------------------------------------


def _write(tree: dict[str, bytes], work: Path) -> None:
    for path, content in tree.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(content)


def _libraries_of(recipe: Recipe, abi: Abi) -> tuple[list[str], list[str], list[str]]:
    """Flags that find headers, those that find libraries, and those that hide where they are."""
    search: list[str] = []
    libraries: list[str] = []
    maps: list[str] = []
    for suite, packages in recipe.packages:
        usr = debian.sysroot(list(packages), suite, abi.debian) / "usr"
        search += ["-isystem", str(usr / "include")]
        libraries += [f"-L{usr / 'lib' / abi.triplet}"]
        maps += [f"-ffile-prefix-map={usr}=/usr"]
    return search, libraries, maps


def _uapi() -> list[str]:
    """Where <linux/types.h> finds <asm/types.h>: clang's BPF target has no multiarch path.

    The types are the same on every 64-bit ABI.
    """
    here = f"/usr/include/{platform.machine()}-linux-gnu"
    return ["-idirafter", here, "-idirafter", "/usr/include"]


# -- running -------------------------------------------------------------------------------


def _includes(recipe: Recipe) -> list[str]:
    return [f"-I{directory}" for directory in recipe.include]


def _compile(
    command: Sequence[str], sources: Sequence[str], work: Path, maps: Sequence[str]
) -> list[str]:
    """Compile each of `sources` to an object beside it, as many at once as there are CPUs."""

    def one(source: str) -> str:
        output = f"{source}.o"
        hide = [*maps, f"-ffile-prefix-map={work}=."]
        _run([*command, *hide, "-c", source, "-o", output], work, f"compile {source}")
        return output

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(one, sources))


def _run(command: Sequence[str], work: Path, what: str) -> None:
    program = _which(command[0])
    if program is None:
        raise UsageError(f"{command[0]} not found: apt-get install {command[0]}")
    done = subprocess.run(
        [program, *command[1:]],
        cwd=work,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"},
    )
    if done.returncode != 0:
        output = done.stderr + done.stdout
        line = next(
            (line for line in output.splitlines() if "error:" in line or "undefined" in line), ""
        )
        raise LmkError(f"cannot {what}: {line.strip() or f'exit {done.returncode}'}", detail=output)


def _which(name: str) -> str | None:
    # Debian keeps bpftool where only root's PATH looks.
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _gcc_packages(abi: Abi) -> tuple[str, ...]:
    if platform.machine() == abi.name:
        return ("gcc", "libc6-dev")
    return (f"gcc-{abi.triplet.replace('_', '-')}", f"libc6-dev-{abi.debian}-cross")


@functools.cache
def _version(name: str) -> str:
    """First line that the tool says of itself: another compiler is another result."""
    program = _which(name)
    if program is None:
        return f"{name} none"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]
