# SPDX-License-Identifier: Apache-2.0
"""Devices by way of the adb server: the server transport.

Whatever ``adb devices`` shows is reached here: USB, Wi-Fi, emulators. The server owns
connections, keys and pairing; each operation is one connection to its smart socket
(:mod:`lmk.device.smart_socket`), which becomes the service that was asked for. Nothing is
forwarded, so no port is taken and none is left behind.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lmk.device.adbd import AdbdDevice
from lmk.device.packets import Deadline
from lmk.device.service import ServiceRefusedError
from lmk.device.smart_socket import RefusedRequestError, SmartSocket, server_address
from lmk.device.socket_service import SocketService
from lmk.errors import LmkError, TransientError, UsageError

__all__ = ["ListedDevice", "ServerDevice", "connect_by_server", "list_devices"]

_CONNECT_S = 10.0
_START_S = 20.0
#: SERIAL, a state of one or more words, then key:value pairs.
_LISTED = re.compile(
    r"^(?P<serial>\S.*?)\s+(?P<state>no permissions.*?|[a-z]+)(?P<more>(?:\s+[a-z_]+:\S+)*)\s*$"
)
_LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class ListedDevice:
    """A line of ``adb devices -l``.

    :ivar state: ``device`` when it can be used; ``offline``, ``unauthorized``, …
    :ivar properties: ``product``, ``model``, ``device``, ``transport_id``, …
    """

    serial: str
    state: str
    properties: dict[str, str]


def list_devices(*, start: bool = False) -> list[ListedDevice] | None:
    """What the adb server knows; None when none runs.

    :param start: start the server of this machine when it does not run.
    :raises lmk.errors.LmkError: something else listens there, or adb does not start.
    """
    try:
        text = _query("host:devices-l", "the adb server", start=start)
    except ConnectionRefusedError:
        return None
    return list(parse_devices(text))


def parse_devices(text: str) -> Iterator[ListedDevice]:
    """The devices in an answer to ``host:devices-l``."""
    for line in text.splitlines():
        found = _LISTED.match(line)
        if found:
            pairs = (pair.partition(":") for pair in found["more"].split())
            more = {key: value for key, _, value in pairs}
            yield ListedDevice(found["serial"], found["state"].strip(), more)


def connect_by_server(host: str, port: int) -> str:
    """Have the adb server connect to an adbd that listens on TCP; returns the server's name for it.

    :raises lmk.errors.TransientError: the server does not get through.
    """
    serial = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    said = _query(f"host:connect:{serial}", serial, start=True)
    if not said.startswith(("connected to", "already connected to")):
        raise TransientError(f"{serial}: {said.strip()}", serial=serial)
    return serial


class ServerDevice(AdbdDevice):
    """A device of the adb server.

    :param name: how ``adb devices`` calls it.
    :param serial: the name the user gave it by, for errors; default: `name`.
    :raises lmk.errors.UsageError: no such device, unauthorised, no server and no adb to start it.
    :raises lmk.errors.TransientError: it is offline.
    """

    def __init__(self, name: str, serial: str | None = None) -> None:
        super().__init__(serial or name)
        self._name = name
        self._lock = threading.Lock()
        self._services: set[SocketService] = set()
        self._closed = False
        try:
            answer = _query(f"host-serial:{name}:features", self._serial, start=True)
        except RefusedRequestError as error:
            raise _explained(error, name, self._serial) from error
        self._features = frozenset(answer.strip().split(","))

    @property
    def transport(self) -> str:
        """``server``."""
        return "server"

    def close(self) -> None:
        """Close every stream."""
        with self._lock:
            self._closed = True
            services = list(self._services)
        for service in services:
            service.close()

    def _open(self, service: str, deadline: Deadline) -> SocketService:
        with self._lock:
            if self._closed:
                raise UsageError(
                    f"{self._serial}: this device object is closed", serial=self._serial
                )
        link = _connected(self._serial, deadline, start=True)
        try:
            try:
                link.ask(f"host:transport:{self._name}", deadline)
            except RefusedRequestError as error:
                raise _explained(error, self._name, self._serial) from error
            try:
                link.ask(service, deadline)
            except RefusedRequestError as error:
                label = service if len(service) <= 80 else service[:77] + "..."
                raise ServiceRefusedError(
                    f"{self._serial}: the device refused {label}",
                    detail=str(error),
                    serial=self._serial,
                ) from error
        except BaseException:
            link.close()
            raise
        opened = SocketService(link.detach(), service, self._serial, self._forget)
        with self._lock:
            self._services.add(opened)
        return opened

    def _forget(self, service: SocketService) -> None:
        with self._lock:
            self._services.discard(service)


# Below --------------------------------------------------------------------------------------


def _query(request: str, name: str, *, start: bool) -> str:
    deadline = Deadline(_CONNECT_S)
    with _connected(name, deadline, start=start) as link, _as_transient(name):
        link.ask(request, deadline)
        return link.answer(deadline).decode("utf-8", "replace")


@contextmanager
def _as_transient(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TransientError(f"{name}: the adb server hung up: {error}", serial=name) from error


def _connected(name: str, deadline: Deadline, *, start: bool) -> SmartSocket:
    """A connection to the server, which is started when `start` allows it and it is this machine's.

    :raises ConnectionRefusedError: none runs, and none was to be started.
    """
    address = server_address()
    try:
        return SmartSocket(address, name, deadline)
    except ConnectionRefusedError:
        if not start:
            raise
    host, port = address
    program = shutil.which("adb")
    if host not in _LOCAL or program is None:
        raise UsageError(
            f"{name}: no adb server runs at {host}:{port}"
            + ("; `adb start-server` starts one" if host in _LOCAL else "")
            + (" (adb is not installed: apt-get install adb)" if program is None else ""),
            serial=name,
        )
    # It leaves a daemon behind: nothing of ours may be held open by it.
    try:
        subprocess.run(
            [program, "-P", str(port), "start-server"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=_START_S,
        )
        return SmartSocket(address, name, Deadline(_CONNECT_S))
    except (OSError, subprocess.SubprocessError) as error:
        raise TransientError(
            f"{name}: `adb start-server` brings no server to {host}:{port}: {error}", serial=name
        ) from error


def _explained(error: RefusedRequestError, name: str, serial: str) -> LmkError:
    """What the server's refusal of a device means to the user."""
    said = str(error).removeprefix(f"{serial}: ")
    if "unauthorized" in said:
        return UsageError(
            f"{serial}: unauthorized: accept this host's key on the device's screen, "
            "then try again",
            detail=said,
            serial=serial,
        )
    if "not found" in said or "no devices" in said:
        known = [device.serial for device in list_devices() or [] if device.serial != name]
        others = f"; it has {', '.join(known)}" if known else "; it has none"
        return UsageError(
            f"{serial}: the adb server knows no device of that name{others}", serial=serial
        )
    return TransientError(f"{serial}: {said.removeprefix('device ')}", serial=serial)
