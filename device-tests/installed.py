# SPDX-License-Identifier: Apache-2.0
"""An `lmk` that was installed from the wheel, in an environment with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from lmk.cache import cache_root

ROOT = Path(__file__).resolve().parent.parent
_CONSTRAINT = ("--constraint", str(ROOT / "tools" / "constraints.txt"))


@dataclass(frozen=True)
class Installed:
    """The environment of an installed wheel, with a cache of its own."""

    directory: Path
    cache: Path

    def lmk(self, *arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the installed command, far from the checkout."""
        return subprocess.run(
            [str(self.directory / "bin" / "lmk"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            cwd=self.directory,
            env={**_environment(), "LMK_CACHE": str(self.cache)},
        )


def install_wheel(directory: Path) -> Installed:
    """Build the wheel of the checkout and install it into an empty environment."""
    wheel = _wheel(directory)
    place = directory / "environment"
    venv.create(place, with_pip=True)
    _pip(place / "bin" / "python", "install", *_CONSTRAINT, str(wheel))
    return Installed(place, _cache_without_builds(directory / "cache"))


def install_wheel_at(modules: Path, scratch: Path) -> None:
    """Build the wheel and put it with all that it needs into a folder of modules."""
    _pip(Path(sys.executable), "install", *_CONSTRAINT, "--no-compile", "--target", str(modules),
         str(_wheel(scratch)))  # fmt: skip


def _wheel(directory: Path) -> Path:
    _pip(Path(sys.executable), "wheel", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(directory), str(ROOT))  # fmt: skip
    (wheel,) = directory.glob("lmk-*.whl")
    return wheel


def _pip(python: Path, action: str, *words: str) -> None:
    subprocess.run(
        [str(python), "-m", "pip", action, "--quiet", *words],
        check=True,
        env=_environment(),
        cwd=python.parent,
    )


def _cache_without_builds(cache: Path) -> Path:
    """Downloads, images and guests of the real cache, and nothing that was built before."""
    cache.mkdir()
    for entry in cache_root().iterdir():
        if entry.name not in ("builds", "bundles"):
            (cache / entry.name).symlink_to(entry)
    return cache


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
