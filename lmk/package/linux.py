# SPDX-License-Identifier: Apache-2.0
"""A systemd unit: the agent as a service of a board with a distribution, or of this machine.

The killer that it replaces is the policy's (``other_killer``): the agent stops it once its
handlers decide, and starts it before they go.
"""

from __future__ import annotations

import re

from lmk.build import Bundle
from lmk.errors import UsageError
from lmk.package.files import Packaged, fill, programs
from lmk.policy import Policy

__all__ = ["systemd"]

_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")
_UNITS = "/etc/systemd/system"


def systemd(
    bundle: Bundle,
    abi: str,
    policy: Policy,
    *,
    prefix: str = "/usr/local",
    state: str = "/run/lmk",
) -> list[Packaged]:
    """The files of a systemd install.

    :param prefix: where programs go: ``PREFIX/lib/lmk``.
    :param state: the agent's folder: ``/data/lmk`` where there is a ``/data``, since that is
        where `lmk attach` looks.
    :raises lmk.errors.UsageError: a path that a unit could not hold; a policy that is a dry run.
    :raises lmk.errors.UnsupportedError: the bundle has nothing for that ABI.
    """
    for path in (prefix, state):
        if not _PATH.fullmatch(path) or ".." in path:
            raise UsageError(f"{path!r}: an absolute path of letters, digits and ._-/")
    place = f"{prefix}/lib/lmk"
    values = {
        "PLACE": place,
        "STATE": state,
        "UNITS": _UNITS,
        "BUILD_ID": bundle.build_id(abi),
        "ABI": abi,
        "POLICY": policy.name or "(no name)",
    }
    files = [
        Packaged(f"files/{name}", content, mode, f"{place}/{name}")
        for name, (content, mode) in programs(bundle, abi, policy).items()
    ]
    return [
        Packaged("README", fill("systemd-readme", values)),
        Packaged("install.sh", fill("systemd-install.sh", values), 0o755),
        Packaged("uninstall.sh", fill("systemd-uninstall.sh", values), 0o755),
        *(
            Packaged(unit, fill(unit, values), 0o644, f"{_UNITS}/{unit}")
            for unit in ("lmk.service", "lmk-others.target")
        ),
        *files,
    ]
