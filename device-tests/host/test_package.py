# SPDX-License-Identifier: Apache-2.0
"""Packages: what is written, and that nothing is when something is wrong."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from lmk.build import Bundle, build
from lmk.cli import cli
from lmk.errors import ExitCode, LmkError, UsageError
from lmk.package import Packaged, init_rc, magisk, systemd, write
from lmk.policy import load
from lmk.proto.policy_pb2 import Policy

ABI = platform.machine()
KINDS = ("init-rc", "magisk", "systemd")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build([ABI])


def made(kind: str, bundle: Bundle, *, dry_run: bool = False) -> list[Packaged]:
    policy = load("default")
    policy.dry_run = dry_run
    if kind == "systemd":
        return systemd(bundle, ABI, policy)
    return (init_rc if kind == "init-rc" else magisk)(bundle, ABI, policy, 16)


def command(kind: str, bundle: Bundle, folder: Path, *words: str) -> list[str]:
    android = [] if kind == "systemd" else ["--prockill-bytes", "16"]
    where = ["-o", str(folder), "--abi", ABI, "--bundle", str(bundle.path)]
    return ["package", f"--{kind}", *where, *android, *words]


@pytest.mark.parametrize("kind", KINDS)
def test_json_lists_what_was_written(kind: str, bundle: Bundle, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, command(kind, bundle, tmp_path / "out", "--json"))
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    found = {str(path) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {row["path"] for row in rows} == found
    for row in rows:
        path = Path(row["path"])
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert f"{path.stat().st_mode & 0o7777:04o}" == row["mode"]
    places = {str(row["place"]).rpartition("/")[2] for row in rows if row["place"]}
    assert {"lmk-agent", "lmk-loader", "lmk.bpf.o", "assisted.bpf.o", "policy.pb"} <= places


@pytest.mark.parametrize("kind", KINDS)
def test_every_mark_is_filled_and_every_script_is_one(
    kind: str, bundle: Bundle, tmp_path: Path
) -> None:
    for written in write(tmp_path / "out", made(kind, bundle)):
        if b"\0" in written.path.read_bytes():
            continue
        if written.path.name != "policy.pb":
            assert not re.search(r"@[A-Z_]+@", written.path.read_text())
        if written.path.suffix == ".sh":
            done = subprocess.run(["sh", "-n", str(written.path)], capture_output=True, check=False)
            assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    not shutil.which("shellcheck"), reason="needs shellcheck: tools/setup test installs it"
)
@pytest.mark.parametrize("kind", KINDS)
def test_shellcheck_finds_nothing_in_the_scripts(kind: str, bundle: Bundle, tmp_path: Path) -> None:
    written = write(tmp_path / "out", made(kind, bundle))
    scripts = [str(file.path) for file in written if file.path.suffix == ".sh"]
    if kind == "init-rc":
        assert not scripts
        return
    done = subprocess.run(
        ["shellcheck", "--severity=warning", *scripts], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_what_starts_the_agent_names_the_policy_and_files_of_the_package(
    kind: str, bundle: Bundle
) -> None:
    files = made(kind, bundle)
    texts = b"".join(file.content for file in files if file.path.endswith(("rc", "sh", "service")))
    assert bundle.build_id(ABI).encode() in texts
    (policy,) = [file for file in files if file.path.endswith("policy.pb")]
    assert Policy.FromString(policy.content) == load("default")
    if kind != "magisk":
        for file in files:
            if file.place.endswith((".o", ".pb", "agent", "loader")):
                assert file.place.encode() in texts


def test_fs_config_says_who_owns_what_in_the_image(bundle: Bundle) -> None:
    files = made("init-rc", bundle)
    (config,) = [file for file in files if file.path == "fs_config"]
    ids = {"root:root": "0 0", "root:shell": "0 2000"}
    assert config.content.decode().splitlines() == [
        f"{file.path} {ids[file.owner]} {file.mode:04o}" for file in files if file.place
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_is_not_empty_is_left_as_it_is(
    kind: str, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        write(tmp_path, made(kind, bundle))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(UsageError, match="not an empty folder"):
        write(tmp_path / "mine", made(kind, bundle))


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", [Packaged("one", b"1")])
    assert (tmp_path / "out/one").read_bytes() == b"1"


def test_what_cannot_be_written_whole_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing was left"):
        write(tmp_path / "out", [Packaged("one", b"1"), Packaged("one/two", b"2")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["package", "-o", "out"], "say for what"),
        (["package", "--magisk", "-o", "out"], "--prockill-bytes is missing"),
        (["package", "--systemd", "-o", "out", "--prockill-bytes", "12"], "Android's"),
        (["package", "--init-rc", "-o", "out", "--state", "/x"], "for --systemd"),
        (["package", "--systemd", "-o", "out", "--abi", "mips"], "mips"),
        (["package", "--systemd"], "-o"),
    ],
)
def test_wrong_use_is_said(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == ExitCode.USAGE
    assert said in result.output
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_policy_is_said(bundle: Bundle, tmp_path: Path) -> None:
    words = command("systemd", bundle, tmp_path / "out", "--policy", "nope")
    result = CliRunner().invoke(cli, words)
    assert isinstance(result.exception, UsageError)
    assert "nope" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_in_the_killers_place_is_refused(kind: str, bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="nobody who kills"):
        made(kind, bundle, dry_run=True)


def test_an_abi_that_the_bundle_has_not_is_said(bundle: Bundle) -> None:
    with pytest.raises(LmkError, match="no programs for riscv64"):
        systemd(bundle, "riscv64", load("default"))


@pytest.mark.parametrize("path", ["usr", "/usr/../etc", "/a b", "/x%h", "/x;y", ""])
def test_a_path_that_a_unit_cannot_hold_is_refused(path: str, bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="absolute path"):
        systemd(bundle, ABI, load("default"), prefix=path)
    with pytest.raises(UsageError, match="absolute path"):
        systemd(bundle, ABI, load("default"), state=path)


def test_the_unit_is_one_that_systemd_takes(bundle: Bundle, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here; the device test asks systemd itself")
    # It wants the programs to be there.
    prefix = tmp_path / "prefix"
    files = systemd(bundle, ABI, load("linux"), prefix=str(prefix))
    write(tmp_path / "out", files)
    shutil.copytree(tmp_path / "out/files", prefix / "lib/lmk")
    units = [str(tmp_path / "out/lmk-others.target"), str(tmp_path / "out/lmk.service")]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    assert "lmk.service" not in done.stderr, done.stderr
    assert "lmk-others" not in done.stderr, done.stderr


def test_install_puts_all_into_an_image_and_starts_nothing(bundle: Bundle, tmp_path: Path) -> None:
    files = systemd(bundle, ABI, load("linux"))
    write(tmp_path / "out", files)
    subprocess.run(
        [str(tmp_path / "out/install.sh")],
        env={"PATH": "/usr/bin:/bin", "DESTDIR": str(tmp_path / "root")},
        check=True,
    )
    for file in files:
        if file.place:
            installed = tmp_path / "root" / file.place[1:]
            assert installed.read_bytes() == file.content
            assert installed.stat().st_mode & 0o7777 == file.mode
    wants = tmp_path / "root/etc/systemd/system/multi-user.target.wants/lmk.service"
    assert wants.resolve().is_file()
