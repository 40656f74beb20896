# SPDX-License-Identifier: Apache-2.0
"""Permanent installs as generated files: what ``lmk attach`` does, done by the device's own init.

::

    written = lmk.package.write("out", lmk.package.systemd(bundle, "x86_64", policy))

Nothing is sent anywhere: a package is a folder, its README says where each file goes.
"""

from __future__ import annotations

from lmk.package.android import init_rc, magisk
from lmk.package.files import Packaged, Written, check_folder, write
from lmk.package.linux import systemd

__all__ = ["Packaged", "Written", "check_folder", "init_rc", "magisk", "systemd", "write"]
