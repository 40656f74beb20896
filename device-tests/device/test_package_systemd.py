# SPDX-License-Identifier: Apache-2.0
"""The systemd package, installed by its own script on a guest whose pid 1 is Debian's systemd."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from conftest import connected
from killing import daemons, kill_9
from systemd_parts import OOMD, Heard, active, booted_systemd, killers
from take_over_parts import harmless, only, until

import lmk
from lmk.build import build
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.facts import gather
from lmk.package import systemd
from lmk.policy import Policy
from lmk.proto.policy_pb2 import OtherKiller
from lmk.proto.record_pb2 import Lifecycle

pytestmark = pytest.mark.virtual_only

_PREFIX, _STATE, _FROM = "/var/local", "/data/lmk", "/var/package"
_PATIENCE = timedelta(seconds=120)


def _policy() -> Policy:
    policy = harmless()
    policy.other_killer = OtherKiller.OTHER_KILLER_SYSTEMD_OOMD
    return policy


@pytest.fixture(scope="module")
def device_serial(pytestconfig: pytest.Config) -> Iterator[str]:
    kernel = pytestconfig.getoption("--kernel")
    with booted_systemd("package", f"systemd.wants={OOMD}", kernel=kernel) as guest:
        with connected(guest.name) as device:
            root = find_root(device)
            # The guest's root is read-only.
            root.run("mount -t tmpfs -o mode=755 units /etc/systemd/system")
            abi = device.run("uname -m").text.strip()
            root.run(f"mkdir -p {_FROM}/files")
            for file in systemd(build([abi]), abi, _policy(), prefix=_PREFIX, state=_STATE):
                device.push(file.content, f"{_FROM}/{file.path}", mode=file.mode)
        yield guest.name


@pytest.fixture
def installed(root: Root) -> Iterator[None]:
    """By its own script; and afterwards systemd-oomd is the only killer again."""
    until(lambda: killers(root) == {OOMD})
    done = root.run(f"{_FROM}/install.sh", timeout=_PATIENCE)
    assert done.exit_code == 0, done.error_text
    yield
    done = root.run(f"{_PREFIX}/lib/lmk/uninstall.sh", timeout=_PATIENCE)
    assert done.exit_code == 0, done.error_text
    assert killers(root) == {OOMD}
    assert root.run(f"[ -e {_PREFIX}/lib/lmk ]").exit_code != 0
    assert root.run("[ -e /etc/systemd/system/lmk.service ]").exit_code != 0


def main_pid(root: Root) -> int:
    return int(root.run("systemctl show --value -p MainPID lmk.service").text)


def test_the_unit_passes_systemd_itself(root: Root, installed: None) -> None:
    done = root.run("systemd-analyze verify lmk.service", timeout=_PATIENCE)
    assert "lmk.service" not in done.text + done.error_text
    assert root.run("systemctl is-enabled lmk.service").text.strip() == "enabled"


def test_once_it_is_active_the_other_killer_is_stopped(root: Root, installed: None) -> None:
    assert active(root, "lmk.service")
    assert killers(root) == {"lmk"}


def test_a_stop_gives_back_and_a_start_takes_over(root: Root, installed: None) -> None:
    assert root.run("systemctl stop lmk.service", timeout=_PATIENCE).exit_code == 0
    assert killers(root) == {OOMD}
    assert root.run("systemctl is-failed lmk.service").exit_code != 0
    assert root.run("systemctl start lmk.service", timeout=_PATIENCE).exit_code == 0
    assert killers(root) == {"lmk"}


def test_a_service_that_is_killed_comes_back(root: Root, installed: None) -> None:
    before = main_pid(root)
    kill_9(root, before)
    until(lambda: active(root, "lmk.service") and main_pid(root) not in (0, before))
    assert killers(root) == {"lmk"}


def test_agent_and_guardian_killed_have_systemd_begin_anew(root: Root, installed: None) -> None:
    before = main_pid(root)
    kill_9(root, *daemons(root))
    until(lambda: active(root, "lmk.service") and main_pid(root) not in (0, before))
    assert killers(root) == {"lmk"}


def test_a_host_takes_over_and_detach_ends_the_service(
    device: Device, root: Root, installed: None
) -> None:
    before = gather(root).session
    assert before is not None
    session = lmk.attach(device, _policy(), lease=timedelta(minutes=5)).keep()
    assert session.status().agent_pid == before.agent_pid
    assert lmk.detach(device)
    until(lambda: not active(root, "lmk.service"))
    assert root.run("systemctl is-failed lmk.service").exit_code != 0
    assert killers(root) == {OOMD}


@pytest.mark.parametrize("update", ["replaced", "removed"])
def test_an_updated_agent_is_found_by_status_and_detach(
    device: Device, root: Root, installed: None, update: str
) -> None:
    """The one that runs is another file than the one in its place, or than any."""
    program = f"{_PREFIX}/lib/lmk/lmk-agent"
    # Another content in another file, and the same program.
    root.run(f"cp -p {program} {program}.old; (cat {program}; echo) >{program}.new")
    root.run(f"chmod 755 {program}.new")
    root.run(f"mv {program}.new {program}" if update == "replaced" else f"rm {program}")
    first = gather(root).session
    assert first is not None
    # Whoever takes its place writes anew where its program lies.
    kill_9(root, first.agent_pid)
    until(lambda: (now := gather(root).session) is not None and now.agent_pid != first.agent_pid)
    second = gather(root).session
    assert second is not None
    assert second.program == (program if update == "replaced" else f"{program} (deleted)")
    session = lmk.connect_session(device)
    assert session.status().agent_pid == second.agent_pid
    heard = Heard(session)
    try:
        assert lmk.detach(device)
        assert killers(root) == {OOMD}
        only(heard.all(), Lifecycle.DETACHED)
        assert root.run("pidof lmk-agent").text == ""
    finally:
        # Without its program the unit fails at its end, and would be tried again.
        root.run("systemctl stop lmk.service; systemctl reset-failed")
        root.run(f"rm -f {program}.new; mv {program}.old {program}")
