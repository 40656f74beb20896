# SPDX-License-Identifier: Apache-2.0
"""Permanent installs on a guest with lmkd: what is packaged is pushed and run as its init would.

The guest has its lmkd only from here on, so no .rc file of ours was read at its boot: the lines of
lmk.rc are run here, and killed as init kills. Boots are in test_package_boot.py.
"""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest
from killing import daemons, kill_9
from take_over_parts import harmless, killers, property_of, until

import lmk
from lmk.build import build
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.facts import gather
from lmk.package import Packaged, init_rc, magisk

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only

_MODULE = "/data/adb/modules/lmk"


@pytest.fixture
def device(lmkd_device: Device) -> Device:
    return lmkd_device


def push(device: Device, root: Root, files: list[Packaged]) -> None:
    for file in files:
        if file.place:
            folder = file.place.rpartition("/")[0]
            assert root.run(f"mkdir -p {folder}").exit_code == 0
            device.push(file.content, file.place, mode=file.mode)


def run_by_init(root: Root, command: str) -> int:
    """In a session of its own; its pid."""
    return int(root.run(f"setsid {command} </dev/null >/dev/null 2>&1 & echo $!").text)


def ended(root: Root, pid: int) -> None:
    until(lambda: root.run(f"[ -d /proc/{pid} ]").exit_code != 0)


def taken_over(root: Root) -> None:
    until(lambda: gather(root).session is not None)
    assert killers(root) == {"lmk"}
    assert property_of(root, "init.svc.lmkd") == "stopped"


@pytest.fixture
def rc(device: Device, root: Root) -> dict[str, str]:
    """The commands of the pushed lmk.rc: of its service, and by trigger."""
    abi = device.run("uname -m").text.strip()
    files = init_rc(build([abi]), abi, harmless(), 16)
    push(device, root, files)
    (text,) = [file.content.decode() for file in files if file.path.endswith("lmk.rc")]
    commands: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        words = line.split()
        if line.startswith("service lmk "):
            commands["service"] = line.removeprefix("service lmk ")
        elif line.startswith("on "):
            section = line.removeprefix("on ")
        elif words[:1] in (["exec_background"], ["mkdir"]):
            commands[section] = line.split(" -- ")[-1].strip()
    return commands


def test_the_service_of_lmk_rc_takes_over_and_gives_back(root: Root, rc: dict[str, str]) -> None:
    pid = run_by_init(root, rc["service"])
    taken_over(root)
    assert root.run(rc["property:persist.lmk.enabled=0"]).exit_code == 0
    ended(root, pid)
    assert killers(root) == {"lmkd"}


def test_sigterm_gives_back(root: Root, rc: dict[str, str]) -> None:
    pid = run_by_init(root, rc["service"])
    taken_over(root)
    root.run(f"kill {pid}")
    ended(root, pid)
    assert killers(root) == {"lmkd"}


def test_what_init_kills_is_given_back_by_the_trigger(root: Root, rc: dict[str, str]) -> None:
    pid = run_by_init(root, rc["service"])
    taken_over(root)
    kill_9(root, pid, *daemons(root))
    assert "lmkd" not in killers(root)
    assert root.run(rc["property:init.svc.lmk=stopped"]).exit_code == 0
    assert killers(root) == {"lmkd"}
    assert not gather(root).pinned


def test_both_daemons_killed_end_the_service_and_lmkd_is_back(
    root: Root, rc: dict[str, str]
) -> None:
    pid = run_by_init(root, rc["service"])
    taken_over(root)
    kill_9(root, *daemons(root))
    ended(root, pid)
    assert killers(root) == {"lmkd"}


def test_a_host_takes_over_and_when_its_lease_ends_the_service_begins_anew(
    device: Device, root: Root, rc: dict[str, str]
) -> None:
    pid = run_by_init(root, rc["service"])
    taken_over(root)
    first = gather(root).session
    assert first is not None
    lease = timedelta(seconds=2)
    session = lmk.attach(device, harmless(), lease=lease, replace_lmkd=True).keep()
    assert session.status().agent_pid == first.agent_pid, "the same agent"
    until(lambda: (now := gather(root).session) is not None and now.agent_pid != first.agent_pid)
    assert killers(root) == {"lmk"}
    assert root.run(f"[ -d /proc/{pid} ]").exit_code == 0
    assert lmk.detach(device), "with no agent in the host's own folder"
    ended(root, pid)


def test_leftovers_lets_a_living_session_alone(
    device: Device, root: Root, rc: dict[str, str]
) -> None:
    with lmk.attach(device, harmless(), lease=None, replace_lmkd=True) as session:
        assert root.run(rc["property:init.svc.lmk=stopped"]).exit_code == 0
        assert session.status().agent_pid
        assert killers(root) == {"lmk"}


def test_the_module_takes_over_and_is_uninstalled(device: Device, root: Root) -> None:
    abi = device.run("uname -m").text.strip()
    push(device, root, magisk(build([abi]), abi, harmless(), 16))
    root.run("setprop sys.boot_completed 0")
    pid = run_by_init(root, f"sh {shlex.quote(_MODULE)}/service.sh")
    assert killers(root) == {"lmkd"}
    root.run("setprop sys.boot_completed 1")
    taken_over(root)
    done = root.run(f"sh {_MODULE}/uninstall.sh", timeout=timedelta(seconds=60))
    assert done.exit_code == 0, done.error_text
    ended(root, pid)
    assert killers(root) == {"lmkd"}
    assert root.run("[ -e /data/lmk ]").exit_code != 0
    # With the next boot Magisk runs it when nothing of ours has run.
    assert root.run(f"sh {_MODULE}/uninstall.sh").exit_code == 0
    root.run(f"rm -rf {_MODULE}")
