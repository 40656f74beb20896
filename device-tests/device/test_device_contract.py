# SPDX-License-Identifier: Apache-2.0
"""What every Device does, whatever carries it: run on each transport in TRANSPORTS.

Everything happens in one directory of the device that is removed at the end. Where plain
adb-shell fails, the same is shown on the same device with adb-shell as it comes.
"""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from adb_shell.adb_device import AdbDeviceTcp

from lmk import virtual
from lmk.device.interface import ByteStream, Device
from lmk.device.resolve import connect, parse_address
from lmk.errors import LmkError, TransientError, UsageError

TRANSPORTS = ["direct", "server"]
MIB = 1024 * 1024
GIB = 1024 * MIB
SOON_S = 0.5


@pytest.fixture(params=TRANSPORTS)
def subject(request: pytest.FixtureRequest, device_serial: str) -> Iterator[Device]:
    """The device under test by each transport."""
    with connect(device_serial, transport=request.param) as device:
        yield device


@pytest.fixture
def folder(subject: Device) -> Iterator[str]:
    """A directory on the device whose name needs quoting."""
    base = subject.run("for d in /data/local/tmp /tmp; do [ -d $d ] && echo $d && break; done").text
    path = f"{base.strip()}/lmk it's {uuid.uuid4().hex[:8]}"
    subject.run(f"mkdir {shlex.quote(path)}")
    yield path
    subject.run(f"rm -rf {shlex.quote(path)}")


@pytest.fixture
def plain(device_serial: str) -> Iterator[AdbDeviceTcp]:
    """The same device by adb-shell as it comes."""
    if device_serial.startswith("virtual"):
        guest = virtual.find(device_serial)
        assert guest is not None
        host, port = "127.0.0.1", guest.port
    elif device_serial.startswith("tcp:"):
        host, port = parse_address(device_serial)
    else:
        pytest.skip("adb-shell reaches TCP devices only")
    device = AdbDeviceTcp(host, port)
    device.connect(read_timeout_s=30)
    yield device
    device.close()


