# SPDX-License-Identifier: Apache-2.0
"""Names, options, records and the boot of guests, with a stand-in for QEMU."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lmk import virtual
from lmk.cli import cli
from lmk.errors import LmkError, UsageError
from lmk.virtual import BootError, Guest, Options, boot, guest, kernels
from lmk.virtual.guest import process_start
from lmk.virtual.image import Image
from lmk.virtual.qemu import Qemu, boot_id

#: Answers on the port like an adbd: "CNXN" or "AUTH" after the packet came in.
ANSWER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    link, _ = listener.accept()
    link.recv(31)
    link.sendall(sys.argv[2].encode() + bytes(20))
"""
PORT_TAKEN = (
    """
import pathlib, sys
if not (tries := pathlib.Path(sys.argv[3])).exists():
    tries.touch()
    sys.exit("qemu: Could not set up host forwarding rule 'tcp:127.0.0.1:1-:5555'")
"""
    + ANSWER
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LMK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


Stand = Callable[..., None]


@pytest.fixture
def qemu_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stand:
    """Puts a Python program in QEMU's place; nothing is downloaded."""
    image = Image("7.3.0-test", tmp_path / "kernel", tmp_path / "initramfs")
    monkeypatch.setattr("lmk.virtual.image.build", lambda _kernel: image)
    monkeypatch.setattr(Qemu, "fetch", staticmethod(lambda abi: Qemu(tmp_path, abi)))
    monkeypatch.setattr(Qemu, "accelerator", lambda *_arguments: "tcg")
    monkeypatch.setattr(Qemu, "environment", property(lambda _self: dict(os.environ)))

    def be(program: str, *arguments: str) -> None:
        def command(*_given: object, port: int, console: Path, **_more: object) -> list[str]:
            console.write_text("lmk: setting up\n")
            return [sys.executable, "-c", program, str(port), *arguments]

        monkeypatch.setattr(boot, "command_line", command)

    return be


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def record_of(process: subprocess.Popen[bytes], **changes: Any) -> Guest:
    start_time = process_start(process.pid)
    assert start_time is not None
    fields: dict[str, Any] = {
        "name": "virtual:7.3#x",
        "port": 1,
        "pid": process.pid,
        "start_time": start_time,
        "host_boot": boot_id(),
        "kernel": "7.3.0",
        "abi": "x86_64",
        "accelerator": "tcg",
        "options": Options(),
        "booted": True,
    }
    found = Guest(**(fields | changes))
    found.directory.mkdir(parents=True, exist_ok=True)
    found.record()
    return found


def test_name_is_the_newest_kernel_of_this_machine_unless_it_says_more() -> None:
    other = "arm64" if kernels.host_abi().debian == "amd64" else "amd64"
    own = kernels.host_abi().debian
    assert virtual.parse("virtual")[0] == "virtual:7.3"
    assert virtual.parse(f"virtual:7.3-{own}")[0] == "virtual:7.3"
    assert virtual.parse("virtual#2")[0] == "virtual:7.3#2"
    full_name, kernel = virtual.parse(f"virtual:7.3-{other}#lab-1")
    assert full_name == f"virtual:7.3-{other}#lab-1"
    assert kernel.abi.debian == other
    for name in virtual.names():
        assert virtual.parse(virtual.parse(name)[0]) == virtual.parse(name)


@pytest.mark.parametrize(
    "name",
    ["", "virtually", "virtual:", "virtual:9.9", "virtual:7.3-mips", "virtual#", "virtual#a/b",
     "virtual#../../x", "virtual:7.3 -append x", "emulator-5554"],
)  # fmt: skip
def test_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="virtual"):
        virtual.parse(name)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"ram_mb": 16}, "at least 256 MB"),
        ({"cpus": 0}, r"1\.\.64 CPUs"),
        ({"zram_mb": -1}, "zram can be"),
        ({"adbd_user": "system"}, "root or shell"),
        ({"init": "runit"}, "busybox or systemd"),
        ({"kernel_arguments": ["a b"]}, "not one kernel argument"),
        ({"kernel_arguments": [""]}, "not one kernel argument"),
    ],
)
def test_option_out_of_range_is_refused_before_anything_starts(
    options: dict[str, Any], what: str, cache: Path
) -> None:
    with pytest.raises(UsageError, match=what):
        virtual.up(**options)
    assert not (cache / "guests").exists()


def test_swap_is_half_of_ram_unless_it_is_said() -> None:
    assert Options(ram_mb=600).swap_mb == 300
    assert Options(zram_mb=0).swap_mb == 0


