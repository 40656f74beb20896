# SPDX-License-Identifier: Apache-2.0
"""What must hold before the demo makes pressure on a device that is not its own."""

from __future__ import annotations

from lmk.attachment import gather_as_root
from lmk.device.interface import Device
from lmk.errors import UsageError
from lmk.policy import Policy
from lmk.workload.android import FIRST_UID, LAST_UID
from lmk.workload.vitals import uids_in_use

__all__ = ["limit_victims", "refuse_if_unsafe"]


def limit_victims(policy: Policy) -> Policy:
    """The same policy, with the demo's own population as its only victims."""
    limited = Policy()
    limited.CopyFrom(policy)
    del limited.only_uids[:]
    limited.only_uids.add(first=FIRST_UID, last=LAST_UID)
    return limited


def refuse_if_unsafe(device: Device, *, own_guest: bool, who: str = "the demo") -> None:
    """Refuse a device on which `who` could kill what is not its own.

    :param own_guest: the device is a virtual one, there to be killed on.
    :raises lmk.errors.UsageError: what stands against it, and what to do.
    """
    _root, facts = gather_as_root(device)
    if facts.session is not None:
        raise UsageError(
            f"{device.serial}: a session is attached already, under a policy of its own: "
            f"`lmk detach -s {device.serial}` first",
            serial=device.serial,
        )
    others = uids_in_use(device, FIRST_UID, LAST_UID)
    if others:
        uid, name = next(iter(others.items()))
        raise UsageError(
            f"{device.serial}: uid {uid} is in use ({name}), and {who} takes "
            f"{FIRST_UID}..{LAST_UID} for its own population: end what runs as these first",
            serial=device.serial,
        )
    if own_guest:
        return
    # No rule of ours holds for another killer that our pressure wakes.
    if device.run("pidof lmkd").text.strip():
        raise UsageError(
            f"{device.serial}: lmkd is running, and would choose its own victims under this "
            "pressure: `stop lmkd` as root first (`start lmkd` afterwards)",
            serial=device.serial,
        )
