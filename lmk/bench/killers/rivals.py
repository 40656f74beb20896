# SPDX-License-Identifier: Apache-2.0
"""Killers that are not lmk: started by ``lmk-bench guard``, which also says what they use."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from lmk import debian
from lmk.bench.killers.cast import Cast
from lmk.bench.killers.registrar import Registrar
from lmk.bench.killers.spec import Spec
from lmk.build import Bundle
from lmk.build.recipe import ABIS
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.errors import LmkError, TransientError, UnsupportedError, UsageError
from lmk.workload.conversation import LEASE, Conversation, Event
from lmk.workload.install import install, install_content

__all__ = ["Cost", "Running", "earlyoom", "kernel", "level", "lmkd"]

_LOG = "/data/lmk/bench-killer.log"
_LMKD_SOCKET = "/dev/socket/lmkd"
_ANSWER = timedelta(seconds=30)
_GONE = timedelta(seconds=30)
#: Half a second after its start, a killer that refused its arguments has ended.
_STARTED = timedelta(seconds=0.5)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a killer has used so far.

    :ivar cpu_ns: of its processes.
    :ivar bpf_ns: of BPF programs, timers and work queues, in whatever process they ran.
    :ivar rss_kb: what its processes hold now.
    """

    cpu_ns: int = 0
    bpf_ns: int = 0
    rss_kb: int = 0


#: A killer that runs: what it has used so far.
Running = Callable[[], Cost]


@contextmanager
def kernel() -> Iterator[Running]:
    """Nothing: the kernel's own OOM killer is there anyway."""
    yield Cost


@contextmanager
def earlyoom(device: Device, spec: Spec, bundle: Bundle | None) -> Iterator[Running]:
    """Debian's earlyoom, as its package starts it; with -m it goes by memory alone.

    On its own it waits until free *swap* is below 10 %, too. A sweep of -m would show
    nothing but that: so there, swap may be anything (-s 100).
    """
    root = find_root(device)
    path = install_content(device, "earlyoom", _debian_program(root, "earlyoom"), root=root)
    # -p: as Debian's service has it. -r 0: it prints no reports that nobody reads.
    arguments = [path, "-p", "-r", "0"]
    if spec.value is not None:
        arguments += ["-m", spec.value, "-s", "100"]
    with _guarded(device, root, bundle, arguments) as guard:
        yield guard.usage


@contextmanager
def level(device: Device, spec: Spec, bundle: Bundle | None) -> Iterator[Running]:
    """``lmk-bench level``: MemAvailable below a share of MemTotal, and process_mrelease."""
    root = find_root(device)
    path = install(device, "lmk-bench", root=root, bundle=bundle)
    arguments = [path, "level"]
    if spec.value is not None:
        arguments += ["--available-below-pct", spec.value]
    with _guarded(device, root, bundle, arguments) as guard:
        yield guard.usage


@contextmanager
def lmkd(
    device: Device, spec: Spec, bundle: Bundle | None, program: Path, cast: Cast
) -> Iterator[Running]:
    """An lmkd binary, with its socket as init gives it and the population registered.

    A value is a property that is set before it starts. The binary brings its libraries, or is
    static; it is told of processes, and nothing else of ActivityManager's.
    """
    root = find_root(device)
    try:
        content = program.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {program}: {error.strerror}") from error
    path = install_content(device, "lmkd", content, root=root)
    before = device.properties().get(spec.field, "") if spec.field else ""
    if spec.value is not None:
        root.run(f"setprop {spec.field} {spec.value}")
    try:
        root.run(f"mkdir -p -m 0755 {_LMKD_SOCKET.rpartition('/')[0]}")
        options = ("--socket", _LMKD_SOCKET)
        with (
            _guarded(device, root, bundle, [path], options) as guard,
            Registrar(device, _LMKD_SOCKET, bundle=bundle) as registrar,
        ):
            for life in cast.population.alive.values():
                registrar.add(life)
            cast.followers.append(registrar.follow)
            try:
                yield guard.usage
            finally:
                cast.followers.remove(registrar.follow)
    finally:
        if spec.value is not None:
            root.run(f"setprop {spec.field} '{before}'")


def _debian_program(root: Root, name: str) -> bytes:
    """``usr/bin/NAME`` of the Debian package NAME, for the device's ABI."""
    machine = root.run("uname -m").text.strip()
    if machine not in ABIS:
        raise UnsupportedError(f"{root.device.serial}: no Debian packages for {machine!r}")
    unpacked = debian.sysroot([name], "bookworm", ABIS[machine].debian)
    return (unpacked / "usr/bin" / name).read_bytes()


@contextmanager
def _guarded(
    device: Device,
    root: Root,
    bundle: Bundle | None,
    program: list[str],
    options: tuple[str, ...] = (),
) -> Iterator[_Guard]:
    path = install(device, "lmk-bench", root=root, bundle=bundle)
    lease = str(int(LEASE.total_seconds()))
    arguments = [path, "guard", "--log", _LOG, "--lease-s", lease, *options, "--", *program]
    with Conversation(device, arguments, root=root) as talk:
        guard = _Guard(root, talk, program[0].rpartition("/")[2])
        guard.await_started()
        try:
            yield guard
        except BaseException:
            # The error that ends the block is the one to hear of.
            with contextlib.suppress(LmkError, TimeoutError):
                guard.quit()
            raise
        guard.quit()


class _Guard:
    """A program that ``lmk-bench guard`` runs."""

    def __init__(self, root: Root, talk: Conversation, name: str) -> None:
        self._root = root
        self._talk = talk
        self._name = name

    def await_started(self) -> None:
        """It runs, and goes on running.

        :raises lmk.errors.LmkError: it ended, with its own words in ``detail``.
        """
        self._await("start", _ANSWER)
        with contextlib.suppress(TimeoutError):
            self._await("exit", _STARTED)

    def usage(self) -> Cost:
        """What it has used; it must not have ended."""
        self._talk.tell("usage")
        event = self._await("usage", _ANSWER)
        return Cost(cpu_ns=int(event["cpu_ns"]), rss_kb=int(event["rss_kb"]))

    def quit(self) -> None:
        """End it, and wait until it has ended."""
        self._talk.tell("quit")
        self._await("exit", _GONE)

    def _await(self, wanted: str, timeout: timedelta) -> Event:
        end = time.monotonic() + timeout.total_seconds()
        serial = self._root.device.serial
        while True:
            event = self._talk.hear(timedelta(seconds=end - time.monotonic()))
            if event is None:
                raise TransientError(f"{serial}: the guard of {self._name} has ended")
            if event["event"] == "error":
                raise LmkError(f"{serial}: {self._name}: {event['message']}", serial=serial)
            if event["event"] == "exit" and not event["asked"]:
                said = self._root.run(f"tail -n 20 {_LOG}").text.strip()
                how = f"signal {event['signal']}" if event["signal"] else f"code {event['code']}"
                last = f": {said.splitlines()[-1]}" if said else ""
                raise LmkError(
                    f"{serial}: {self._name} ended by itself ({how}){last}",
                    detail=said,
                    serial=serial,
                )
            if event["event"] == wanted:
                return event
