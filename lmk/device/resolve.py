# SPDX-License-Identifier: Apache-2.0
"""From the serial a user gives to a connected device.

``virtual[:KERNEL[-ABI]][#INSTANCE]`` is a virtual device, ``tcp:HOST:PORT`` an adbd that listens
there; both are reached directly. ``local`` is this machine. Any other name is the adb server's.
``-s`` comes first, then ``$ANDROID_SERIAL``, then the one device there is.
Nothing is booted here: only ``lmk virtual up``, the demo and the tests do that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lmk.device.direct import DirectDevice
from lmk.device.local import LocalDevice
from lmk.device.server import ListedDevice, ServerDevice, connect_by_server, list_devices
from lmk.errors import UsageError

if TYPE_CHECKING:
    from lmk.device.interface import Device

__all__ = ["available", "connect", "parse_address"]

_VIRTUAL = re.compile(r"virtual(:[A-Za-z0-9._-]+)?(#[A-Za-z0-9._-]+)?")
_TRANSPORTS = ("direct", "server")


def connect(serial: str | None = None, *, transport: str | None = None) -> Device:
    """Connect to a device.

    :param serial: its name; None takes ``$ANDROID_SERIAL``, else the one device there is.
    :param transport: ``direct`` reads `serial` as ``HOST:PORT`` of an adbd, whatever it looks
        like; ``server`` goes by the adb server, which it has connect to TCP devices.
    :raises lmk.errors.UsageError: no such device, several and no choice, not authorised.
    :raises lmk.errors.TransientError: the device does not answer.
    """
    if transport is not None and transport not in _TRANSPORTS:
        raise UsageError(f"no transport {transport!r}; there are: {', '.join(_TRANSPORTS)}")
    chosen = serial or os.environ.get("ANDROID_SERIAL") or _only_device()
    if chosen == "local":
        if transport is not None:
            raise UsageError(f"local is this machine: nothing goes by --transport {transport}")
        return LocalDevice()
    address: tuple[str, int] | None = None
    if _VIRTUAL.match(chosen):
        address = _guest_address(chosen)
    elif chosen.startswith("tcp:") or transport == "direct":
        address = parse_address(chosen)
    if address is None:
        return ServerDevice(chosen)
    if transport == "server":
        return ServerDevice(connect_by_server(*address), chosen)
    return DirectDevice(*address, chosen)


def available() -> Iterator[ListedDevice]:
    """Virtual devices that run, then what the adb server lists, if one runs.

    A virtual device that the server is connected to as well is named once, by its own name.
    """
    from lmk import virtual  # late: only this needs it, and it brings QEMU's set-up along

    guests = sorted(virtual.running(), key=lambda guest: guest.name)
    for guest in guests:
        properties = {"transport": "direct", "address": f"127.0.0.1:{guest.port}"}
        yield ListedDevice(guest.name, "device", properties)
    known = {f"{host}:{guest.port}" for guest in guests for host in ("127.0.0.1", "localhost")}
    for listed in list_devices() or []:
        if listed.serial not in known:
            yield ListedDevice(
                listed.serial, listed.state, {"transport": "server", **listed.properties}
            )


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
    """The one device there is."""
    devices = list(available())
    names = [device.serial for device in devices if device.state == "device"]
    if len(names) == 1:
        return names[0]
    if names:
        raise UsageError(
            f"several devices ({', '.join(names)}): choose one with -s SERIAL or $ANDROID_SERIAL"
        )
    others = ", ".join(f"{device.serial} is {device.state}" for device in devices)
    raise UsageError(
        "no device"
        + (f" that can be used ({others})" if others else "")
        + ": start one with `lmk virtual up`, or name one with -s SERIAL (as `adb devices` calls "
        "it; tcp:HOST:PORT for an adbd that listens there; local for this machine) or "
        "$ANDROID_SERIAL"
    )


def _guest_address(serial: str) -> tuple[str, int]:
    from lmk import virtual

    guest = virtual.find(serial)
    if guest is None:
        others = ", ".join(sorted(running.name for running in virtual.running()))
        raise UsageError(
            f"{serial} is not running: start it with `lmk virtual up {serial}`"
            + (f" (running: {others})" if others else "")
        )
    return "127.0.0.1", guest.port
