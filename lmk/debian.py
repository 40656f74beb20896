# SPDX-License-Identifier: Apache-2.0
"""Debian packages without root and without installing them.

A private apt (own lists, cache and state under :func:`lmk.cache.cache_root`)
reads the mirror that the machine's own apt uses, for suites and architectures
the machine need not be set up for. apt checks the signature of the index with
the Debian archive keyring and every package against the index; nothing here
turns that off, whatever the machine's configuration says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lmk import progress
from lmk.cache import cache_root, content_key, lock, publish
from lmk.errors import LmkError, TransientError, UsageError

__all__ = ["closure", "fetch", "newest", "sysroot", "unpack"]

#: Suites read together (one index), by the release they belong to. Kernels of
#: trixie-backports are unpacked, not installed, so trixie itself is not needed.
_INDEXES = {
    "bookworm": ("bookworm", "bookworm-backports"),
    "trixie": ("trixie-backports",),
}
_KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
#: Backports change a few times a week; an index is used for this long before apt asks again.
_INDEX_AGE_S = 12 * 3600
_RETRY_S = 600
#: No apt call of ours may hang for ever behind a dead mirror.
_APT_TIMEOUT_S = 1800
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
        output = _apt(["apt-cache", "pkgnames"], _index(suite, arch))
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
            [_program("dpkg-deb", "dpkg"), "--extract", str(deb), str(dest)],
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
        output = _apt(
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
            _index(suite, arch),
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
    index = _index(suite, arch)
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


# -- the private apt ---------------------------------------------------------


def _index(suite: str, arch: str) -> Path:
    """The private apt's directory with a fresh enough index for `suite`."""
    release = next((name for name, suites in _INDEXES.items() if suite in suites), None)
    if release is None:
        known = ", ".join(sorted(suite for suites in _INDEXES.values() for suite in suites))
        raise UsageError(f"no Debian suite {suite!r} here; there are {known}")
    _program("apt-get", "apt")
    directory = cache_root() / "apt" / f"{release}-{arch}"
    with lock(cache_root() / "apt" / f"{release}-{arch}.lock"):
        stamp = directory / "updated"
        if stamp.exists() and 0 <= time.time() - stamp.stat().st_mtime < _INDEX_AGE_S:
            return directory
        _configure(directory, _INDEXES[release], arch)
        _update(directory, release, arch, stamp)
    return directory


