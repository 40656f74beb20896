# SPDX-License-Identifier: Apache-2.0
"""The virtual device: QEMU, a stock Debian kernel, busybox and the real adbd.

::

    guest = lmk.virtual.up("virtual:7.3")
    try:
        ...                       # guest.port leads to its adbd
    finally:
        guest.down()

Names are ``virtual[:KERNEL][#INSTANCE]``: see :func:`lmk.virtual.kernels.parse`.
"""

from __future__ import annotations

from lmk.virtual.boot import BootError, up
from lmk.virtual.guest import (
    Guest,
    Options,
    find_record,
    forget,
    place,
    running,
    unreadable,
)
from lmk.virtual.kernels import names, parse

__all__ = [
    "BootError",
    "Guest",
    "Options",
    "down",
    "find",
    "names",
    "parse",
    "place",
    "running",
    "unreadable",
    "up",
]


def find(name: str) -> Guest | None:
    """The guest `name` (any spelling that :func:`parse` knows) when it is up, else None.

    :raises lmk.errors.UsageError: no such name.
    """
    guest = find_record(place(parse(name)[0]))
    return guest if guest is not None and guest.booted else None


def down(name: str) -> bool:
    """End the guest `name` and remove what is left of it: a failed boot leaves its logs.

    :return: whether there was a guest.
    :raises lmk.errors.UsageError: no such name.
    """
    full_name, _kernel = parse(name)
    guest = find_record(place(full_name))
    if guest is not None:
        guest.down()
        return True
    forget(full_name)
    return False