class Steps:
    """A progress callback that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.told.append((done, total))

    def assert_cumulative(self, total: int, at_least: int = 1) -> None:
        done = [step[0] for step in self.told]
        assert done == sorted(set(done)), "never back, never the same twice"
        assert {step[1] for step in self.told} == {total}
        assert self.told[-1] == (total, total)
        assert len(self.told) >= at_least


def pseudo_random(count: int) -> bytes:
    """`count` bytes that no layer compresses, the same every time."""
    return hashlib.shake_128(b"lmk").digest(count)


# Commands -----------------------------------------------------------------------------------


def test_exit_code_stdout_and_stderr_come_apart(subject: Device) -> None:
    result = subject.run("echo out; echo err >&2; exit 7")
    assert (result.exit_code, result.stdout, result.stderr) == (7, b"out\n", b"err\n")


def test_command_that_a_signal_ends_has_128_and_the_signal(subject: Device) -> None:
    assert subject.run("kill -9 $$").exit_code == 128 + 9


def test_unknown_command_is_a_result_not_an_error(subject: Device) -> None:
    result = subject.run("no-such-command-at-all")
    assert result.exit_code == 127
    assert "not found" in result.error_text


def test_stdin_reaches_the_command_and_its_end_too(subject: Device) -> None:
    assert subject.run("cat", stdin=b"line\nlast").stdout == b"line\nlast"
    assert subject.run("cat").stdout == b""


def test_stdin_and_output_of_several_mebibytes_pass_at_once(subject: Device) -> None:
    data = pseudo_random(4 * MIB)
    assert subject.run("cat", stdin=data, timeout=timedelta(seconds=120)).stdout == data


def test_command_that_answers_after_all_of_its_stdin_gets_it(subject: Device) -> None:
    result = subject.run("wc -c", stdin=bytes(4 * MIB), timeout=timedelta(seconds=120))
    assert int(result.text) == 4 * MIB


def test_command_that_leaves_its_stdin_unread_still_ends(subject: Device) -> None:
    result = subject.run("exit 5", stdin=bytes(4 * MIB), timeout=timedelta(seconds=60))
    assert result.exit_code == 5


def test_both_outputs_of_several_mebibytes_are_complete(subject: Device) -> None:
    result = subject.run(
        "head -c 3000000 /dev/zero; head -c 2000000 /dev/zero >&2", timeout=timedelta(seconds=120)
    )
    assert (len(result.stdout), len(result.stderr)) == (3_000_000, 2_000_000)


def test_text_cut_between_writes_is_whole(subject: Device) -> None:
    assert subject.run(r"printf '\303'; sleep 0.3; printf '\251'").text == "é"


def test_plain_adb_shell_breaks_text_cut_between_writes(plain: AdbDeviceTcp) -> None:
    said = "".join(plain.streaming_shell(r"printf '\303'; sleep 0.3; printf '\251'"))
    assert "é" not in said


def test_command_over_its_timeout_is_a_transient_error(subject: Device) -> None:
    with pytest.raises(TransientError, match="did not end within"):
        subject.run("sleep 60", timeout=timedelta(seconds=0.5))
    assert subject.run("echo next").text == "next\n"


def test_output_that_is_no_utf8_is_kept_as_bytes(subject: Device) -> None:
    result = subject.run(r"printf 'a\377\000b'")
    assert result.stdout == b"a\xff\0b"
    assert result.text == "a\N{REPLACEMENT CHARACTER}\0b"


def test_command_longer_than_a_packet_is_a_usage_error(subject: Device) -> None:
    with pytest.raises(UsageError, match="longer than"):
        subject.run("true " + "x" * 2 * MIB)


# Files --------------------------------------------------------------------------------------


def test_bytes_pushed_are_read_back_with_their_mode(subject: Device, folder: str) -> None:
    for mode in (0o600, 0o644, 0o755):
        remote = f"{folder}/file {mode:o}"
        subject.push(b"content", remote, mode=mode)
        assert subject.read_file(remote) == b"content"
        found = subject.stat(remote)
        assert found is not None
        assert stat.S_IMODE(found.mode) == mode
        assert stat.S_ISREG(found.mode)
        assert found.size == 7
        assert abs(found.mtime - time.time()) < 86400


def test_missing_parent_directories_are_made(subject: Device, folder: str) -> None:
    remote = f"{folder}/a b/$HOME/it's/file"
    subject.push(b"deep", remote)
    assert subject.read_file(remote) == b"deep"


def test_push_replaces_a_file_and_leaves_nothing_of_it(subject: Device, folder: str) -> None:
    remote = f"{folder}/file"
    subject.push(b"a longer text", remote, mode=0o600)
    subject.push(b"short", remote, mode=0o644)
    assert subject.read_file(remote) == b"short"


def test_64_mib_go_there_and_back_with_cumulative_progress(
    subject: Device, folder: str, tmp_path: Path
) -> None:
    data = pseudo_random(64 * MIB)
    local = tmp_path / "large"
    local.write_bytes(data)
    pushed, pulled = Steps(), Steps()
    remote = f"{folder}/large"
    subject.push(local, remote, progress=pushed)
    pushed.assert_cumulative(len(data), at_least=64)
    found = subject.stat(remote)
    assert found is not None
    assert found.size == len(data)
    back = tmp_path / "new folder" / "back"
    subject.pull(remote, back, progress=pulled)
    pulled.assert_cumulative(len(data), at_least=64)
    assert back.read_bytes() == data


def test_plain_adb_shell_tells_pieces_for_progress(
    plain: AdbDeviceTcp, folder: str, tmp_path: Path
) -> None:
    local = tmp_path / "file"
    local.write_bytes(bytes(MIB))
    told: list[tuple[int, int]] = []

    def progress(_path: str, done: int, total: int) -> None:
        told.append((done, total))

    plain.push(str(local), f"{folder}/file", progress_callback=progress)
    assert told[-1][0] < MIB


def test_open_file_is_pushed_from_where_it_stands_and_pulled_into(
    subject: Device, folder: str
) -> None:
    source = io.BytesIO(b"skip the rest")
    source.seek(5)
    steps = Steps()
    subject.push(source, f"{folder}/file", progress=steps)
    steps.assert_cumulative(8)
    sink = io.BytesIO()
    subject.pull(f"{folder}/file", sink)
    assert sink.getvalue() == b"the rest"


def test_empty_file_is_pushed_and_pulled(subject: Device, folder: str, tmp_path: Path) -> None:
    steps = Steps()
    subject.push(b"", f"{folder}/empty", progress=steps)
    assert steps.told == [(0, 0)]
    subject.pull(f"{folder}/empty", tmp_path / "empty")
    assert (tmp_path / "empty").read_bytes() == b""


def make_tree(top: Path) -> int:
    """A tree with what trees have; returns the sum of its files' sizes."""
    (top / "sub dir" / "deeper").mkdir(parents=True)
    (top / "none in here").mkdir()
    (top / "tool").write_bytes(b"#!/bin/sh\necho ran\n")
    (top / "tool").chmod(0o755)
    (top / "sub dir" / "it's").write_bytes(pseudo_random(300_000))
    (top / "sub dir" / "second").write_bytes(pseudo_random(300_000))
    (top / "sub dir" / "deeper" / "näme").write_bytes(b"")
    return 19 + 600_000


