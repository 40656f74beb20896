# SPDX-License-Identifier: Apache-2.0
"""A board that boots with `lmk package --systemd` in its image: one killer after every boot."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import connected
from systemd_parts import OOMD, active, killers
from take_over_parts import harmless, until

import lmk
from lmk import virtual
from lmk.bench.phone import rebooted
from lmk.build import build
from lmk.device.root import find_root
from lmk.package import systemd, write
from lmk.proto.policy_pb2 import OtherKiller
from lmk.virtual import Guest

# Several boots each, of an emulated device.
pytestmark = [pytest.mark.virtual_only, pytest.mark.timeout(1800)]

_STATE = "/data/lmk"
#: Boot, verifier and take-over, of an emulated device on a machine that does much else.
_BOOTED_S = 600.0
_KILLERS = {
    OOMD: OtherKiller.OTHER_KILLER_SYSTEMD_OOMD,
    "earlyoom.service": OtherKiller.OTHER_KILLER_EARLYOOM,
}


def image(folder: Path, abi: str, other: str) -> Path:
    """The root that `DESTDIR=ROOT install.sh` fills."""
    policy = harmless()
    policy.other_killer = _KILLERS[other]
    write(folder / "package", systemd(build([abi]), abi, policy, state=_STATE))
    root = folder / "root"
    subprocess.run(
        [str(folder / "package/install.sh")],
        env={"PATH": "/usr/bin:/bin", "DESTDIR": str(root)},
        check=True,
    )
    return root


@contextmanager
def booted_board(config: pytest.Config, system: Path, other: str) -> Iterator[Guest]:
    """What it is at the end of the block is ended, also when it was rebooted."""
    kernel = config.getoption("--kernel")
    name = f"virtual{f':{kernel}' if kernel else ''}#board-{os.getpid()}"
    try:
        yield virtual.up(
            name,
            # No maintainer script has enabled it; what install.sh enabled is multi-user's.
            kernel_arguments=(f"systemd.wants={other}", "systemd.wants=multi-user.target"),
            debian=("systemd-oomd", "earlyoom"),
            init="systemd",
            system=[system],
            detached=False,
        )
    finally:
        virtual.down(name)


@pytest.fixture
def abi(pytestconfig: pytest.Config) -> str:
    kernel = pytestconfig.getoption("--kernel")
    return virtual.parse(f"virtual:{kernel}" if kernel else "virtual")[1].abi.machine


def is_lmks(guest: Guest) -> None:
    with connected(guest.name) as device:
        root = find_root(device)
        until(lambda: active(root, "lmk.service"), _BOOTED_S)
        assert killers(root) == {"lmk"}
        with lmk.connect_session(device) as session:
            assert session.status().agent_pid
            assert session.hello.run == 1, "nothing of an earlier boot"


@pytest.mark.parametrize("other", [OOMD, "earlyoom.service"])
def test_an_installed_board_has_one_killer_after_each_boot(
    other: str, pytestconfig: pytest.Config, tmp_path: Path, abi: str
) -> None:
    with booted_board(pytestconfig, image(tmp_path, abi, other), other) as guest:
        is_lmks(guest)
        guest = rebooted(guest, orderly=other == OOMD)
        is_lmks(guest)


def test_with_a_broken_agent_the_other_killer_goes_on(
    pytestconfig: pytest.Config, tmp_path: Path, abi: str
) -> None:
    system = image(tmp_path, abi, OOMD)
    (system / "usr/local/lib/lmk/lmk-agent").write_bytes(b"\x7fELF" + bytes(64))
    with (
        booted_board(pytestconfig, system, OOMD) as guest,
        connected(guest.name) as device,
    ):
        root = find_root(device)
        until(lambda: root.run("systemctl is-failed lmk.service").exit_code == 0, _BOOTED_S)
        assert killers(root) == {OOMD}
