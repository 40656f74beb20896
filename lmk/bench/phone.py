# SPDX-License-Identifier: Apache-2.0
"""A virtual device that is built like a phone: an lmkd that its init starts with every boot.

Its system is two folders (:mod:`lmk.virtual.system`): what ``lmk package --init-rc`` wrote, and
that of :func:`write_phone`.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from lmk import virtual
from lmk.bench.stand_in import stand_in
from lmk.device.resolve import connect
from lmk.errors import LmkError, TransientError
from lmk.virtual import Guest

__all__ = ["LMKD_RC", "rebooted", "write_phone"]

#: As AOSP's lmkd.rc, but for who it runs as and what the stand-in has no use for.
LMKD_RC = """\
service lmkd /system/bin/lmkd --log /run/lmkd.log
    class core
    user root
    group root system readproc
    critical
    socket lmkd seqpacket+passcred 0660 system system
"""
_PATIENCE_S = 120.0


def write_phone(folder: Path, abi: str, properties: dict[str, str] | None = None) -> Path:
    """Write the system of a phone into `folder`, which is made: lmkd, its service, build.prop.

    :param abi: as uname(2) names it.
    :param properties: of build.prop.
    """
    program = folder / "system/bin/lmkd"
    rc = folder / "system/etc/init/lmkd.rc"
    for path in (program, rc):
        path.parent.mkdir(parents=True, exist_ok=True)
    program.write_bytes(stand_in("lmkd", abi))
    program.chmod(0o755)
    rc.write_text(LMKD_RC)
    lines = [f"{name}={value}\n" for name, value in (properties or {}).items()]
    (folder / "system/build.prop").write_text("".join(lines))
    return folder


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