def test_directory_is_pushed_as_a_tree_and_pulled_back(
    subject: Device, folder: str, tmp_path: Path
) -> None:
    top = tmp_path / "tree"
    total = make_tree(top)
    pushed, pulled = Steps(), Steps()
    subject.push(top, f"{folder}/copy", progress=pushed)
    pushed.assert_cumulative(total)
    assert subject.run(f"{shlex.quote(folder)}/copy/tool").text == "ran\n"
    assert "none in here" in subject.list_dir(f"{folder}/copy")
    back = tmp_path / "back"
    subject.pull(f"{folder}/copy", back, progress=pulled)
    pulled.assert_cumulative(total)
    for path in top.rglob("*"):
        copy = back / path.relative_to(top)
        assert copy.is_dir() if path.is_dir() else copy.read_bytes() == path.read_bytes()


def test_links_in_a_pushed_tree_stay_links(subject: Device, folder: str, tmp_path: Path) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    (top / "target").write_bytes(b"text")
    (top / "link").symlink_to("target")
    subject.push(top, f"{folder}/copy")
    assert subject.run(f"readlink {shlex.quote(folder)}/copy/link").text == "target\n"
    subject.pull(f"{folder}/copy", tmp_path / "back")
    assert (tmp_path / "back" / "link").read_bytes() == b"text", "pulled as the file it leads to"


def test_plain_adb_shell_cannot_push_a_directory(
    plain: AdbDeviceTcp, folder: str, tmp_path: Path
) -> None:
    make_tree(tmp_path / "tree")
    with pytest.raises(OSError, match=r"No such file|Is a directory"):
        plain.push(str(tmp_path / "tree"), f"{folder}/copy")


def test_size_above_4_gib_is_right(subject: Device, folder: str) -> None:
    quoted = shlex.quote(folder)
    made = subject.run(
        f"truncate -s 5G {quoted}/sparse || dd of={quoted}/sparse bs=1M seek=5120 count=0"
    )
    assert made.exit_code == 0, made
    found = subject.stat(f"{folder}/sparse")
    assert found is not None
    assert found.size == 5 * GIB
    assert subject.list_dir(folder)["sparse"].size == 5 * GIB


def test_total_above_4_gib_is_right_and_the_callback_can_end_the_transfer(
    subject: Device, folder: str, tmp_path: Path
) -> None:
    class Enough(Exception):
        pass

    told: list[int] = []

    def progress(done: int, total: int) -> None:
        told.append(total)
        if done > MIB:
            raise Enough

    subject.run(f"truncate -s 5G {shlex.quote(folder)}/sparse")
    with pytest.raises(Enough):
        subject.pull(f"{folder}/sparse", tmp_path / "sparse", progress=progress)
    assert set(told) == {5 * GIB}
    assert list(tmp_path.iterdir()) == [], "nothing half is left"
    assert subject.run("echo next").text == "next\n"


def test_plain_adb_shell_has_sizes_above_4_gib_wrong(
    plain: AdbDeviceTcp, subject: Device, folder: str
) -> None:
    subject.run(f"truncate -s 5G {shlex.quote(folder)}/sparse")
    assert plain.stat(f"{folder}/sparse")[1] != 5 * GIB


