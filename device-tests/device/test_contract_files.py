# SPDX-License-Identifier: Apache-2.0
"""What every Device does, whatever carries it: files pushed, pulled, told of and refused.

Each test runs on each transport (contract_plugin.py), in one directory of the device that is
removed at the end. Where plain adb-shell fails, the same is shown on the same device with
adb-shell as it comes.
"""

from __future__ import annotations

import io
import os
import shlex
import stat
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from adb_shell.adb_device import AdbDeviceTcp
from payload import MIB, pseudo_random

from lmk.device.interface import Device
from lmk.errors import LmkError, UsageError

pytest_plugins = ("contract_plugin",)

GIB = 1024 * MIB


@pytest.fixture
def folder(subject: Device) -> Iterator[str]:
    """A directory on the device whose name needs quoting."""
    base = subject.run("for d in /data/local/tmp /tmp; do [ -d $d ] && echo $d && break; done").text
    path = f"{base.strip()}/lmk it's {uuid.uuid4().hex[:8]}"
    subject.run(f"mkdir {shlex.quote(path)}")
    yield path
    subject.run(f"rm -rf {shlex.quote(path)}")


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