def test_record_is_found_with_everything_that_was_in_it(
    sleeper: subprocess.Popen[bytes],
) -> None:
    options = Options(kernel_arguments=("psi=0",))
    written = record_of(sleeper, options=options)
    assert virtual.running() == [written]
    assert virtual.find("virtual#x") == written
    assert virtual.find("virtual") is None


@pytest.mark.parametrize("changes", [{"start_time": 1}, {"host_boot": "another boot"}])
def test_recycled_pid_is_not_a_guest_and_not_killed(
    sleeper: subprocess.Popen[bytes], changes: dict[str, Any]
) -> None:
    stale = record_of(sleeper, **changes)
    assert virtual.running() == []
    assert not stale.directory.exists()
    stale.down()
    assert sleeper.poll() is None


def test_down_of_an_old_record_leaves_the_new_guest_of_that_name(
    sleeper: subprocess.Popen[bytes],
) -> None:
    current = record_of(sleeper)
    replace(current, start_time=1).down()
    assert virtual.running() == [current]
    assert sleeper.poll() is None


def test_down_ends_what_ignores_a_polite_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "_TERM_S", 0.2)
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(999)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    stubborn = record_of(process)
    stubborn.down()
    assert not stubborn.alive()
    assert not stubborn.directory.exists()
    process.stdout.close()


def test_booting_guest_is_not_offered_and_ended_when_its_owner_died(
    sleeper: subprocess.Popen[bytes],
) -> None:
    mine = (os.getpid(), process_start(os.getpid()) or 0)
    booting = record_of(sleeper, booted=False, owner=mine)
    assert virtual.find(booting.name) is None
    assert sleeper.poll() is None
    record_of(sleeper, booted=False, owner=(mine[0], 1))
    assert virtual.find(booting.name) is None
    assert not booting.alive()
    assert not booting.directory.exists()


def test_record_of_another_version_says_what_to_do(sleeper: subprocess.Popen[bytes]) -> None:
    found = record_of(sleeper)
    path = found.directory / "guest.json"
    path.write_text(json.dumps({"name": "virtual:7.3#x"}))
    with pytest.raises(LmkError, match=r"another version or damaged: .* remove the directory"):
        virtual.find("virtual#x")


def test_record_of_another_version_hides_no_other_guest(sleeper: subprocess.Popen[bytes]) -> None:
    found = record_of(sleeper)
    stranger = found.directory.parent / "virtual-7.3#stranger"
    stranger.mkdir()
    (stranger / "guest.json").write_text(json.dumps({"name": "virtual:7.3#stranger"}))
    assert [guest.name for guest in virtual.running()] == [found.name]
    assert len(virtual.unreadable()) == 1
    assert "virtual-7.3#stranger" in virtual.unreadable()[0]


@pytest.mark.parametrize("answer", ["CNXN", "AUTH"])
def test_guest_is_up_when_its_adbd_answers(qemu_is: Stand, answer: str) -> None:
    qemu_is(ANSWER, answer)
    up = virtual.up("virtual#x")
    try:
        assert up.name == "virtual:7.3#x"
        assert up.kernel == "7.3.0-test"
        assert virtual.up("virtual#x") == up
        with pytest.raises(UsageError, match="other options"):
            virtual.up("virtual#x", cpus=1)
        # Of its own session and with nothing of ours: a terminal's end is not its end.
        assert os.getsid(up.pid) == up.pid
        targets = {str(entry.readlink()) for entry in Path(f"/proc/{up.pid}/fd").iterdir()}
        assert not {target for target in targets if "pipe:" in target or "/dev/pts" in target}
    finally:
        up.down()
    assert not up.alive()
    assert list(up.directory.parent.iterdir()) == []


def test_port_that_was_taken_in_between_is_replaced(qemu_is: Stand, tmp_path: Path) -> None:
    qemu_is(PORT_TAKEN, "CNXN", str(tmp_path / "tried"))
    virtual.up("virtual#x").down()
    assert (tmp_path / "tried").exists()


def test_qemu_that_ends_fails_the_boot_with_its_words(qemu_is: Stand) -> None:
    qemu_is("import sys; sys.exit('qemu: no such machine')")
    with pytest.raises(
        BootError, match=r"QEMU ended \(1\) in the guest's init; .*console\.log"
    ) as caught:
        virtual.up("virtual#x")
    assert "qemu: no such machine" in caught.value.detail
    assert virtual.running() == []
    assert not virtual.down("virtual#x")
    assert list((guest.place("virtual:7.3#x")).parent.iterdir()) == []


