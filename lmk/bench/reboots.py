# SPDX-License-Identifier: Apache-2.0
"""``tools/bench take-over --reboots N``: who kills after a reboot, whatever ran before it.

A virtual device that is built like a phone, with lmk installed for good (``lmk package
--init-rc``) and a /data that it keeps, is rebooted over and over. Before each one of three things
holds, and every second time three reboots are power cuts:

- *session*: the install is off (``persist.lmk.enabled`` 0), a host is attached with no lease in
  lmkd's place. Afterwards lmkd is the killer.
- *installed*: the install is on. Afterwards lmk is.
- *agent killed*: the same, and its agent is killed just before, with its guardian stopped.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import lmk
from lmk import package, progress, virtual
from lmk.bench.figures import Entry, Figure, Limit, distribution, value
from lmk.bench.phone import rebooted
from lmk.bench.take_over import harmless, killers
from lmk.bench.target import entry
from lmk.build import Bundle, build
from lmk.control import parse_session_file
from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.device.root import Root, find_root
from lmk.errors import LmkError
from lmk.proto.record_pb2 import Hello
from lmk.virtual import Guest
from lmk.virtual.kernels import parse
from lmk.virtual.phone import write_phone
from lmk.workload.vitals import Vitals, read_vitals

__all__ = ["bench_reboots"]

_KINDS = ("session", "installed", "agent killed")
_SWITCH = "persist.lmk.enabled"
_PATIENCE = timedelta(minutes=10)


def bench_reboots(
    reboots: int, *, bundle: Bundle | None = None, kernel: str | None = None
) -> tuple[Entry, list[str]]:
    """`reboots` of a virtual device; how long each took until its one killer was there.

    :param bundle: default: built from the sources.
    :raises lmk.errors.LmkError: a state before a reboot did not come about.
    """
    name = f"virtual:{kernel}" if kernel else "virtual"
    abi = parse(name)[1].abi.machine
    bundle = bundle or build([abi])
    with TemporaryDirectory(prefix="lmk-reboots-") as scratch:
        folder = Path(scratch)
        package.write(folder / "package", package.init_rc(bundle, abi, harmless(), 16))
        guest = virtual.up(
            f"{name}#bench-{os.getpid()}",
            system=[folder / "package", write_phone(folder / "phone", abi, {_SWITCH: "0"})],
            data=folder / "data",
            first=True,
            detached=False,
        )
        trial = _Trial(guest, bundle)
        try:
            with progress.steps(f"take-over: {reboots} reboots of {guest.name}") as task:
                for number in range(reboots):
                    kind, orderly = _KINDS[number % 3], number // 3 % 2 == 0
                    way = "reboot" if orderly else "power cut"
                    task.step(f"{number + 1} of {reboots}: {kind}, {way}")
                    with progress.unsaid():
                        seen = trial.once(kind, orderly)
                    task.done(seen)
            return trial.entry(reboots)
        finally:
            trial.guest.down()


@dataclass
class _Trial:
    guest: Guest
    bundle: Bundle
    faults: list[str] = field(default_factory=list)
    #: By who it was: seconds since the kernel began.
    times_s: dict[str, list[float]] = field(default_factory=lambda: {"lmkd": [], "lmk": []})

    def once(self, kind: str, orderly: bool) -> str:
        """One reboot; who was the one killer after it, and when."""
        with connect(self.guest.name) as device:
            self._prepare(device, find_root(device), kind)
        self.guest = rebooted(self.guest, orderly=orderly, first=True)
        wanted = "lmkd" if kind == "session" else "lmk"
        with connect(self.guest.name) as device:
            root = find_root(device)
            seconds = _seen_s(root, wanted)
            if seconds is None:
                found = sorted(killers(root)) or "nobody"
                self.faults.append(f"{kind}: {found} would kill after the reboot, not {wanted}")
                return "fault"
            self._look_again(root, kind, wanted)
        self.times_s[wanted].append(seconds)
        return f"{wanted}, {seconds:.1f} s after the kernel began"

    def _prepare(self, device: Device, root: Root, kind: str) -> None:
        switch = int(kind != "session")
        # Set again to what it is, it would end the session that is attached next.
        root.run(f'[ "$(getprop {_SWITCH})" = {switch} ] || setprop {_SWITCH} {switch}')
        wanted = "lmkd" if kind == "session" else "lmk"
        if _seen_s(root, wanted) is None:
            raise LmkError(f"{device.serial}: {wanted} is not the one killer before the reboot")
        if kind == "session":
            root.run("while pidof lmk-agent; do sleep 0.1; done", timeout=_PATIENCE)
            lmk.attach(
                device,
                harmless(),
                bundle=self.bundle,
                lease=None,
                replace_lmkd=True,
                prockill_bytes=16,
            ).keep()
            if killers(root) != {"lmk"}:
                raise LmkError(f"{device.serial}: lmk is not the one killer once attached")
        elif kind == "agent killed":
            file = parse_session_file(root.run("cat /data/lmk/session").text, "/data/lmk")
            guardian = "$(sed -n s/^guardian_pid=//p /data/lmk/session)"
            root.run(f"kill -STOP {guardian} && kill -9 {file.agent_pid}")

    def _look_again(self, root: Root, kind: str, wanted: str) -> None:
        """What was seen once stays: nothing else is on its way."""
        state = root.run("getprop init.svc.lmkd").text.strip()
        if state != ("running" if wanted == "lmkd" else "stopped") or killers(root) != {wanted}:
            self.faults.append(f"{kind}: {wanted} was the one killer, then init.svc.lmkd {state}")

    def entry(self, reboots: int) -> tuple[Entry, list[str]]:
        with connect(self.guest.name) as device:
            vitals: Vitals = read_vitals(device)
            hello = self._hello(device)
        figures: dict[str, Figure] = {
            f"{who}_after_s": distribution("s", times) for who, times in self.times_s.items()
        }
        figures["reboots"] = value("reboots", reboots)
        figures["not_one_killer"] = value("reboots", len(self.faults), Limit("value", 0))
        return entry(device, hello, vitals, figures), self.faults

    def _hello(self, device: Device) -> Hello:
        with lmk.attach(
            device, harmless(), bundle=self.bundle, dry_run=True, lease=timedelta(minutes=5)
        ) as session:
            return session.hello


def _seen_s(root: Root, wanted: str) -> float | None:
    """When `wanted` was seen to be the only killer, in seconds since the kernel began."""
    end = time.monotonic() + _PATIENCE.total_seconds()
    while time.monotonic() < end:
        if killers(root) == {wanted}:
            return float(root.run("cat /proc/uptime").text.split()[0])
        time.sleep(0.05)
    return None
