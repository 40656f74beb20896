# SPDX-License-Identifier: Apache-2.0
"""The private apt, against an archive of our own that a real apt reads and a real key signs."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lmk import debian, private_apt
from lmk.errors import TransientError, UsageError

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "gpg", "dpkg-deb"))), reason="needs apt, dpkg and gpg"
)


@dataclass
class Archive:
    """A Debian archive in a directory, and the machine's apt configured to use it."""

    root: Path
    home: Path
    packages: list[str] = field(default_factory=list)

    def add(self, name: str, version: str, depends: str = "", content: str = "content") -> Path:
        tree = self.root / "build" / name
        (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
        (tree / "usr/share").mkdir(parents=True, exist_ok=True)
        (tree / "usr/share" / name).write_text(content)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
        control += "Maintainer: Nobody <nobody@invalid>\nDescription: test\n"
        control += f"Depends: {depends}\n" if depends else ""
        (tree / "DEBIAN/control").write_text(control)
        deb = self.root / "pool" / f"{name}_{version}_amd64.deb"
        deb.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg-deb", "--build", tree, deb], check=True, capture_output=True)
        content_bytes = deb.read_bytes()
        self.packages.append(
            f"{control}Filename: pool/{deb.name}\nSize: {len(content_bytes)}\n"
            f"SHA256: {hashlib.sha256(content_bytes).hexdigest()}\n"
        )
        return deb

    def publish(self, *, sign: bool = True) -> None:
        for suite in ("bookworm", "bookworm-backports", "trixie-backports"):
            index = "\n".join(self.packages).encode()
            files = {
                "main/binary-amd64/Packages": index,
                "main/binary-amd64/Packages.gz": gzip.compress(index, mtime=0),
            }
            release = f"Origin: Debian\nSuite: {suite}\nCodename: {suite}\n"
            release += "Date: Sat, 01 Jan 2022 00:00:00 UTC\nArchitectures: amd64\n"
            release += "Components: main\nSHA256:\n"
            dists = self.root / "dists" / suite
            for name, content in files.items():
                (dists / name).parent.mkdir(parents=True, exist_ok=True)
                (dists / name).write_bytes(content)
                release += f" {hashlib.sha256(content).hexdigest()} {len(content)} {name}\n"
            (dists / "Release").write_text(release)
            (dists / "InRelease").unlink(missing_ok=True)
            if sign:
                self.gpg("--clearsign", "--output", dists / "InRelease", dists / "Release")

    def gpg(self, *arguments: str | Path) -> None:
        subprocess.run(
            ["gpg", "--homedir", self.home, "--batch", "--yes", *arguments],
            check=True,
            capture_output=True,
        )


@contextmanager
def new_key(home: Path) -> Iterator[Path]:
    """A key pair in `home`, exported as keyring.gpg; its agent ends with the block."""
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--passphrase", ""]
    try:
        subprocess.run([*gpg, "--quick-gen-key", "key", "rsa2048"], check=True, capture_output=True)
        subprocess.run([*gpg, "--output", str(home / "keyring.gpg"), "--export"], check=True)
        yield home
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with new_key(tmp_path_factory.mktemp("keys") / "gpg") as home:
        yield home


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Configures "the machine's apt": its sources and some hooks of its own."""
    monkeypatch.setenv("LMK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\n'
        f'Dir::Etc::sourceparts "{tmp_path}/sources.d";\n'
        f'Dir::State "{tmp_path}/state";\nDir::Cache "{tmp_path}/aptcache";\n'
        f'APT::Update::Pre-Invoke {{ "touch {tmp_path}/hook"; }};\n'
        'Acquire::AllowInsecureRepositories "true";\nAPT::Get::AllowUnauthenticated "true";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))

    def configure(*, lines: str = "", stanzas: str = "") -> None:
        (tmp_path / "sources.list").write_text(lines)
        (tmp_path / "sources.d").mkdir(exist_ok=True)
        (tmp_path / "sources.d/debian.sources").write_text(stanzas)

    return configure


@pytest.fixture
def archive(
    keys: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: Callable[..., None],
) -> Archive:
    root = tmp_path / "archive"
    root.mkdir()
    monkeypatch.setattr(private_apt, "_KEYRINGS", (str(keys / "keyring.gpg"),))
    machine(lines=f"deb [trusted=yes] file:{root} bookworm main\n")
    return Archive(root, keys)


def test_packages_are_found_fetched_and_unpacked(archive: Archive, tmp_path: Path) -> None:
    archive.add("tool", "1.0", depends="liba (>= 1), libb | libc")
    archive.add("liba", "1:1.2")
    archive.add("libb", "3", depends="liba")
    archive.add("other", "1")
    archive.publish()
    names = debian.closure(["tool"], "bookworm-backports", "amd64")
    assert sorted(names) == ["liba", "libb", "tool"]
    debs = debian.fetch(["tool", "liba"], "bookworm", "amd64")
    assert [deb.name for deb in debs] == ["tool_1.0_amd64.deb", "liba_1%3a1.2_amd64.deb"]
    root = debian.sysroot(names, "bookworm", "amd64")
    assert (root / "usr/share/libb").read_text() == "content"
    assert not (root / "usr/share/other").exists()
    assert debian.sysroot(names, "bookworm", "amd64") == root


def test_newest_counts_as_versions_count(archive: Archive) -> None:
    for version in ("7.3.4", "7.3.10", "7.3.9", "7.2.99"):
        archive.add(f"linux-binary-{version}+deb13-cloud-amd64", "1")
    archive.publish()
    found = debian.newest(r"linux-binary-7\.3\..*-cloud-amd64", "trixie-backports", "amd64")
    assert found == "linux-binary-7.3.10+deb13-cloud-amd64"


def test_package_that_is_not_there_is_a_usage_error(archive: Archive) -> None:
    archive.add("tool", "1")
    archive.publish()
    with pytest.raises(UsageError, match="no-such-package"):
        debian.fetch(["no-such-package"], "bookworm", "amd64")
    with pytest.raises(UsageError, match=r"has no package no-such-\.\* for amd64"):
        debian.newest("no-such-.*", "bookworm", "amd64")
    with pytest.raises(UsageError, match="no Debian suite 'sid'"):
        debian.fetch(["tool"], "sid", "amd64")


def test_unsigned_index_is_refused_though_the_machine_trusts_it(archive: Archive) -> None:
    archive.add("tool", "1")
    archive.publish(sign=False)
    with pytest.raises(TransientError, match="not signed"):
        debian.fetch(["tool"], "bookworm", "amd64")


def test_index_signed_by_another_key_is_refused(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive.add("tool", "1")
    archive.publish()
    with new_key(tmp_path / "othergpg") as other:
        monkeypatch.setattr(private_apt, "_KEYRINGS", (str(other / "keyring.gpg"),))
        with pytest.raises(TransientError) as caught:
            debian.fetch(["tool"], "bookworm", "amd64")
    assert "NO_PUBKEY" in caught.value.detail


def test_package_that_was_changed_is_refused(archive: Archive) -> None:
    deb = archive.add("tool", "1")
    archive.publish()
    damaged = bytearray(deb.read_bytes())
    damaged[-1] ^= 1
    deb.write_bytes(damaged)
    with pytest.raises(TransientError, match="apt cannot get packages"):
        debian.fetch(["tool"], "bookworm", "amd64")
    assert not list((Path(os.environ["LMK_CACHE"]) / "packages").rglob("*.deb"))


def test_hooks_of_the_machine_do_not_run(archive: Archive, tmp_path: Path) -> None:
    archive.add("tool", "1")
    archive.publish()
    debian.fetch(["tool"], "bookworm", "amd64")
    assert not (tmp_path / "hook").exists()


def test_index_is_asked_for_once_in_a_while_and_kept_when_the_mirror_is_away(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.add("tool", "1")
    archive.publish()
    assert debian.fetch(["tool"], "bookworm", "amd64")[0].name == "tool_1_amd64.deb"
    archive.add("tool", "2")
    archive.publish()
    assert debian.fetch(["tool"], "bookworm", "amd64")[0].name == "tool_1_amd64.deb"
    stamp = Path(os.environ["LMK_CACHE"]) / "apt/bookworm-amd64/updated"
    yesterday = time.time() - 24 * 3600
    os.utime(stamp, (yesterday, yesterday))
    assert debian.fetch(["tool"], "bookworm", "amd64")[0].name == "tool_2_amd64.deb"
    os.utime(stamp, (yesterday, yesterday))
    (archive.root / "dists").rename(archive.root / "away")
    assert debian.fetch(["tool"], "bookworm", "amd64")[0].name == "tool_2_amd64.deb"
    assert "the mirror is away; using the last index" in capsys.readouterr().err
    debian.fetch(["tool"], "bookworm", "amd64")
    assert "mirror" not in capsys.readouterr().err, "it waited for the mirror again at once"


def test_mirror_that_never_answered_is_an_error_worth_another_try(archive: Archive) -> None:
    with pytest.raises(TransientError, match="apt cannot get packages"):
        debian.fetch(["tool"], "bookworm", "amd64")


MIRROR = "http://mirror.invalid/debian"


@pytest.mark.parametrize(
    ("lines", "stanzas"),
    [
        (f"deb {MIRROR} bookworm main contrib\n", ""),
        (f"deb [arch=amd64] {MIRROR}/ stable main\n", ""),
        (
            "",
            f"Types: deb deb-src\nURIs: {MIRROR}\n"
            "Suites: bookworm bookworm-updates\nComponents: main\n",
        ),
        (
            "deb http://security.invalid/debian-security bookworm-security main\n"
            "deb http://other.invalid/ stable contrib\n"
            f"deb {MIRROR} bookworm main\n",
            "",
        ),
    ],
)
def test_mirror_is_the_one_the_machine_uses(
    machine: Callable[..., None], lines: str, stanzas: str
) -> None:
    machine(lines=lines, stanzas=stanzas)
    assert private_apt._mirror().rstrip("/") == MIRROR


def test_machine_without_a_debian_archive_is_told_what_to_add(
    machine: Callable[..., None],
) -> None:
    machine(lines="deb http://example.invalid/ubuntu jammy main\n")
    with pytest.raises(UsageError, match=r"sources\.list"):
        debian.fetch(["tool"], "bookworm", "amd64")
