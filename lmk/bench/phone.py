# SPDX-License-Identifier: Apache-2.0
"""A virtual device that is rebooted, as one that is built like a phone is (lmk.virtual.phone)."""

from __future__ import annotations

import time
from contextlib import suppress

from lmk import virtual
from lmk.device.resolve import connect
from lmk.errors import LmkError, TransientError
from lmk.virtual import Guest

__all__ = ["rebooted"]

_PATIENCE_S = 120.0


def rebooted(guest: Guest, *, orderly: bool, first: bool = False) -> Guest:
    """The same guest after a reboot: what it keeps is its system, and /data where it has a file.

    :param orderly: its init ends it, signals to all processes and a sync included; else its power
        is cut.
    :param first: as of :func:`lmk.virtual.up`.
    :raises lmk.errors.LmkError: it does not end. Raises like :func:`lmk.virtual.up` too.
    """
    options = guest.options
    if orderly:
        # The link may be gone before the answer is. (busybox's own is a signal to its own init.)
        command = "systemctl reboot" if options.init == "systemd" else "reboot"
        with suppress(TransientError), connect(guest.name) as device:
            device.run(command)
        end = time.monotonic() + _PATIENCE_S
        while guest.alive():
            if time.monotonic() > end:
                raise LmkError(f"{guest.name} does not end by `{command}`", serial=guest.name)
            time.sleep(0.05)
    guest.down()
    return virtual.up(
        guest.name,
        ram_mb=options.ram_mb,
        cpus=options.cpus,
        zram_mb=options.zram_mb,
        adbd_user=options.adbd_user,
        kernel_arguments=options.kernel_arguments,
        disk_mb=options.disk_mb,
        own_time=options.own_time,
        debian=options.debian,
        init=options.init,
        system=options.system,
        data=options.data or None,
        first=first,
        detached=guest.owner is None,
    )
