# SPDX-License-Identifier: Apache-2.0
"""The guest's root: the archive's form, the libraries of a program, the order of modules."""

from __future__ import annotations

import io
import lzma
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lmk.errors import LmkError, ProtocolError
from lmk.virtual import elf, image, systemd_root
from lmk.virtual.cpio import Archive


def archive_of_everything() -> bytes:
    out = io.BytesIO()
    archive = Archive(out)
    archive.directory("data", 0o771)
    archive.file("etc/a/file", b"12345", 0o600)
    archive.file("odd", b"", 0o644)
    archive.symlink("link", "etc/a/file")
    archive.character_device("dev/console", 5, 1)
    archive.file("etc/a/file", b"again")  # what is there stays
    archive.close()
    return out.getvalue()


@pytest.mark.skipif(not shutil.which("cpio"), reason="needs cpio as the judge")
def test_archive_is_what_cpio_reads() -> None:
    done = subprocess.run(
        ["cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet"],
        input=archive_of_everything(),
        capture_output=True,
        check=True,
    )
    # A device's size is two words, "5, 1".
    lines = [line.replace(",   1", ",1").split() for line in done.stdout.decode().splitlines()]
    rows = {" ".join(line[8:]): (line[0], line[2], line[3], line[4]) for line in lines}
    assert rows["data"] == ("drwxrwx--x", "0", "0", "0")
    assert rows["etc/a/file"] == ("-rw-------", "0", "0", "5")
    assert rows["link -> etc/a/file"][0] == "lrwxrwxrwx"
    assert rows["dev/console"][0] == "crw-------"
    assert rows["dev/console"][3] == "5,1"
    assert list(rows) == ["data", "etc", "etc/a", "etc/a/file", "odd", "link -> etc/a/file",
                          "dev", "dev/console"]  # fmt: skip


def test_equal_content_gives_equal_bytes() -> None:
    assert archive_of_everything() == archive_of_everything()


def test_libraries_are_those_the_loader_names() -> None:
    program = Path(shutil.which("python3", path="/usr/bin:/bin") or "/bin/ls").resolve()
    triplet = f"{os.uname().machine}-linux-gnu"
    found = elf.libraries(program, Path("/"), [f"/lib/{triplet}", f"/usr/lib/{triplet}"])
    output = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    named = {
        Path(word).name
        for line in output.splitlines()
        for word in line.split()
        if word.startswith("/")
    }
    assert {Path(place).name for place in found} == named
    assert all(file.is_file() and not file.is_symlink() for file in found.values())


def test_library_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "lib64").mkdir()
    interpreter = next(Path("/lib64").glob("ld-linux*"), None)
    if interpreter is None:
        pytest.skip("the loader is elsewhere on this ABI")
    shutil.copy(interpreter, tmp_path / "lib64")
    with pytest.raises(LmkError, match=r"needs lib\S+, which its packages do not have"):
        elf.libraries(Path("/bin/ls").resolve(), tmp_path, ["/lib"])


def test_what_is_not_elf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(ProtocolError, match="not a 64-bit little-endian ELF"):
        elf.libraries(tmp_path / "script", tmp_path, [])


def module(folder: Path, name: str, depends: str, *, compressed: bool = True) -> None:
    content = f"\0license=GPL\0depends={depends}\0name={name}\0".encode()
    folder.mkdir(parents=True, exist_ok=True)
    if compressed:
        (folder / f"{name}.ko.xz").write_bytes(lzma.compress(content))
    else:
        (folder / f"{name}.ko").write_bytes(content)


def test_modules_come_after_what_they_depend_on(tmp_path: Path) -> None:
    module(tmp_path / "net", "virtio_net", "net_failover")
    module(tmp_path / "net", "net_failover", "failover", compressed=False)
    module(tmp_path / "net", "failover", "")
    module(tmp_path / "block", "virtio_blk", "")
    module(tmp_path / "block", "zram", "lz4-hc,zsmalloc")
    module(tmp_path / "lib", "lz4-hc", "")
    module(tmp_path / "mm", "zsmalloc", "")
    module(tmp_path / "mm", "unwanted", "")
    order = image._module_order(tmp_path)
    network, swap = ["failover", "net_failover", "virtio_net"], ["lz4_hc", "zsmalloc", "zram"]
    assert list(order) == ["virtio_blk", *network, *swap]
    assert order["failover"].startswith(b"\0license=")


def test_missing_module_is_named(tmp_path: Path) -> None:
    module(tmp_path, "virtio_net", "net_failover")
    with pytest.raises(LmkError, match="no module net_failover"):
        image._module_order(tmp_path)


def test_the_users_that_packages_declare_are_there_once(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/sysusers.d"
    folder.mkdir(parents=True)
    (folder / "a.conf").write_text(
        "# words\ng adm 4 -\nu root 0 - /root\nu games 5:60 -\nu-of-nobody x\n"
    )
    (folder / "b.conf").write_text('u oom - "a killer"\ng journal - -\nu oom - "again"\n')
    users, groups = systemd_root._declared(tmp_path)
    assert [line.split(":")[0::2][:2] for line in users.splitlines()] == [
        ["games", "5"],
        ["oom", "998"],
    ]
    assert [line.split(":")[0::2] for line in groups.splitlines()] == [
        ["adm", "4"],
        ["games", "5"],
        ["oom", "998"],
        ["journal", "997"],
    ]


@pytest.mark.skipif(
    not shutil.which("shellcheck"), reason="needs shellcheck: tools/setup test installs it"
)
def test_shellcheck_finds_nothing_in_the_guests_scripts() -> None:
    scripts = [
        (name, image._rootfs(name)) for name in image._FILES if image._rootfs(name)[:2] == b"#!"
    ]
    assert len(scripts) >= 6
    for name, content in scripts:
        done = subprocess.run(
            ["shellcheck", "--severity=warning", "--shell=sh", "-"],
            input=content,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stdout.decode()}"
