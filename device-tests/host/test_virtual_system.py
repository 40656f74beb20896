# SPDX-License-Identifier: Apache-2.0
"""Files of a guest's own system: what is taken, with which owners, and what is refused."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lmk import virtual
from lmk.errors import UsageError
from lmk.virtual import data_disk, system
from lmk.virtual.kernels import host_abi


def put(folder: Path, path: str, content: str = "x", mode: int = 0o644) -> None:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content)
    place.chmod(mode)


def listing(folders: list[Path], init: str = "busybox") -> dict[str, list[str]]:
    """By name: mode, uid, gid and size, as cpio reads the archive."""
    out = io.BytesIO()
    system.write([str(folder) for folder in folders], init, host_abi(), out)
    done = subprocess.run(
        ["cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet"],
        input=out.getvalue(),
        capture_output=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    return {" ".join(line[8:]): [line[0], *line[2:5]] for line in lines}


needs_cpio = pytest.mark.skipif(not shutil.which("cpio"), reason="needs cpio as the judge")


@needs_cpio
def test_only_what_fs_config_lists_is_taken_with_its_owners_and_modes(tmp_path: Path) -> None:
    put(tmp_path, "system/bin/agent", "12345", 0o600)
    put(tmp_path, "system/etc/other")
    put(tmp_path, "README")
    put(tmp_path, "fs_config", "# who owns what\nsystem/bin/agent 0 2000 0755\n")
    rows = listing([tmp_path])
    assert rows["system/bin/agent"] == ["-rwxr-xr-x", "0", "2000", "5"]
    assert set(rows) == {"system", "system/bin", "system/bin/agent"}


@needs_cpio
def test_without_one_all_is_taken_as_roots_with_its_own_modes(tmp_path: Path) -> None:
    put(tmp_path, "usr/local/lib/lmk/agent", "1", 0o755)
    (tmp_path / "etc").mkdir(mode=0o750)
    (tmp_path / "etc/link").symlink_to("../usr")
    rows = listing([tmp_path], "systemd")
    assert rows["over/usr/local/lib/lmk/agent"] == ["-rwxr-xr-x", "0", "0", "1"]
    assert rows["over/etc"][0] == "drwxr-x---"
    assert "over/etc/link -> ../usr" in rows


@needs_cpio
def test_of_two_files_at_one_place_that_of_the_first_folder_counts(tmp_path: Path) -> None:
    put(tmp_path / "one", "system/build.prop", "1")
    put(tmp_path / "two", "system/build.prop", "22")
    put(tmp_path / "two", "system/bin/lmkd", "333", 0o755)
    rows = listing([tmp_path / "one", tmp_path / "two"])
    assert rows["system/build.prop"][3] == "1"
    assert rows["system/bin/lmkd"][3] == "3"
    assert "etc/lmk-services" not in rows, "there is no .rc file"


@needs_cpio
def test_an_init_that_reads_rc_files_comes_with_them(tmp_path: Path) -> None:
    put(tmp_path, "system/etc/init/lmkd.rc")
    assert listing([tmp_path])["etc/lmk-services"][0] == "-rwxr-xr-x"
    assert "etc/lmk-services" not in listing([tmp_path], "systemd")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("system/a 0 0", "fs_config:1: not PATH UID GID MODE"),
        ("system/a root 0 0644", "fs_config:1: not PATH UID GID MODE"),
        ("system/a 0 0 0888", "fs_config:1: not PATH UID GID MODE"),
        ("\n/system/a 0 0 0644", "fs_config:2: not a path below"),
        ("system/../../a 0 0 0644", "fs_config:1: not a path below"),
        ("system/gone 0 0 0644", "fs_config:1: there is no "),
        ("", "no files for a guest's system"),
    ],
)
def test_a_damaged_fs_config_is_refused_before_anything_is_booted(
    config: str, said: str, tmp_path: Path
) -> None:
    put(tmp_path, "system/a")
    put(tmp_path, "fs_config", config)
    with pytest.raises(UsageError, match=said):
        virtual.up("virtual#never", system=[tmp_path])


def test_places_that_a_guest_cannot_take_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "etc/rc")
    with pytest.raises(UsageError, match="what lies below"):
        virtual.up("virtual#never", system=[tmp_path])
    with pytest.raises(UsageError, match="no such folder"):
        virtual.up("virtual#never", system=[tmp_path / "gone"])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a file"):
        virtual.up("virtual#never", system=[tmp_path], init="systemd")


def test_a_data_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        data_disk.make(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        data_disk.make(tmp_path / "gone/data")


def test_a_data_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "data", "mine")
    data_disk.make(tmp_path / "data")
    assert (tmp_path / "data").read_text() == "mine"
