# SPDX-License-Identifier: Apache-2.0
"""Puts a workload program on a device, once."""

from __future__ import annotations

import hashlib
import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from lmk import progress
from lmk.build import Bundle
from lmk.build.compiler import Job
from lmk.build.recipe import ABIS, PROGRAMS
from lmk.build.sources import source_root
from lmk.device.interface import CommandResult, Device
from lmk.device.root import Root
from lmk.errors import LmkError, ProtocolError, TransientError, UnsupportedError

__all__ = ["install", "install_content"]

#: Where root's programs go, by preference; no other user can write there.
_ROOT_PLACES = ("/data/lmk", "/run/lmk")
_LOOK = "uname -m; id -u; [ -d /data/local/tmp ] && echo /data/local/tmp || echo /tmp"


def install(
    device: Device, name: str, *, root: Root | None = None, bundle: Bundle | None = None
) -> str:
    """Have the program `name` (``lmk-eater``, ``lmk-population``) on the device; returns its path.

    :param root: install it for root, and for nobody else.
    :param bundle: take it from there; without, it is compiled (or found in the cache).
    :raises lmk.errors.UsageError: no compiler here.
    :raises lmk.errors.UnsupportedError: an ABI that nothing is built for.

    For root (an adbd that runs as root included) it lies in a folder that only root can
    write, and what lies there is checked by its hash: the folder that the push goes through
    is open to the shell user.
    """
    look = _look(device)
    return _install(device, name, _content(look.abi, name, bundle), look, root)


def install_content(device: Device, name: str, content: bytes, *, root: Root | None = None) -> str:
    """As :func:`install`, for a program that is not built here."""
    return _install(device, name, content, _look(device), root)


def _install(device: Device, name: str, content: bytes, look: _Look, root: Root | None) -> str:
    uid, shell_place = look.uid, look.shell_place
    digest = _sha256(content)
    places = (shell_place,) if root is None and uid != 0 else _ROOT_PLACES
    run = device.run if root is None else root.run
    path = ""
    for place in places:
        path = f"{place}/{name}"
        if _remote_sha256(run, path) == digest:
            return path
    passing = f"{shell_place}/.{name}-{secrets.token_hex(8)}"
    with progress.steps(f"Installing {name}") as task:
        task.step(f"push {name}", len(content))
        device.push(content, passing, mode=0o600, progress=lambda done, _total: task.reach(done))
    try:
        for place in places:
            path = f"{place}/{name}"
            made = run(
                f"parent={shlex.quote(place.rpartition('/')[0])}; [ -d $parent ] || exit 1; "
                f"mkdir -p -m 0700 {place} && cp {passing} {path}.new && chmod 0700 {path}.new"
            )
            if made.exit_code == 0:
                break
        else:
            raise LmkError(
                f"{device.serial}: cannot install {name} in {' or '.join(places)}",
                detail=made.error_text,
                serial=device.serial,
            )
    finally:
        device.run(f"rm -f {passing}")
    if _remote_sha256(run, f"{path}.new") != digest:
        raise TransientError(f"{device.serial}: {path} is not what was pushed; try again")
    run(f"mv -f {path}.new {path}")
    return path


@dataclass(frozen=True, slots=True)
class _Look:
    """ABI, uid of the device's shell, and a folder that it can write."""

    abi: str
    uid: int
    shell_place: str


def _look(device: Device) -> _Look:
    said = device.run(_LOOK)
    words = said.text.split()
    if len(words) != 3 or not words[1].isdecimal():
        raise ProtocolError(
            f"{device.serial}: the device's shell gave no answer to `uname -m; id -u`",
            detail=said.text + said.error_text,
            serial=device.serial,
        )
    return _Look(words[0], int(words[1]), words[2])


def _content(abi: str, name: str, bundle: Bundle | None) -> bytes:
    if bundle is not None:
        return bundle.file(abi, name).content
    if abi not in ABIS:
        raise UnsupportedError(f"no programs for ABI {abi!r}; there are: {', '.join(ABIS)}")
    recipe = next(recipe for recipe in PROGRAMS if recipe.output == name)
    job = Job(recipe, ABIS[abi], source_root())
    with progress.steps(f"Preparing {name}") as task:
        return job.run(task)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _remote_sha256(run: Callable[[str], CommandResult], path: str) -> str:
    return run(f"sha256sum {path} 2>/dev/null").text.partition(" ")[0]
