# SPDX-License-Identifier: Apache-2.0
"""The wheel is all one needs: installed into an empty environment it builds for devices."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from installed import Installed, install_wheel

from lmk import build


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_installed_command_greets_and_needs_only_what_the_wheel_declares(
    installed: Installed,
) -> None:
    done = installed.lmk("--help")
    assert done.returncode == 0, done.stderr
    assert "lmk virtual up" in done.stdout
    for command in ("attach", "stream", "doctor", "virtual", "pressure", "policy"):
        done = installed.lmk(command, "--help")
        assert done.returncode == 0, done.stderr


def test_the_stand_in_for_lmkd_is_a_checkouts(installed: Installed) -> None:
    done = installed.lmk("virtual", "up", "virtual#never", "--lmkd", "stand-in")
    assert done.returncode == 2
    assert "the stand-in for lmkd is built in a checkout of lmk" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_installed_command_builds_what_the_same_sources_build_elsewhere(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (carried,) = installed.directory.glob("lib/python*/site-packages/lmk/_source")
    copy = tmp_path / "sources"
    shutil.copytree(carried, copy)
    monkeypatch.setattr(build, "source_root", lambda: copy)
    bundle = tmp_path / "from-wheel.bundle"
    done = installed.lmk("build", "-o", str(bundle))
    assert done.returncode == 0, done.stderr
    assert "compile lmk.bpf.o" in done.stderr
    assert bundle.read_bytes() == build.build().path.read_bytes()


def test_the_installed_package_says_that_it_is_typed(installed: Installed) -> None:
    assert list(installed.directory.glob("lib/python*/site-packages/lmk/py.typed"))


def test_the_installed_command_reads_policies(installed: Installed) -> None:
    assert "psi_partial_stall_ms" in installed.lmk("policy", "show", "default").stdout
