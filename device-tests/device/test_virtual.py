# SPDX-License-Identifier: Apache-2.0
"""The virtual device: what a guest has, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lmk import virtual
from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.errors import TransientError, UsageError
from lmk.virtual import BootError, Guest, image
from lmk.virtual.qemu import Qemu

pytestmark = pytest.mark.virtual_only


def instance(name: str) -> str:
    return f"virtual#{name}-{os.getpid()}"


def wait_until(condition: object, deadline_s: float = 60) -> None:
    assert callable(condition)
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "the deadline passed"
        time.sleep(0.1)


@pytest.fixture
def odd_guest() -> Iterator[Guest]:
    """A guest with every option away from its default; its own, since tests end it."""
    guest = virtual.up(
        instance("odd"),
        ram_mb=512,
        cpus=1,
        zram_mb=64,
        adbd_user="shell",
        kernel_arguments=["psi=0", "sysctl.kernel.kptr_restrict=2"],
        detached=False,
    )
    yield guest
    guest.down()


def test_guest_has_what_a_device_has(device: Device, guest: Guest) -> None:
    result = device.run(
        "set -e; cat /proc/pressure/memory; test -r /sys/kernel/btf/vmlinux;"
        "test -d /sys/kernel/tracing/events/oom;"
        "grep -q memory /sys/fs/cgroup/cgroup.subtree_control;"
        "grep -q ' /sys/fs/bpf bpf ' /proc/mounts; test -d /data/local/tmp; test -x /system/bin/sh;"
        "grep -q CONFIG_PSI=y /boot/config-$(uname -r);"
        "test -c /dev/kmsg; ip addr show dev lo | grep -q 127.0.0.1; id -u; hostname; uname -r"
    )
    assert result.exit_code == 0, result.error_text
    *_psi, uid, hostname, release = result.text.split()
    assert uid == "0"
    assert release == guest.kernel
    name = guest.name.partition("#")[0]
    assert hostname.startswith(f"{name.replace(':', '-').replace('.', '-')}-test-")


def test_swap_is_half_of_ram_in_compressed_memory(device: Device) -> None:
    lines = device.read_file("/proc/swaps").decode().splitlines()
    assert len(lines) == 2
    name, _kind, size_kb, *_rest = lines[1].split()
    assert name == "/dev/zram0"
    assert int(size_kb) == 400 * 1024 - 4  # its first page is the header


def test_guest_without_swap_has_none(device_without_swap: Device) -> None:
    assert len(device_without_swap.read_file("/proc/swaps").decode().splitlines()) == 1


def test_properties_are_listed_as_android_lists_them(device: Device, guest: Guest) -> None:
    properties = device.properties()
    assert properties["ro.product.model"] == "lmk virtual device"
    assert properties["ro.boot.serialno"] == guest.name
    assert device.run("getprop ro.product.cpu.abi").text == guest.abi + "\n"


def test_property_set_is_a_property_got(device: Device) -> None:
    value = "a value with  spaces, 100 % $HOME \\ ü"
    quoted = value.replace("\\", "\\\\").replace("$", "\\$")
    assert device.run(f'setprop persist.lmk.test "{quoted}"').exit_code == 0
    assert device.run("getprop persist.lmk.test").text == value + "\n"
    assert device.properties()["persist.lmk.test"] == value


def test_missing_property_reads_as_its_default(device: Device) -> None:
    assert device.run("getprop no.such.property").text == "\n"
    assert device.run("getprop no.such.property 7").text == "7\n"


@pytest.mark.parametrize("name", ["ro.product.model", "../escaped", "a/b", "", ".hidden"])
def test_property_that_cannot_be_set_says_so(device: Device, name: str) -> None:
    result = device.run(f"setprop '{name}' x")
    assert result.exit_code != 0
    assert "Failed to set property" in result.error_text


def test_adbd_comes_back_when_it_dies(device: Device, guest: Guest) -> None:
    before = device.run("pidof adbd").text.strip()
    subprocess.run(  # the answer cannot arrive: what carries it dies
        [
            sys.executable,
            "-c",
            "import sys; from lmk.device.resolve import connect;"
            "connect(sys.argv[1]).run('kill -9 $(pidof adbd)')",
            guest.name,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )

    def is_back() -> bool:
        try:
            with connect(guest.name) as again:
                return again.run("pidof adbd").text.strip() not in ("", before)
        except Exception:  # noqa: BLE001 - any of them means: not yet
            return False

    wait_until(is_back)


def test_orphans_are_reaped_by_init(device: Device) -> None:
    device.run("(sleep 0.1 & exec sleep 0.05) & wait")
    wait_until(
        lambda: (
            "Z"
            not in device.run(
                "for s in /proc/[0-9]*/stat; do"
                " sed 's/.*) \\(.\\).*/\\1/' $s 2>/dev/null; done; true"
            ).text
        )
    )


def test_up_again_is_the_same_guest_at_once(guest: Guest) -> None:
    began = time.monotonic()
    arguments = guest.options.kernel_arguments
    assert virtual.up(guest.name, kernel_arguments=arguments, detached=False) == guest
    assert time.monotonic() - began < 2
    assert virtual.find(guest.name) == guest
    assert guest in virtual.running()


def test_up_again_with_other_options_is_refused(guest: Guest) -> None:
    with pytest.raises(UsageError, match="up with other options"):
        virtual.up(guest.name, ram_mb=1024)


def test_options_reach_the_guest_and_several_run_at_once(odd_guest: Guest, guest: Guest) -> None:
    assert odd_guest.port != guest.port
    with connect(odd_guest.name) as device:
        assert (
            400_000 < int(device.run("awk '/MemTotal/ {print $2}' /proc/meminfo").text) < 512 * 1024
        )
        assert device.run("nproc").text == "1\n"
        assert device.run("awk 'NR == 2 {print $3}' /proc/swaps").text == f"{64 * 1024 - 4}\n"
        assert device.run("id -u; id -G").text == "2000\n2000\n"
        assert device.run("cat /proc/pressure/memory").exit_code != 0
        assert device.run("cat /proc/sys/kernel/kptr_restrict").text == "2\n"
        assert device.run("setprop persist.lmk.test x").exit_code != 0


def test_debian_root_is_beside_the_devices_own_and_sees_the_device() -> None:
    guest = virtual.up(instance("debian"), debian=["python3-minimal"], detached=False)
    try:
        with connect(guest.name) as device:
            said = device.run(
                "echo written >/data/local/tmp/note; debian python3 -c '"
                "import os, sys; print(sys.version_info[:2], os.getuid(), os.uname().release);"
                'print(open("/data/local/tmp/note").read().strip());'
                'print(os.path.exists("/sys/kernel/tracing/events"), os.path.exists("/proc/1"));'
                'print(os.access("/usr", os.W_OK), os.access("/tmp", os.W_OK))\''
            )
            assert said.error_text == ""
            assert said.text.splitlines() == [
                f"(3, 11) 0 {guest.kernel}",
                "written",
                "True True",
                "False True",
            ]
            assert device.run("debian sh-that-is-not-there").exit_code == 127
    finally:
        guest.down()


def test_guest_without_a_debian_root_says_how_to_get_one(device: Device) -> None:
    said = device.run("debian python3")
    assert said.exit_code == 2
    assert "lmk virtual up --debian" in said.error_text


def test_down_leaves_no_process_and_no_file(odd_guest: Guest) -> None:
    odd_guest.down()
    assert not Path(f"/proc/{odd_guest.pid}").exists()
    assert not odd_guest.directory.exists()
    assert virtual.find(odd_guest.name) is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(odd_guest.address, timeout=5)
    odd_guest.down()  # and once more does nothing


def test_qemu_that_died_is_seen_and_its_record_removed(odd_guest: Guest) -> None:
    os.kill(odd_guest.pid, signal.SIGKILL)
    wait_until(lambda: not odd_guest.alive())
    assert virtual.find(odd_guest.name) is None
    assert not odd_guest.directory.exists()


def test_poweroff_in_the_guest_ends_it() -> None:
    guest = virtual.up(instance("off"), ram_mb=512, cpus=1, detached=False)
    try:
        # The link may be gone before the answer is.
        with connect(guest.name) as device, contextlib.suppress(TransientError):
            device.run("poweroff")
        wait_until(lambda: not guest.alive())
    finally:
        guest.down()


def test_kernel_that_panics_fails_up_with_its_console(tmp_path: Path) -> None:
    name = instance("panic")
    with pytest.raises(BootError, match=r"did not come up: .*; its console is in ") as caught:
        virtual.up(name, kernel_arguments=["rdinit=/nothing"])
    assert "Kernel panic" in caught.value.detail
    console = Path(str(caught.value).rpartition(" ")[2])
    assert "Kernel panic" in console.read_text()
    assert virtual.find(name) is None
    virtual.down(name)
    assert not console.parent.exists()


def test_set_up_that_fails_is_named_by_its_step(tmp_path: Path) -> None:
    name = instance("broken")
    try:
        with pytest.raises(BootError, match="guest set-up failed at: swap"):
            virtual.up(name, kernel_arguments=["lmk.zram_mb=9999999999999999"])
    finally:
        virtual.down(name)


SIGNALLED = """
import sys
from lmk import virtual
virtual.up(sys.argv[1], detached=sys.argv[2] == "detached")
print("up", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_qemu_stays_when_a_boot_is_interrupted(number: signal.Signals) -> None:
    name = instance(f"cut-{number}")
    process = subprocess.Popen(
        [sys.executable, "-c", SIGNALLED, name, "detached"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    record = virtual.place(virtual.parse(name)[0]) / "guest.json"
    wait_until(record.exists)
    process.send_signal(number)
    process.wait(timeout=60)
    assert process.stdout is not None
    assert process.stdout.read() == b"", "it was not cut during the boot"
    assert name not in [guest.name for guest in virtual.running()]
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [
        command for command in commands if f"lmk.name=virtual:7.3#cut-{number}".encode() in command
    ]
    virtual.down(name)


def test_guest_that_is_not_detached_ends_with_its_process() -> None:
    name = instance("bound")
    with subprocess.Popen(
        [sys.executable, "-c", SIGNALLED, name, "bound"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        guest = virtual.find(name)
        assert guest is not None
        process.kill()
        process.wait()
    wait_until(lambda: not guest.alive())
    assert virtual.find(name) is None
    assert not guest.directory.exists()


def test_detached_guest_outlives_the_process_that_booted_it() -> None:
    name = instance("detached")
    subprocess.run(
        [sys.executable, "-c", SIGNALLED, name, "detached"],
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=250,
    )
    guest = virtual.find(name)
    assert guest is not None
    try:
        with connect(name) as device:
            assert device.run("echo alive").text == "alive\n"
    finally:
        guest.down()


def test_other_abi_boots_and_its_adbd_works() -> None:
    other = next(name for name in virtual.names() if name.startswith("virtual:7.3-"))
    guest = virtual.up(f"{other}#{os.getpid()}", detached=False)
    try:
        with connect(guest.name) as device:
            assert device.run("uname -r").text == f"{guest.kernel}\n"
            assert device.properties()["ro.product.cpu.abi"] == guest.abi
            assert device.stat("/sys/kernel/btf/vmlinux") is not None
    finally:
        guest.down()


def test_probe_of_an_accelerator_believes_only_a_kernel_that_came_up(tmp_path: Path) -> None:
    kernel = virtual.parse("virtual")[1]
    good = image.build(kernel)
    qemu = Qemu.fetch(kernel.abi)
    assert qemu.boots(good, "tcg", 120)
    (tmp_path / "vmlinuz").write_bytes(good.kernel.read_bytes()[: 1 << 20])
    assert not qemu.boots(replace(good, kernel=tmp_path / "vmlinuz"), "tcg", 3)
