# SPDX-License-Identifier: Apache-2.0
"""An installed device boots: the files of `lmk package --init-rc` are part of a guest's system.

The guest is built like a phone (``lmk.virtual.phone``): its Android-like init reads lmkd's ``.rc``
file and ours. A reboot is a power cut, the harder way; ``tools/bench take-over --reboots`` has
both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import KERNEL_ARGUMENTS, connected
from take_over_parts import harmless, killers, lmkd_pid, property_of, server, until

import lmk
from lmk import virtual
from lmk.bench.phone import rebooted
from lmk.build import build
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.errors import UsageError
from lmk.facts import gather
from lmk.package import Packaged, init_rc, write
from lmk.proto.record_pb2 import Lifecycle
from lmk.report import Position, SessionOverError
from lmk.virtual import Guest
from lmk.virtual.phone import write_phone
from lmk.virtual.services import LOG

# Several boots each, of an emulated device.
pytestmark = [pytest.mark.virtual_only, pytest.mark.timeout(1800)]

#: Boot, verifier and take-over, of an emulated device on a machine that does much else.
_BOOTED_S = 600.0
_SWITCH = "persist.lmk.enabled"
_ON = {_SWITCH: "1"}
_PATIENCE = timedelta(seconds=120)


def packaged(abi: str) -> list[Packaged]:
    return init_rc(build([abi]), abi, harmless(), 16)


class Phone:
    """A guest with these files in its system, that can be rebooted."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def reboot(self) -> None:
        self.guest = rebooted(self.guest, orderly=False)

    @contextmanager
    def connected(self) -> Iterator[tuple[Device, Root]]:
        with connected(self.guest.name) as device:
            yield device, find_root(device)


@pytest.fixture
def abi(pytestconfig: pytest.Config) -> str:
    kernel = pytestconfig.getoption("--kernel")
    return virtual.parse(f"virtual:{kernel}" if kernel else "virtual")[1].abi.machine


@contextmanager
def booted_phone(
    config: pytest.Config,
    folder: Path,
    files: list[Packaged],
    abi: str,
    properties: dict[str, str],
    *,
    data: Path | None = None,
) -> Iterator[Phone]:
    system = [write_phone(folder / "phone", abi, properties)]
    if files:
        write(folder / "package", files)
        system.append(folder / "package")
    kernel = config.getoption("--kernel")
    phone = Phone(
        virtual.up(
            f"virtual{f':{kernel}' if kernel else ''}#phone-{os.getpid()}",
            kernel_arguments=KERNEL_ARGUMENTS,
            system=system,
            data=data,
            detached=False,
        )
    )
    try:
        yield phone
    finally:
        phone.guest.down()


def is_lmks(root: Root) -> None:
    """The device has one killer, and it is the installed one."""
    until(lambda: killers(root) == {"lmk"}, _BOOTED_S)
    until(lambda: gather(root).session is not None)
    assert property_of(root, "init.svc.lmkd") == "stopped"
    assert property_of(root, "init.svc.lmk") == "running"
    assert server(root) == "lmk-agent"


def is_lmkds(root: Root) -> None:
    until(lambda: killers(root) == {"lmkd"})
    assert property_of(root, "init.svc.lmkd") == "running"
    assert not gather(root).pinned
    assert gather(root).session is None


def log_of(root: Root) -> str:
    return root.run(f"cat {LOG}").text


def test_an_installed_device_has_one_killer_after_each_boot(
    pytestconfig: pytest.Config, tmp_path: Path, abi: str
) -> None:
    with booted_phone(
        pytestconfig, tmp_path, packaged(abi), abi, _ON, data=tmp_path / "data"
    ) as phone:
        with phone.connected() as (device, root):
            is_lmks(root)
            look = "stat -c '%a %u:%g' /system/bin/lmk-agent /system/etc/lmk/policy.pb /data/lmk"
            assert root.run(look).text.split("\n")[:3] == ["755 0:2000", "644 0:0", "700 0:0"]
            assert "lmk.rc" not in log_of(root), "all of our file is understood"
            with lmk.connect_session(device) as session:
                assert session.status().agent_pid
                assert not session.status().HasField("lease_left_ms")
                hello = session.hello
                first = Position(hello.boot_id, hello.run, 1)
                with session.records(first, follow=False) as records:
                    kinds = [r.lifecycle.kind for r in records if r.HasField("lifecycle")]
                assert Lifecycle.SELF_TEST in kinds, "its handlers decide"
                assert Lifecycle.LMKD_REPLACED in kinds
            root.run("sync")
            assert root.run("ls /data/lmk/spool").text.split()
        phone.reboot()
        with phone.connected() as (device, root):
            is_lmks(root)
            with lmk.connect_session(device) as session:
                assert session.hello.boot_id != hello.boot_id
                # What another boot left in /data is removed, and who asks for it is told.
                with (
                    pytest.raises(SessionOverError, match="was rebooted"),
                    session.records(first, follow=False) as records,
                ):
                    list(records)
            root.run("setprop persist.lmk.enabled 0")
            is_lmkds(root)
        phone.reboot()
        with phone.connected() as (device, root):
            is_lmkds(root)
            assert property_of(root, "persist.lmk.enabled") == "0", "it was kept"
            assert property_of(root, "init.svc.lmk") == "", "it was never started"
            root.run("setprop persist.lmk.enabled 1")
            is_lmks(root)


