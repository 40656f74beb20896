# SPDX-License-Identifier: Apache-2.0
"""Serial `local`: `lmk` installed from its wheel on a board with Debian's Python, and used there.

What the board has is what docs/embedded.md asks for: Python, the wheel with what it needs, and a
bundle, since nothing is compiled there. Nothing but the board's own console goes by adb.
"""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import connected
from installed import install_wheel_at
from systemd_parts import OOMD, booted_systemd, killers, unit
from take_over_parts import until

import lmk
from lmk import virtual
from lmk.build import build
from lmk.device.interface import CommandResult, Device
from lmk.device.root import Root

pytestmark = [pytest.mark.virtual_only, pytest.mark.timeout(900)]

#: Where Debian's Python looks for what does not come from Debian.
_MODULES = "usr/local/lib/python3.11/dist-packages"
_BUNDLE = "/usr/local/share/lmk.bundle"
_COMMAND = "usr/local/bin/lmk"
_CONSOLE = (
    "export PATH=/usr/local/bin:/usr/sbin:/usr/bin PYTHONPYCACHEPREFIX=/run/python HOME=/run;"
)
#: Of busybox, which drops the groups too.
_AS_SHELL = "start-stop-daemon -S -c shell:shell -x /usr/local/bin/lmk --"
#: An emulated device, and Python.
_PATIENCE = timedelta(seconds=300)


@dataclass(frozen=True)
class Board:
    """A console on it, as root or as somebody else."""

    device: Device
    command: str = "lmk"

    def run(self, *words: str) -> CommandResult:
        """The board's own `lmk`, for itself."""
        return self.device.run(f"{_CONSOLE} {self.command} {shlex.join(words)}", timeout=_PATIENCE)

    def lmk(self, *words: str) -> str:
        """It succeeds; what it printed."""
        done = self.run(*words)
        assert done.exit_code == 0, done.error_text
        return done.text

    def refused(self, *words: str) -> str:
        """It is wrong use; the last line that it said."""
        done = self.run(*words)
        assert done.exit_code == 2, done.error_text
        assert "Traceback" not in done.error_text
        return done.error_text.strip().splitlines()[-1]


class Stream:
    """The board's `lmk stream` of all there is and comes, which ends with the session."""

    def __init__(self, root: Root) -> None:
        self._root = root
        command = f"{_CONSOLE} lmk stream -s local --from start --format jsonl"
        root.run(
            "rm -f /run/stream.*; setsid sh -c "
            + shlex.quote(
                f"{command} >/run/stream.said 2>/run/stream.err; echo $? >/run/stream.code"
            )
            + " </dev/null >/dev/null 2>&1 &"
        )

    def to_its_end(self) -> list[dict[str, Any]]:
        code = until(lambda: self._root.run("cat /run/stream.code").text.strip())
        assert code == "0", self._root.run("cat /run/stream.err").text
        return [
            json.loads(line) for line in self._root.run("cat /run/stream.said").text.splitlines()
        ]


def _system(folder: Path, scratch: Path, abi: str) -> Path:
    install_wheel_at(folder / _MODULES, scratch)
    command = folder / _COMMAND
    command.parent.mkdir(parents=True)
    command.write_text("#!/usr/bin/python3\nfrom lmk.cli import main\nmain()\n")
    command.chmod(0o755)
    bundle = folder / _BUNDLE.lstrip("/")
    bundle.parent.mkdir(parents=True)
    bundle.write_bytes(build([abi]).path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def device_serial(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    kernel = pytestconfig.getoption("--kernel")
    abi = virtual.parse(f"virtual:{kernel}" if kernel else "virtual")[1].abi.machine
    if abi != platform.machine():
        pytest.skip("what pip installs here is for another ABI than the board's")
    system = _system(tmp_path_factory.mktemp("board"), tmp_path_factory.mktemp("wheel"), abi)
    with booted_systemd(
        "local",
        f"systemd.wants={OOMD}",
        kernel=kernel,
        packages=("python3",),
        system=[system],
    ) as guest:
        with connected(guest.name) as device:
            # For whoever runs it there: the system is read-only, and so knows no compiled modules.
            assert device.run("mkdir -m 1777 /run/python").exit_code == 0
        yield guest.name


@pytest.fixture
def board(device: Device, root: Root) -> Iterator[Board]:
    """With systemd-oomd its only killer, before the test and after it."""
    until(lambda: killers(root) == {OOMD})
    try:
        yield Board(device)
        assert killers(root) == {OOMD}
    finally:
        lmk.detach(device)


@pytest.fixture
def policy(board: Board, root: Root) -> str:
    """A policy of its own, made as docs/embedded.md says: a leak goes first."""
    place = "/run/board.textpb"
    rule = 'rules { unit: "leak-*.service" weight_pct: 300 }\n'
    text = board.lmk("policy", "show", "linux") + rule
    root.run(f"cat >{place}", stdin=text.encode())
    board.lmk("policy", "check", place)
    return place


def test_a_board_attaches_itself_kills_and_is_given_back(
    board: Board, root: Root, policy: str
) -> None:
    doctor = json.loads(board.lmk("doctor", "-s", "local", "--bundle", _BUNDLE, "--json"))
    assert (doctor["transport"], doctor["root"]) == ("local", "this process")
    board.lmk("attach", "-s", "local", "--policy", policy, "--lease", "10m", "--bundle", _BUNDLE)
    assert killers(root) == {"lmk"}
    status = json.loads(board.lmk("status", "-s", "local", "--json"))
    assert OOMD in status["stopped_units"]
    assert 0 < status["lease_left_ms"] <= 600_000
    stream = Stream(root)
    with unit(root, "leak-1.service", 30) as leak, unit(root, "plain.service", 60) as plain:
        eats = ("--size", "8G", "--rate", "80M/s", "--adj", "900", "--no-floor")
        done = board.run("pressure", "-s", "local", *eats, "--bundle", _BUNDLE)
        assert "killed by the device" in done.error_text
        # Nobody of another adj did.
        assert (
            f"killed process {leak} " in board.run("kill", "-s", "local", "--floor", "0").error_text
        )
        assert root.run(f"kill -0 {plain}").exit_code == 0
    page = board.lmk("status", "-s", "local")
    assert "unit leak-*.service" in page
    assert "local is detached" in board.run("detach", "-s", "local").error_text
    assert killers(root) == {OOMD}
    kills = [record["kill"] for record in stream.to_its_end() if "kill" in record]
    assert [kill["victim"]["oom_score_adj"] for kill in kills] == [900, 0]
    assert (kills[1]["victim"]["pid"], kills[1]["victim"]["rule_match"]) == (
        leak,
        "unit leak-*.service",
    )
    assert "nothing was attached" in board.run("detach", "-s", "local").error_text


@pytest.mark.parametrize("command", ["attach", "status", "detach"])
def test_who_is_not_root_is_told_what_to_do(device: Device, board: Board, command: str) -> None:
    """And nothing has happened."""
    more = ("--bundle", _BUNDLE) if command == "attach" else ()
    said = Board(device, _AS_SHELL).refused(command, "-s", "local", *more)
    assert said == (
        "lmk: error: local: lmk needs root: this runs as uid 2000 and no su works "
        "(run it as root, or allow sudo without a password)"
    )


def test_a_board_without_a_compiler_is_told_of_the_bundle(board: Board, root: Root) -> None:
    said = board.refused("attach", "-s", "local")
    assert "--bundle FILE" in said
    assert root.run("[ -e /sys/fs/bpf/lmk ]").exit_code != 0
