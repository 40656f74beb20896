# SPDX-License-Identifier: Apache-2.0
"""Commands as root: adbd (on this machine: this process) as uid 0, else a `su` that was tried.

How ``su`` is called differs: AOSP's takes ``su 0 COMMAND…``, those of rooted phones and of
Linux take ``su -c COMMAND``. The first that prints uid 0 is used.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import timedelta

from lmk.device.interface import CommandResult, Device
from lmk.errors import UsageError

__all__ = ["Root", "find_root"]

#: With {} for the quoted command line.
_SU_FORMS = ("su 0 sh -c {}", "su -c {}", "su root sh -c {}", "sudo -n sh -c {}")


@dataclass(frozen=True, slots=True)
class Root:
    """A way to run commands as uid 0 on one device.

    :ivar form: how: ``{}`` for adbd as root, else a call of ``su`` around the command.
    """

    device: Device
    form: str

    @property
    def via(self) -> str:
        """In words: ``adbd``, ``this process`` or ``su 0``."""
        if self.form == "{}":
            return "this process" if self.device.transport == "local" else "adbd"
        return self.form.partition(" sh -c")[0].partition(" -c")[0]

    def wrap(self, command: str) -> str:
        """The command line that runs `command` as root."""
        return command if self.form == "{}" else self.form.format(shlex.quote(command))

    def run(
        self,
        command: str,
        *,
        timeout: timedelta | None = timedelta(seconds=30),
        stdin: bytes = b"",
    ) -> CommandResult:
        """As :meth:`lmk.device.interface.Device.run`, as root."""
        return self.device.run(self.wrap(command), timeout=timeout, stdin=stdin)


def find_root(device: Device) -> Root:
    """The way to root on `device`.

    :raises lmk.errors.UsageError: there is none; says what was tried.
    """
    uid = device.run("id -u").text.strip()
    if uid == "0":
        return Root(device, "{}")
    # One round trip for all forms; each may hang on a prompt, so none gets a terminal.
    probe = "; ".join(
        f'[ "$({form.format(shlex.quote("id -u"))} 2>/dev/null </dev/null)" = 0 ] && echo {index}'
        for index, form in enumerate(_SU_FORMS)
    )
    found = device.run(probe).text.split()
    if found:
        return Root(device, _SU_FORMS[int(found[0])])
    here = device.transport == "local"
    who, advice = (
        ("this", "run it as root, or allow sudo without a password")
        if here
        else ("adbd", "try `adb root`, or a userdebug build")
    )
    raise UsageError(
        f"{device.serial}: lmk needs root: {who} runs as uid {uid} and no su works ({advice})",
        serial=device.serial,
    )
