# SPDX-License-Identifier: Apache-2.0
"""From the wheel alone: an installed `lmk` builds, attaches and detaches."""

from __future__ import annotations

import json

import pytest
from installed import install_wheel

from lmk.attachment import detach
from lmk.device.interface import Device


def test_an_installed_wheel_builds_and_attaches(
    device: Device, device_serial: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    installed = install_wheel(tmp_path_factory.mktemp("wheel"))
    detach(device)
    try:
        done = installed.lmk("attach", "-s", device_serial, "--lease", "2m", "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "compile lmk.bpf.o" in done.stderr
        status = json.loads(installed.lmk("status", "-s", device_serial, "--json").stdout)
        assert status["hello"]["dry_run"] is True
    finally:
        done = installed.lmk("detach", "-s", device_serial)
    assert done.returncode == 0, done.stderr
