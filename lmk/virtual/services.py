# SPDX-License-Identifier: Apache-2.0
"""Services of a guest, kept as Android's init keeps its own: for tests that stop and start lmkd.

A guest has none by default. ``bpf/services`` is the program that keeps them: it reads ``.rc``
files in Android's init language, hears ``setprop ctl.start NAME`` (``ctl.stop``,
``ctl.restart``), sets ``init.svc.NAME`` and ``init.svc_debug_pid.NAME``, hands over
``/dev/socket/NAME``, starts again what ends by itself, and counts that in
``lmk.test.restarts.NAME`` for a critical one. What it does, and what it did not understand of a
file, is in ``/run/services/log``, with times on CLOCK_BOOTTIME. It is started here, in a guest
that runs, or by the boot of a guest whose system has such files (:mod:`lmk.virtual.system`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lmk import progress
from lmk.build.compiler import Job
from lmk.build.recipe import ABIS, SERVICES
from lmk.build.sources import source_root
from lmk.device.interface import CommandResult, Device
from lmk.errors import LmkError, UsageError

__all__ = ["LMKD_SOCKET", "LOG", "Service", "program", "start", "start_lmkd"]

_PLACE = "/run/services"
LOG = f"{_PLACE}/log"
LMKD_SOCKET = "/dev/socket/lmkd"
_LMKD = "/system/bin/lmkd"

# A program of the system's is one below /system/bin by its own path, and there that is a link to
# /bin: it becomes a folder of links.
_OWN_SYSTEM_BIN = """
[ -L /system/bin ] || exit 0
mkdir /system/new && ln -s /bin/* /system/new || exit 1
mv /system/bin /system/old && mv /system/new /system/bin
"""


@dataclass(frozen=True, slots=True)
class Service:
    """One service.

    :ivar socket: file in ``/dev/socket`` that it inherits (SOCK_SEQPACKET, 0660 system:system).
    :ivar critical: count how often it ends by itself, which Android's init reboots for.
    :ivar gentle: stopped with SIGTERM and nothing more, where Android's init takes SIGKILL.
    :ivar disabled: not started with the others.
    """

    name: str
    command: tuple[str, ...]
    socket: str = ""
    critical: bool = False
    gentle: bool = False
    disabled: bool = False

    @property
    def text(self) -> str:
        """Its ``.rc`` file."""
        options = ["user root", "group root"]
        if self.socket:
            options.append(f"socket {self.socket} seqpacket+passcred 0660 system system")
        options += [flag for flag in ("critical", "gentle", "disabled") if getattr(self, flag)]
        head = f"service {self.name} {' '.join(self.command)}\n"
        return head + "".join(f"    {option}\n" for option in options)


def program(abi: str) -> bytes:
    """``lmk-services`` for `abi`, as uname(2) names it.

    :raises lmk.errors.LmkError: it cannot be built.
    """
    with progress.steps("Preparing lmk-services") as task:
        return Job(SERVICES, ABIS[abi], source_root()).run(task)


def start(device: Device, services: Iterable[Service]) -> None:
    """Start `services` on a guest, and return when they run. Once in a guest's life.

    :raises lmk.errors.UsageError: not as root, or it has services already.
    """
    look = device.run(f"uname -m; id -u; [ -e {_PLACE} ] && echo there").text.split()
    if look[1:2] != ["0"]:
        raise UsageError(f"{device.serial}: services are root's: boot it with --adbd-user root")
    if "there" in look:
        raise UsageError(f"{device.serial} has services already: boot another one")
    keeper = program(look[0])
    device.run(f"mkdir -m 755 {_PLACE}")
    device.push(keeper, f"{_PLACE}/lmk-services", mode=0o700)
    for service in services:
        device.push(service.text.encode(), f"{_PLACE}/{service.name}.rc", mode=0o600)
    _succeed(device, device.run(f"{_PLACE}/lmk-services run {_PLACE}"))


def start_lmkd(
    device: Device,
    program: bytes,
    arguments: Iterable[str] = (),
    *,
    gentle: bool = False,
    disabled: bool = False,
) -> None:
    """Start `program` as the critical service ``lmkd``. Raises like :func:`start`.

    :param program: a static one of the guest's ABI.
    """
    _succeed(device, device.run(_OWN_SYSTEM_BIN))
    device.run(f"rm -f {_LMKD}")
    device.push(program, _LMKD, mode=0o755)
    command = (_LMKD, *arguments)
    lmkd = Service("lmkd", command, "lmkd", critical=True, gentle=gentle, disabled=disabled)
    start(device, [lmkd])


def _succeed(device: Device, result: CommandResult) -> None:
    if result.exit_code != 0:
        said = result.error_text.strip().splitlines()
        raise LmkError(
            f"{device.serial}: the services do not start: {said[-1] if said else 'no word'}",
            detail=result.error_text,
            serial=device.serial,
        )
