# SPDX-License-Identifier: Apache-2.0
"""One connection to adbd: CNXN and AUTH, by adb-shell."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from adb_shell.adb_device import AdbDevice
from adb_shell.exceptions import (
    AdbTimeoutError,
    InvalidChecksumError,
    InvalidCommandError,
    InvalidResponseError,
    TcpTimeoutException,
)

from lmk.device.keys import host_keys, key_directory
from lmk.device.packets import Deadline, LinkClosedError, PacketTransport
from lmk.errors import ProtocolError, TransientError, UsageError

__all__ = ["Link", "connect_link"]

_LOG = logging.getLogger(__name__)
_RETRY_PAUSES_S = (0.02, 0.05, 0.1, 0.2)


@dataclass(slots=True)
class Link:
    """A connection past CNXN; one stream at a time runs on it.

    :ivar features: what this adbd says it can do: ``shell_v2``, ``stat_v2``…
    :ivar last_id: the last stream number used on it.
    :ivar idle_since: on the monotonic clock, in seconds.
    """

    transport: PacketTransport
    features: frozenset[str]
    last_id: int = 0
    idle_since: float = 0.0


def connect_link(
    host: str, port: int, name: str, step_s: float, accept_s: float, deadline: Deadline
) -> Link:
    """Connect; again when adbd hangs up before its first word.

    adbd names a connection by its file descriptor and refuses one whose descriptor was
    just that of another that it has not quite forgotten (AOSP adb/transport.cpp,
    "socket transport already in list"). Nothing has run by then, so another try is safe.

    :param name: how errors call the device.
    :param step_s: limit for the TCP connection, and for adbd's first answer.
    :param accept_s: how long a user has to accept this host's key on the screen.
    :raises lmk.errors.LmkError: nothing there, not adbd, not authorised.
    """
    for pause_s in _RETRY_PAUSES_S:
        try:
            return _handshake(host, port, name, step_s, accept_s, deadline)
        except _HungUpError:
            time.sleep(pause_s)
    return _handshake(host, port, name, step_s, accept_s, deadline)


class _HungUpError(TransientError):
    """The device ended the connection before its first word."""


def _handshake(
    host: str, port: int, name: str, step_s: float, accept_s: float, deadline: Deadline
) -> Link:
    left = deadline.remaining_s()
    if left is not None:
        step_s = max(0.001, min(left, step_s))
    transport = PacketTransport(host, port, name)
    prompted = False

    def on_prompt(_: object) -> None:
        nonlocal prompted
        prompted = True
        _LOG.warning("%s: accept this host's key on the device's screen", name)

    try:
        AdbDevice(transport, banner="lmk").connect(
            rsa_keys=host_keys(),
            transport_timeout_s=step_s,
            read_timeout_s=step_s,
            auth_timeout_s=accept_s,
            auth_callback=on_prompt,
        )
    except BaseException as error:
        transport.close()
        told = _explain(error, name, prompted, step_s)
        if told is error:
            raise
        raise told from error
    return Link(transport, _features(transport.banner))


def _explain(error: BaseException, name: str, prompted: bool, step_s: float) -> BaseException:
    """What a failed handshake means to the user; `error` itself when it says so already."""
    silent = isinstance(error, TcpTimeoutException | AdbTimeoutError)
    hung_up = isinstance(error, LinkClosedError)
    if prompted and (silent or hung_up):
        return UsageError(
            f"{name}: unauthorized: accept this host's key on the device's screen, "
            f"then try again (the key is in {key_directory()})",
            serial=name,
        )
    if hung_up:
        words = "offline: it hung up before it said it is adbd"
        return _HungUpError(f"{name}: {words}", serial=name)
    if silent:
        words = f"offline: it took the connection but said nothing for {step_s:g} s"
        return TransientError(f"{name}: {words}", serial=name)
    if isinstance(error, InvalidCommandError | InvalidResponseError | InvalidChecksumError):
        words = "what answers there is not adbd"
        return ProtocolError(f"{name}: {words}", detail=str(error), serial=name)
    return error


def _features(banner: bytes) -> frozenset[str]:
    """The features in a banner ``device::ro.product.name=…;features=shell_v2,cmd``."""
    text = banner.decode("utf-8", "replace").rstrip("\0")
    for prop in text.partition("::")[2].split(";"):
        key, _, value = prop.partition("=")
        if key == "features":
            return frozenset(value.split(","))
    return frozenset()
