# SPDX-License-Identifier: Apache-2.0
"""From the serial a user gives to a connected device.

``virtual[:KERNEL[-ABI]][#INSTANCE]`` is a virtual device, ``tcp:HOST:PORT`` an adbd that listens
there. ``-s`` comes first, then ``$ANDROID_SERIAL``, then the one virtual device that runs.
Nothing is booted here: only ``lmk virtual up``, the demo and the tests do that.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from lmk.device.direct import DirectDevice
from lmk.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from lmk.device.interface import Device

__all__ = ["connect", "parse_address"]

_VIRTUAL = re.compile(r"virtual(:[A-Za-z0-9._-]+)?(#[A-Za-z0-9._-]+)?")
_TRANSPORTS = ("direct", "server")


def connect(serial: str | None = None, *, transport: str | None = None) -> Device:
    """Connect to a device.

    :param serial: its name; None takes ``$ANDROID_SERIAL``, else the one device there is.
    :param transport: ``direct`` reads `serial` as ``HOST:PORT`` of an adbd, whatever it looks like.
    :raises lmk.errors.UsageError: no such device, several and no choice, not authorised.
    :raises lmk.errors.UnsupportedError: a serial of a kind that is not there yet.
    :raises lmk.errors.TransientError: the device does not answer.
    """
    if transport is not None and transport not in _TRANSPORTS:
        raise UsageError(f"no transport {transport!r}; there are: {', '.join(_TRANSPORTS)}")
    chosen = serial or os.environ.get("ANDROID_SERIAL") or _only_device()
    if transport == "server":
        raise _no_server(chosen)
    if _VIRTUAL.match(chosen):
        return _connect_virtual(chosen)
    if chosen == "local":
        raise UnsupportedError(
            "serial 'local': attaching to this machine itself comes with embedded Linux; "
            "today lmk needs an adbd: tcp:HOST:PORT, or `lmk virtual up`"
        )
    if chosen.startswith("tcp:") or transport == "direct":
        host, port = parse_address(chosen)
        return DirectDevice(host, port, chosen)
    raise _no_server(chosen)


def parse_address(serial: str) -> tuple[str, int]:
    """Host and port of ``tcp:HOST:PORT``, ``HOST:PORT`` or ``tcp:[IPV6]:PORT``.

    :raises lmk.errors.UsageError: it is not that.
    """
    host, _, port = serial.removeprefix("tcp:").rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(
            f"serial {serial!r}: expected tcp:HOST:PORT with a port of 1..65535 "
            "(an IPv6 address in brackets)"
        )
    return host, int(port)


def _only_device() -> str:
    """The one virtual device that runs."""
    from lmk import virtual  # late: only this needs it, and it brings QEMU's set-up along

    names = sorted(guest.name for guest in virtual.running())
    if len(names) == 1:
        return names[0]
    if not names:
        raise UsageError(
            "no device: start one with `lmk virtual up`, or name one with -s SERIAL "
            "(tcp:HOST:PORT for an adbd that listens there) or $ANDROID_SERIAL"
        )
    raise UsageError(
        f"several devices ({', '.join(names)}): choose one with -s SERIAL or $ANDROID_SERIAL"
    )


def _connect_virtual(serial: str) -> Device:
    from lmk import virtual

    guest = virtual.find(serial)
    if guest is None:
        others = ", ".join(sorted(running.name for running in virtual.running()))
        raise UsageError(
            f"{serial} is not running: start it with `lmk virtual up {serial}`"
            + (f" (running: {others})" if others else "")
        )
    return DirectDevice("127.0.0.1", guest.port, serial)


def _no_server(serial: str) -> UnsupportedError:
    return UnsupportedError(
        f"serial {serial!r} is for the adb server, which lmk does not talk to yet; "
        "what works: virtual[:KERNEL[-ABI]] and tcp:HOST:PORT "
        "(`adb -s SERIAL tcpip 5555` makes a device listen)"
    )