def test_procfs_and_sysfs_are_read_whatever_size_they_claim(
    subject: Device, tmp_path: Path
) -> None:
    assert subject.read_file("/proc/version").startswith(b"Linux version ")
    assert b"MemTotal:" in subject.read_file("/proc/meminfo")
    assert subject.read_file("/sys/kernel/mm/transparent_hugepage/enabled")
    steps = Steps()
    subject.pull("/proc/version", tmp_path / "version", progress=steps)
    size = (tmp_path / "version").stat().st_size
    assert size > 0
    assert steps.told[-1] == (size, size)


def test_list_dir_tells_kinds_and_not_itself(subject: Device, folder: str) -> None:
    subject.push(b"12345", f"{folder}/file")
    subject.run(f"cd {shlex.quote(folder)} && mkdir dir && ln -s file link")
    listed = subject.list_dir(folder)
    assert sorted(listed) == ["dir", "file", "link"]
    assert stat.S_ISDIR(listed["dir"].mode)
    assert stat.S_ISLNK(listed["link"].mode)
    assert listed["file"].size == 5


def test_long_directory_is_listed_whole(subject: Device, folder: str) -> None:
    made = f"cd {shlex.quote(folder)} && i=0; while [ $i -lt 600 ]; do : >n$i; i=$((i+1)); done"
    subject.run(made, timeout=timedelta(seconds=120))
    assert sorted(subject.list_dir(folder)) == sorted(f"n{number}" for number in range(600))


def test_stat_of_what_is_not_there_is_none(subject: Device) -> None:
    assert subject.stat("/no/such/file") is None
    assert subject.stat("/proc/version/below-a-file") is None


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ("/proc/new/file", "No such file or directory"),
        ("/proc", "directory"),
        ("/dev/full", "No space left on device"),
        ("relative/path", "absolute"),
        ("/dev/" + "x" * 300, "File name too long"),
    ],
)
def test_push_that_the_device_refuses_gives_its_words_and_the_path(
    subject: Device, remote: str, words: str
) -> None:
    for size in (10, 4 * MIB):  # refused before the end of the file, and while it goes out
        with pytest.raises(LmkError) as caught:
            subject.push(bytes(size), remote)
        assert words in str(caught.value)
        assert remote in str(caught.value)
    assert subject.run("echo next").text == "next\n"


