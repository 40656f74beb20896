# SPDX-License-Identifier: Apache-2.0
"""A private apt: own lists, cache and state under :func:`lmk.cache.cache_root`.

It reads the mirror that the machine's own apt uses, for suites and architectures
the machine need not be set up for. apt checks the signature of the index with
the Debian archive keyring and every package against the index; nothing here
turns that off, whatever the machine's configuration says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lmk import progress
from lmk.cache import cache_root, lock
from lmk.errors import TransientError, UsageError

__all__ = ["index", "program", "run"]

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


def index(suite: str, arch: str) -> Path:
    """The private apt's directory with a fresh enough index for `suite`.

    :raises lmk.errors.UsageError: no apt, no Debian mirror configured, no such suite.
    :raises lmk.errors.TransientError: the mirror could not be reached and no index is left.
    """
    release = next((name for name, suites in _INDEXES.items() if suite in suites), None)
    if release is None:
        known = ", ".join(sorted(suite for suites in _INDEXES.values() for suite in suites))
        raise UsageError(f"no Debian suite {suite!r} here; there are {known}")
    program("apt-get", "apt")
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
            run(["apt-get", "--quiet=2", "--error-on=any", "update"], directory)
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


def run(command: Sequence[str], directory: Path, *, cwd: Path | None = None) -> str:
    """Run apt under the private configuration in `directory` and return its output.

    :raises lmk.errors.UsageError: no such package.
    :raises lmk.errors.TransientError: the mirror could not be reached.
    """
    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            env=_environment(directory / "apt.conf"),
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


def program(name: str, package: str) -> str:
    """Path of the Debian tool `name`.

    :raises lmk.errors.UsageError: it is not there; says which package has it.
    """
    path = shutil.which(name)
    if path is None:
        raise UsageError(f"{name} is missing: apt-get install {package}")
    return path