def _configure(directory: Path, suites: Sequence[str], arch: str) -> None:
    for part in ("lists/partial", "archives/partial"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    (directory / "status").touch()
    keyring = next((path for path in _KEYRINGS if Path(path).exists()), None)
    if keyring is None:
        raise UsageError(
            "the Debian archive keyring is missing: apt-get install debian-archive-keyring"
        )
    mirror = _mirror()
    (directory / "sources.list").write_text(
        "".join(f"deb [signed-by={keyring}] {mirror} {suite} main\n" for suite in suites)
    )
    (directory / "apt.conf").write_text(_inherited() + _private(directory, arch))


def _mirror() -> str:
    """Address of the archive from which the machine's own apt takes Debian's main component."""
    output = subprocess.run(
        [
            "apt-get",
            "indextargets",
            # Without this only indexes that were downloaded are listed: none on a
            # machine whose lists were cleaned away.
            "--no-release-info",
            "--format",
            "$(CREATED_BY)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)",
        ],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(None),
    ).stdout
    # A release name and nothing after it: security and updates may be archives of their own.
    releases = {"bookworm", "oldstable", "stable", "trixie"}
    for line in output.splitlines():
        fields = line.split("|")
        if len(fields) == 4 and fields[:2] == ["Packages", "main"] and fields[2] in releases:
            return fields[3]
    raise UsageError(
        "this machine's apt has no Debian archive configured: "
        "add a line 'deb MIRROR bookworm main' to /etc/apt/sources.list"
    )


def _inherited() -> str:
    """How the machine reaches its mirror: proxies, certificates, retries; no hooks, no trust."""
    output = subprocess.run(
        ["apt-config", "dump", "--no-empty", "Acquire"],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(None),
    ).stdout
    refused = ("Acquire::IndexTargets", "Acquire::Allow", "Acquire::Languages", "Acquire::Gzip")
    return "".join(
        line + "\n"
        for line in output.splitlines()
        if line.startswith("Acquire::") and not line.startswith(refused)
    )


def _private(directory: Path, arch: str) -> str:
    nothing = directory / "none"
    settings = {
        "Dir::State": directory,
        "Dir::State::lists": directory / "lists",
        "Dir::State::status": directory / "status",
        "Dir::State::extended_states": directory / "extended_states",
        "Dir::Cache": directory,
        "Dir::Cache::archives": directory / "archives",
        "Dir::Log": directory,
        "Dir::Etc::main": nothing,
        "Dir::Etc::parts": nothing,
        "Dir::Etc::sourcelist": directory / "sources.list",
        "Dir::Etc::sourceparts": nothing,
        "Dir::Etc::preferences": nothing,
        "Dir::Etc::preferencesparts": nothing,
        "Dir::Etc::trusted": nothing,
        "Dir::Etc::trustedparts": nothing,
        "APT::Architecture": arch,
        "APT::Architectures::": arch,
        "APT::Install-Recommends": "false",
        # Without root there is no _apt user to drop to, and with root it cannot enter ~.
        "APT::Sandbox::User": "",
        "APT::Get::AllowUnauthenticated": "false",
        "Acquire::AllowInsecureRepositories": "false",
        "Acquire::AllowWeakRepositories": "false",
        "Acquire::AllowDowngradeToInsecureRepositories": "false",
        "Acquire::Languages": "none",
        "Acquire::GzipIndexes": "false",
    }
    return "".join(f'{key} "{value}";\n' for key, value in settings.items())


def _update(directory: Path, release: str, arch: str, stamp: Path) -> None:
    with progress.steps("Debian packages") as task:
        task.step(f"package index {release} {arch}")
        try:
            _apt(["apt-get", "--quiet=2", "--error-on=any", "update"], directory)
        except TransientError:
            if not any((directory / "lists").glob("*_Packages")):
                raise
            # What was signed yesterday is still good enough to boot with, and whoever is
            # offline should not wait for the mirror's time-out with every command.
            task.done("the mirror is away; using the last index")
            asked = time.time() - _INDEX_AGE_S + _RETRY_S
            stamp.touch()
            os.utime(stamp, (asked, asked))
            return
        (directory / "notes.json").unlink(missing_ok=True)
        stamp.touch()


def _download(wanted: Sequence[_Package], suite: str, arch: str) -> list[Path]:
    store = cache_root() / "packages"

    def place(package: _Package) -> Path:
        return store / package.sha256[:16] / package.file

    missing = [package for package in wanted if not place(package).exists()]
    if missing:
        index = _index(suite, arch)
        total = sum(package.size for package in missing)
        store.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".partial-", dir=store) as partial,
            progress.steps("Debian packages") as task,
        ):
            task.step(f"download {_named(missing)}", total)
            with _watched(Path(partial), task):
                exact = [f"{package.name}={package.version}" for package in missing]
                _apt(["apt-get", "--quiet=2", "download", *exact], index, cwd=Path(partial))
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


def _apt(command: Sequence[str], index: Path, *, cwd: Path | None = None) -> str:
    """Run apt under the private configuration and return its output."""
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            env=_environment(index / "apt.conf"),
            timeout=_APT_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"apt did not answer in {_APT_TIMEOUT_S} s") from error
    if done.returncode == 0:
        return done.stdout
    first = next((line for line in done.stderr.splitlines() if line.startswith("E:")), "")
    story = done.stderr + done.stdout
    if "Unable to locate package" in story or "has no installation candidate" in story:
        raise UsageError(f"Debian has no such package: {first[2:].strip()}", detail=story)
    raise TransientError(f"apt cannot get packages: {first[2:].strip() or command}", detail=story)


def _environment(configuration: Path | None) -> dict[str, str]:
    environment = dict(os.environ, LC_ALL="C.UTF-8", DEBIAN_FRONTEND="noninteractive")
    if configuration is not None:
        environment["APT_CONFIG"] = str(configuration)
    return environment


def _program(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UsageError(f"{name} is missing: apt-get install {package}")
    return path


def _named(packages: Sequence[_Package]) -> str:
    """A few words for a list of packages: the largest by name, the others as a count."""
    largest = max(packages, key=lambda package: package.size)
    others = len(packages) - 1
    return largest.name + (f" and {others} more" if others else "")