def test_pull_of_a_missing_file_is_a_usage_error_and_leaves_the_local_file(
    subject: Device, tmp_path: Path
) -> None:
    (tmp_path / "here").write_bytes(b"mine")
    with pytest.raises(UsageError, match="/no/such/file: No such file"):
        subject.pull("/no/such/file", tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == b"mine"
    with pytest.raises(UsageError, match="/no/such/file"):
        subject.read_file("/no/such/file")
    with pytest.raises(UsageError, match="/no/such/dir"):
        subject.list_dir("/no/such/dir")
    with pytest.raises(UsageError, match="Not a directory"):
        subject.list_dir("/proc/version")


def test_push_of_a_missing_or_special_local_file_is_a_usage_error(
    subject: Device, folder: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="nothing here"):
        subject.push(tmp_path / "nothing here", f"{folder}/x")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe"):
        subject.push(tmp_path / "pipe", f"{folder}/x")


def test_pull_into_a_place_that_cannot_be_written_is_a_usage_error(
    subject: Device, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot write"):
        subject.pull("/proc/version", tmp_path / "file" / "below")


# Services -----------------------------------------------------------------------------------


def read_all(stream: ByteStream, timeout_s: float = 60) -> bytes:
    received = b""
    while data := stream.read(timeout=timedelta(seconds=timeout_s)):
        received += data
    return received


def test_service_is_a_two_way_stream(subject: Device) -> None:
    with subject.open("exec:cat") as stream:
        for number in range(50):
            sent = b"ping %d\n" % number
            stream.write(sent)
            heard = b""
            while len(heard) < len(sent):
                heard += stream.read(timeout=timedelta(seconds=30))
            assert heard == sent


def test_stream_that_writes_and_reads_at_once_loses_nothing(subject: Device) -> None:
    data = pseudo_random(4 * MIB)
    heard = bytearray()
    with subject.open("exec:cat") as stream:
        writer = threading.Thread(target=stream.write, args=(data,))
        writer.start()
        while len(heard) < len(data):
            heard += stream.read(timeout=timedelta(seconds=60))
        writer.join(60)
    assert bytes(heard) == data


def test_end_of_a_service_is_seen_soon_and_costs_no_cpu(subject: Device) -> None:
    with subject.open("exec:echo $$; read line") as stream:
        assert int(stream.read(timeout=timedelta(seconds=30)))
        cpu = time.thread_time()
        stream.write(b"go\n")
        start = time.monotonic()
        assert stream.read(timeout=timedelta(seconds=30)) == b""
        assert time.monotonic() - start < SOON_S
        assert time.thread_time() - cpu < 0.1
        assert stream.read() == b""


def test_read_timeout_loses_nothing(subject: Device) -> None:
    with subject.open("exec:read go; echo first; read go; echo second") as stream:
        for word in (b"first\n", b"second\n"):
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    stream.read(timeout=timedelta(seconds=0.05))
            stream.write(b"go\n")
            assert stream.read(timeout=timedelta(seconds=30)) == word


def test_read_gives_no_more_than_asked_and_keeps_the_rest(subject: Device) -> None:
    with subject.open("exec:echo 0123456789") as stream:
        assert stream.read(4, timeout=timedelta(seconds=30)) == b"0123"
        assert read_all(stream) == b"456789\n"


@pytest.mark.parametrize("service", ["localabstract:nobody-listens-here", "tcp:1", "no-such-kind:"])
def test_refused_service_is_a_transient_error_soon(subject: Device, service: str) -> None:
    start = time.monotonic()
    with pytest.raises(TransientError, match=service):
        subject.open(service)
    assert time.monotonic() - start < SOON_S
    assert subject.run("echo next").text == "next\n"


def test_stream_idle_for_over_ten_seconds_lives_and_holds_nobody_up(subject: Device) -> None:
    with subject.open("exec:sleep 11; echo late") as stream:
        ran = 0
        while True:
            try:
                heard = stream.read(timeout=timedelta(seconds=1))
                break
            except TimeoutError:
                assert subject.run("true").exit_code == 0
                ran += 1
        assert heard == b"late\n"
        assert ran >= 9


def test_close_by_another_thread_lets_a_blocked_read_return(subject: Device) -> None:
    stream = subject.open("exec:cat")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(stream.read()))
    reader.start()
    time.sleep(0.1)  # gives the reader time to block; it must return either way
    start = time.monotonic()
    stream.close()
    reader.join(10)
    assert got == [b""]
    assert time.monotonic() - start < SOON_S
    stream.close()


def test_closing_a_stream_ends_the_service(subject: Device) -> None:
    with subject.open("exec:echo $$; exec cat") as stream:
        pid = int(stream.read(timeout=timedelta(seconds=30)))
        assert subject.stat(f"/proc/{pid}") is not None
    deadline = time.monotonic() + 30
    while subject.stat(f"/proc/{pid}") is not None:
        assert time.monotonic() < deadline


def test_many_streams_and_commands_at_once(subject: Device) -> None:
    answers: dict[int, bytes] = {}

    patient = timedelta(seconds=60)  # eight at once are slow on a machine that is busy itself

    def talk(number: int) -> None:
        with subject.open("exec:cat", timeout=patient) as stream:
            stream.write(b"%d" % number)
            heard = stream.read(timeout=patient)
            answers[number] = heard + subject.run(f"echo {number}", timeout=patient).stdout

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert answers == {number: b"%d%d\n" % (number, number) for number in range(8)}


# The rest -----------------------------------------------------------------------------------


def test_properties_are_what_getprop_says(subject: Device) -> None:
    properties = subject.properties()
    if subject.run("command -v getprop").exit_code:
        assert properties == {}
    else:
        assert properties
        for name, value in list(properties.items())[:10]:
            assert subject.run(f"getprop {shlex.quote(name)}").text == value + "\n"


def test_closed_device_says_so_and_closes_twice(device_serial: str) -> None:
    device = connect(device_serial)
    device.close()
    device.close()
    with pytest.raises(UsageError, match="closed"):
        device.run("true")
