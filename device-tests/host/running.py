# SPDX-License-Identifier: Apache-2.0
"""Device programs run on this machine: compiled, spoken to by lines and JSON, and ended."""

from __future__ import annotations

import contextlib
import json
import platform
import subprocess
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lmk import progress
from lmk.build.compiler import Job
from lmk.build.recipe import ABIS, PROGRAMS
from lmk.build.sources import source_root

__all__ = ["DEADLINE_S", "Running", "await_gone", "compile_program", "gone", "rss_kb"]

DEADLINE_S = 60.0


def compile_program(name: str, directory: Path) -> Path:
    """The device program `name`, for this machine."""
    recipe = next(recipe for recipe in PROGRAMS if recipe.output == name)
    with progress.steps("test") as task:
        content = Job(recipe, ABIS[platform.machine()], source_root()).run(task)
    path = directory / name
    path.write_bytes(content)
    path.chmod(0o755)
    return path


class Running:
    """A program with pipes to its stdin and stdout; `fds` are inherited under their numbers."""

    def __init__(self, *arguments: str | Path, fds: Collection[int] = ()) -> None:
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=fds,
        )

    def tell(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        heard: dict[str, Any] | None = json.loads(line) if line else None
        return heard

    def until(self, event: str, **fields: Any) -> dict[str, Any]:
        """The next event of that kind; every test has a time limit for when none comes."""
        while (heard := self.hear()) is not None:
            if heard["event"] == event and fields.items() <= heard.items():
                return heard
        raise AssertionError(f"ended without {event}")

    def rest(self) -> list[dict[str, Any]]:
        heard = []
        while (event := self.hear()) is not None:
            heard.append(event)
        return heard

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self.process.kill()
        self.process.wait()


def rss_kb(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("RssAnon:")[1].split()[0])


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def await_gone(pid: int) -> None:
    end = time.monotonic() + DEADLINE_S
    while not gone(pid):
        assert time.monotonic() < end, f"{pid} lives on"
        time.sleep(0.01)