def test_adbd_that_never_answers_fails_the_boot_and_leaves_no_process(
    qemu_is: Stand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(boot, "_BOOT_S", 0.5)
    qemu_is(f"import os, time; open('{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(99)")
    with pytest.raises(BootError, match="adbd did not answer in 0 s in the guest's init"):
        virtual.up("virtual#x")
    assert process_start(int((tmp_path / "pid").read_text())) is None


def test_interrupt_during_the_boot_leaves_no_process(qemu_is: Stand, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    qemu_is(
        "import os, signal, sys, time; pathlib = __import__('pathlib');"
        f"pathlib.Path('{pid_file}').write_text(str(os.getpid()));"
        "os.kill(os.getppid(), signal.SIGINT); time.sleep(99)"
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        virtual.up("virtual#x")
    assert process_start(int(pid_file.read_text())) is None
    assert virtual.running() == []


def test_two_that_boot_one_name_share_one_guest(qemu_is: Stand) -> None:
    qemu_is(ANSWER, "CNXN")
    found: list[Guest] = []
    threads = [
        threading.Thread(target=lambda: found.append(virtual.up("virtual#x"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    try:
        assert len(found) == 4
        assert len({entry.pid for entry in found}) == 1
    finally:
        found[0].down()


def archived(up: Guest) -> dict[str, bytes]:
    """Files of the guest's own archive, by cpio."""
    folder = up.directory / "unpacked"
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["cpio", "--extract", "--make-directories", "--unconditional", "--quiet", "system/*"],
        input=(up.directory / "initramfs").read_bytes(),
        cwd=folder,
        check=True,
    )
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.skipif(not shutil.which("cpio"), reason="needs cpio as the judge")
def test_lmkd_is_part_of_the_system_beside_what_else_is(qemu_is: Stand, tmp_path: Path) -> None:
    qemu_is(ANSWER, "CNXN")
    (tmp_path / "initramfs").write_bytes(b"")
    rc = tmp_path / "other/system/etc/init/lmk.rc"
    rc.parent.mkdir(parents=True)
    rc.write_text("# ours\n")
    (rc.parent / "lmkd.rc").write_text("# not asked for\n")
    command = ["virtual", "up", "virtual#x", "--lmkd", "stand-in", "--system", tmp_path / "other"]
    for _ in range(2):
        done = CliRunner().invoke(cli, [*map(str, command)], catch_exceptions=False)
        assert done.exit_code == 0, "the same guest, the second time"
    up = virtual.find("virtual#x")
    assert up is not None
    try:
        files = archived(up)
        assert files["system/bin/lmkd"][:4] == b"\x7fELF"
        assert files["system/etc/init/lmk.rc"] == b"# ours\n"
        lines = files["system/etc/init/lmkd.rc"].decode().splitlines()
        assert lines[0] == "service lmkd /system/bin/lmkd --log /run/lmkd.log"
        assert "    critical" in lines
        assert "    socket lmkd seqpacket+passcred 0660 system system" in lines
    finally:
        up.down()


@pytest.mark.skipif(not shutil.which("cpio"), reason="needs cpio as the judge")
def test_a_file_of_ones_own_is_lmkd_without_arguments(qemu_is: Stand, tmp_path: Path) -> None:
    qemu_is(ANSWER, "CNXN")
    (tmp_path / "initramfs").write_bytes(b"")
    (tmp_path / "mine").write_bytes(b"a program")
    command = ["virtual", "up", "virtual#x", "--lmkd", str(tmp_path / "mine")]
    assert CliRunner().invoke(cli, command, catch_exceptions=False).exit_code == 0
    up = virtual.find("virtual#x")
    assert up is not None
    try:
        files = archived(up)
        assert files["system/bin/lmkd"] == b"a program"
        assert files["system/etc/init/lmkd.rc"].startswith(b"service lmkd /system/bin/lmkd\n")
    finally:
        up.down()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--lmkd", "/no/such/lmkd"), r"cannot read /no/such/lmkd: No such file.*`stand-in`"),
        (("--lmkd", "/"), r"cannot read /: Is a directory"),
        (("--lmkd", "stand-in", "--init", "systemd"), "leave out --init systemd"),
    ],
)
def test_an_lmkd_that_cannot_be_is_refused_before_anything_is_booted(
    options: tuple[str, ...], said: str
) -> None:
    done = CliRunner().invoke(cli, ["virtual", "up", "virtual#never", *options])
    assert isinstance(done.exception, UsageError)
    assert re.search(said, str(done.exception))
    assert virtual.find("virtual#never") is None