def test_it_ends_as_the_switch_was_set_last(
    pytestconfig: pytest.Config, tmp_path: Path, abi: str
) -> None:
    with (
        booted_phone(pytestconfig, tmp_path, packaged(abi), abi, _ON) as phone,
        phone.connected() as (device, root),
    ):
        is_lmks(root)
        before = property_of(root, "init.svc_debug_pid.lmk")
        # Its end has begun, and a 1 comes before it is over.
        begun = f"until [ $(grep -c exec_ {LOG}) -gt $n ]; do :; done"
        root.run(f"n=$(grep -c exec_ {LOG}); setprop {_SWITCH} 0; {begun}; setprop {_SWITCH} 1")
        until(lambda: property_of(root, "init.svc_debug_pid.lmk") not in ("", before))
        is_lmks(root)
        # Just when it is over.
        over = "until [ $(getprop init.svc.lmk) = stopped ]; do :; done"
        root.run(f"setprop {_SWITCH} 0; {over}; setprop {_SWITCH} 1", timeout=_PATIENCE)
        is_lmks(root)
        # By somebody else, it stays ended.
        assert lmk.detach(device)
        until(lambda: "exec_" in log_of(root).rpartition(" end lmk ")[2])
        is_lmkds(root)
        assert property_of(root, "init.svc.lmk") == "stopped"


def test_a_session_leaves_nothing_in_force_over_a_reboot(
    pytestconfig: pytest.Config, tmp_path: Path, abi: str
) -> None:
    """With --persist, in lmkd's place, and what it wrote down kept in /data."""
    with booted_phone(pytestconfig, tmp_path, [], abi, {}, data=tmp_path / "data") as phone:
        with phone.connected() as (device, root):
            is_lmkds(root)
            lmk.attach(device, harmless(), lease=None, replace_lmkd=True, prockill_bytes=16).keep()
            assert killers(root) == {"lmk"}
            root.run("sync")
        phone.reboot()
        with phone.connected() as (device, root):
            assert root.run("ls /data/lmk/session /data/lmk/lmkd-stopped").exit_code == 0
            until(lambda: killers(root) == {"lmkd"}, _BOOTED_S)
            assert not gather(root).pinned
            with pytest.raises(UsageError, match="attach"):
                lmk.connect_session(device)
            with lmk.attach(
                device, harmless(), lease=None, replace_lmkd=True, prockill_bytes=16
            ) as session:
                assert session.hello.run == 1
                assert killers(root) == {"lmk"}
            is_lmkds(root)


@pytest.mark.parametrize("broken", [("lmk-agent",), ("lmk.bpf.o", "assisted.bpf.o")])
def test_with_a_broken_file_lmkd_goes_on(
    broken: tuple[str, ...], pytestconfig: pytest.Config, tmp_path: Path, abi: str
) -> None:
    files = [
        replace(file, content=b"\x7fELF" + bytes(64))
        if file.path.rpartition("/")[2] in broken
        else file
        for file in packaged(abi)
    ]
    with (
        booted_phone(pytestconfig, tmp_path, files, abi, _ON) as phone,
        phone.connected() as (_device, root),
    ):
        until(lambda: property_of(root, "init.svc.lmk") == "stopped", _BOOTED_S)
        # The trigger of lmk.rc, after its end.
        until(lambda: "exec_background /system/bin/lmk-agent" in log_of(root))
        is_lmkds(root)
        assert property_of(root, "lmk.test.restarts.lmkd") in ("", "0")
        starts = [line for line in log_of(root).splitlines() if " start lmkd" in line]
        assert len(starts) == 1, "it was never stopped"


def test_what_the_init_does_not_understand_is_said_and_left_out(
    pytestconfig: pytest.Config, tmp_path: Path, abi: str
) -> None:
    rc = b"""\
import /vendor/etc/init/x.rc
service twice /system/bin/sh -c "exec sleep 1000"
    user nobody
    ioprio rt 4
    disabled
    oneshot
service twice /system/bin/sh
on boot && property:test.no=1
    setprop test.seen wrong
on post-fs-data
    mkdir /data/made 0750 system shell encryption=None
    wipe /data
    setprop test.seen \\
        "two  words"
on property:test.a=1 && property:test.b=*
    setprop test.both ${test.b}
    setprop test.both yes # and a comment
on property:test.start=1
    start twice
"""
    files = [Packaged("system/etc/init/odd.rc", rc)]
    with (
        booted_phone(pytestconfig, tmp_path, files, abi, {"test.b": "2"}) as phone,
        phone.connected() as (_device, root),
    ):
        log = log_of(root)
        for line, word in (
            (1, "import"),
            (4, "ioprio"),
            (7, "service twice"),
            (12, "wipe"),
            (16, "setprop"),
        ):
            (said,) = [said for said in log.splitlines() if f"odd.rc:{line}:" in said]
            assert word in said
        assert property_of(root, "test.seen") == "two  words"
        assert root.run("stat -c '%a %u:%g' /data/made").text.strip() == "750 1000:2000"
        assert property_of(root, "sys.boot_completed") == "1"
        root.run("setprop test.a 0; setprop test.a 1")
        until(lambda: property_of(root, "test.both") == "yes")
        root.run("setprop test.start 1")
        until(lambda: property_of(root, "init.svc.twice") == "running")
        pid = property_of(root, "init.svc_debug_pid.twice")
        assert root.run(f"stat -c %u /proc/{pid}").text.strip() == "9999"
        root.run(f"kill -9 {pid}")
        until(lambda: property_of(root, "init.svc.twice") == "stopped")
        assert property_of(root, "lmk.test.restarts.twice") == "", "it was not critical"
        before = lmkd_pid(root)
        root.run(f"kill -9 {before}")
        until(lambda: lmkd_pid(root) not in (0, before))
        assert property_of(root, "lmk.test.restarts.lmkd") == "1"
