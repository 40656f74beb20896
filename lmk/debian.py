# SPDX-License-Identifier: Apache-2.0
"""Debian packages without root and without installing them.

Asked of :mod:`lmk.private_apt`; what was downloaded and unpacked is kept
under :func:`lmk.cache.cache_root` by its content.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lmk import private_apt, progress
from lmk.cache import cache_root, content_key, lock, publish
from lmk.errors import LmkError, UsageError

__all__ = ["closure", "fetch", "newest", "sysroot", "unpack"]

_URI_LINE = re.compile(
    r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class _Package:
    """One package file as the signed index names it."""

    name: str
    version: str
    file: str
    size: int
    sha256: str


def fetch(packages: Sequence[str], suite: str, arch: str) -> list[Path]:
    """Download the newest version of each of `packages` (not what they depend on).

    :param suite: ``bookworm``, ``bookworm-backports`` or ``trixie-backports``.
    :param arch: Debian's name of the ABI: ``amd64``, ``arm64``.
    :return: one ``.deb`` in the cache for each package, in order.
    :raises lmk.errors.UsageError: no apt, no Debian mirror configured, no such package.
    :raises lmk.errors.TransientError: the mirror could not be reached.
    """
    return _download(_resolve(packages, suite, arch, dependencies=False), suite, arch)


def closure(packages: Sequence[str], suite: str, arch: str) -> list[str]:
    """Names of `packages` and all they depend on (Depends and Pre-Depends), as on an empty system.

    Raises like :func:`fetch`.
    """
    return [package.name for package in _resolve(packages, suite, arch, dependencies=True)]


def newest(pattern: str | re.Pattern[str], suite: str, arch: str) -> str:
    """The package name that matches `pattern` completely and has the highest version in its name.

    Kernel packages carry their version in the name, so "newest" is decided there.
    Raises like :func:`fetch`.
    """
    expression = re.compile(pattern)

    def ask() -> str:
        output = private_apt.run(["apt-cache", "pkgnames"], private_apt.index(suite, arch))
        names = [name for name in output.split() if expression.fullmatch(name)]
        if not names:
            raise UsageError(f"{suite} has no package {expression.pattern} for {arch}")
        return max(names, key=_natural)

    return str(_remembered(f"newest {expression.pattern}", suite, arch, ask))


def unpack(debs: Iterable[Path], dest: Path) -> None:
    """Unpack package files into `dest`, maintainer scripts not run.

    :raises lmk.errors.UsageError: dpkg-deb is missing.
    """
    dest.mkdir(parents=True, exist_ok=True)
    for deb in debs:
        done = subprocess.run(
            [private_apt.program("dpkg-deb", "dpkg"), "--extract", str(deb), str(dest)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LmkError(f"cannot unpack {deb.name}", detail=done.stderr)


def sysroot(packages: Sequence[str], suite: str, arch: str) -> Path:
    """A directory of the cache with exactly `packages` unpacked (see :func:`closure` for more).

    Raises like :func:`fetch`.
    """
    wanted = _resolve(packages, suite, arch, dependencies=False)
    key = content_key("sysroot 1", *(package.sha256 for package in wanted))

    def fill(directory: Path) -> None:
        debs = _download(wanted, suite, arch)
        with progress.steps("Unpacking packages") as task:
            task.step(f"unpack {_named(wanted)}")
            unpack(debs, directory)

    return publish(cache_root() / "sysroots" / key, fill)


# -- resolving ---------------------------------------------------------------


def _resolve(
    packages: Sequence[str], suite: str, arch: str, *, dependencies: bool
) -> list[_Package]:
    """What apt would take for `packages` from `suite`, remembered until the index changes."""
    if not packages:
        return []

    def ask() -> list[dict[str, str | int]]:
        action = ["install", "--no-install-recommends"] if dependencies else ["download"]
        output = private_apt.run(
            [
                "apt-get",
                "--quiet=2",
                "--yes",
                "--print-uris",
                f"--target-release={suite}",
                # `install` would print MD5 for packages whose index has it.
                "--option=Acquire::ForceHash=SHA256",
                *action,
                *packages,
            ],
            private_apt.index(suite, arch),
        )
        found = [_parse_uri(line) for line in output.splitlines() if line.startswith("'")]
        if not dependencies:
            by_name = {package.name: package for package in found}
            found = [by_name[name] for name in packages]
        return [asdict(package) for package in found]

    kind = "closure" if dependencies else "exactly"
    entries = _remembered(f"{kind} {' '.join(packages)}", suite, arch, ask)
    if not isinstance(entries, list):
        raise LmkError(f"the package index cache of {suite} {arch} is damaged: remove it")
    return [_Package(**entry) for entry in entries]


def _parse_uri(line: str) -> _Package:
    match = _URI_LINE.match(line)
    if match is None:
        raise LmkError("apt printed a package line in an unknown form", detail=line)
    name, version, _rest = match["file"].split("_", 2)
    return _Package(
        name, version.replace("%3a", ":"), match["file"], int(match["size"]), match["sha"]
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which 7.3.10 comes after 7.3.9 (as ``sort -V``)."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _remembered(question: str, suite: str, arch: str, ask: Callable[[], object]) -> object:
    """Answer `question` from the notes beside the index, or `ask` and note it.

    apt takes 2 s to read the bookworm index, on every call.
    """
    index = private_apt.index(suite, arch)
    notes = index / "notes.json"
    key = f"{suite}: {question}"
    with lock(index / "notes.lock"):
        known = json.loads(notes.read_text()) if notes.exists() else {}
        if key not in known:
            known[key] = ask()
            partial = notes.with_suffix(".new")
            partial.write_text(json.dumps(known))
            partial.replace(notes)
        answer: object = known[key]
        return answer


# -- downloading -------------------------------------------------------------


def _download(wanted: Sequence[_Package], suite: str, arch: str) -> list[Path]:
    store = cache_root() / "packages"

    def place(package: _Package) -> Path:
        return store / package.sha256[:16] / package.file

    missing = [package for package in wanted if not place(package).exists()]
    if missing:
        index = private_apt.index(suite, arch)
        total = sum(package.size for package in missing)
        store.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".partial-", dir=store) as partial,
            progress.steps("Debian packages") as task,
        ):
            task.step(f"download {_named(missing)}", total)
            with _watched(Path(partial), task):
                exact = [f"{package.name}={package.version}" for package in missing]
                private_apt.run(
                    ["apt-get", "--quiet=2", "download", *exact], index, cwd=Path(partial)
                )
            task.reach(total)
            for package in missing:
                place(package).parent.mkdir(exist_ok=True)
                (Path(partial) / package.file).rename(place(package))
    return [place(package) for package in wanted]


@contextmanager
def _watched(directory: Path, task: progress.Task) -> Iterator[None]:
    """Report the bytes that arrive in `directory` (apt's own progress is in percent only)."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            task.reach(sum(_size(entry) for entry in directory.rglob("*")))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0  # apt renames while we look


def _named(packages: Sequence[_Package]) -> str:
    """A few words for a list of packages: the largest by name, the others as a count."""
    largest = max(packages, key=lambda package: package.size)
    others = len(packages) - 1
    return largest.name + (f" and {others} more" if others else "")
