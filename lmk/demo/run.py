# SPDX-License-Identifier: Apache-2.0
"""The demo itself: population, attach, growth, detach, and what came of it."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console

import lmk
from lmk import progress
from lmk.build import Bundle
from lmk.demo.display import LiveReports
from lmk.demo.guard import limit_victims, refuse_if_unsafe
from lmk.device.interface import Device
from lmk.errors import LmkError, UnsupportedError
from lmk.policy import Policy
from lmk.proto.record_pb2 import Hello
from lmk.workload.android import FOREGROUND, Scene, android_like
from lmk.workload.conversation import Event
from lmk.workload.population import Population
from lmk.workload.signal_trace import SignalTrace
from lmk.workload.trial import Reports, Verdict, judge
from lmk.workload.vitals import Vitals, read_vitals

__all__ = ["Performance", "perform"]

#: Between two looks at memory while the app grows.
_LOOK = timedelta(seconds=0.5)
#: How long the growth may take in all: a device that swaps is slow, one that hangs is not ours.
_GROWTH_PATIENCE_S = 120.0
#: After the growth: kills under way end, and the app is seen to live on.
_AFTER = timedelta(seconds=3)
#: For the last reports: the policy's kill_timeout_ms and some more.
_LAST_REPORTS = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Performance:
    """What the demo showed.

    :ivar before: memory before the population was there; `full` once it was.
    :ivar grown_mb: what the foreground app grew by.
    """

    hello: Hello
    policy: Policy
    scene: Scene
    before: Vitals
    full: Vitals
    after: Vitals
    grown_mb: int
    verdict: Verdict


def perform(
    device: Device, policy: Policy, console: Console, *, own_guest: bool, bundle: Bundle
) -> Performance:
    """Play the demo on `device`; whatever happens, it is detached and empty afterwards.

    :param own_guest: a virtual device, where any process may be a victim.
    :param console: for the live table and what is said on the way.
    :raises lmk.errors.LmkError: it could not be played; a bad result is no error here.
    """
    refuse_if_unsafe(device, own_guest=own_guest)
    if not own_guest:
        policy = limit_victims(policy)
    before = read_vitals(device)
    scene = android_like(before.total_kb, before.available_kb, before.swap_total_kb)
    grown = _Growth(scene)
    with progress.steps(f"Starting {len(scene.rows)} processes on {device.serial}"):
        population = Population(device, scene.rows, bundle=bundle, on_event=grown.follow)
    with population:
        if not population.protected:
            raise LmkError(f"{device.serial}: the population's parent could not protect itself")
        full = read_vitals(device)
        console.print(
            f"{len(population.alive)} processes hold "
            f"{sum(row.size_kb for row in scene.rows) / 1024:.0f} MB: "
            f"{full.available_kb / 1024:.0f} of {full.total_kb / 1024:.0f} MB are available, "
            f"{(full.swap_total_kb - full.swap_free_kb) / 1024:.0f} of "
            f"{full.swap_total_kb / 1024:.0f} MB swap in use.",
            highlight=False,
        )
        with contextlib.ExitStack() as traced, lmk.attach(device, policy, bundle=bundle) as session:
            trace = None
            # Without tracefs the order is the one in which they ended.
            with contextlib.suppress(UnsupportedError):
                trace = traced.enter_context(SignalTrace(device))
            console.print(
                f"\n{FOREGROUND} (adj 0) grows by {scene.growth_mb} MB "
                f"at {scene.rate_mb_per_s} MB/s:\n",
                highlight=False,
            )
            with LiveReports(console, _uptime_ns(device)) as live:
                reports = Reports(session, live.show)
                _grow(device, population, scene, live, grown)
                deaths = [death for death in population.deaths if death.killed]
                seen = reports.await_count(len(deaths), _LAST_REPORTS)
            sent = trace.read() if trace else []
            hello = session.hello
        after = read_vitals(device)
        lives, deaths = list(population.lives), list(population.deaths)
    return Performance(
        hello=hello,
        policy=policy,
        scene=scene,
        before=before,
        full=full,
        after=after,
        grown_mb=int(grown.now_mb),
        verdict=judge(
            lives,
            deaths,
            seen,
            foreground=FOREGROUND,
            kernel_oom_kills=after.kernel_oom_kills - before.kernel_oom_kills,
            sent=sent,
        ),
    )


def _uptime_ns(device: Device) -> int:
    """CLOCK_BOOTTIME of the device, to 10 ms."""
    return int(float(device.read_file("/proc/uptime").split()[0]) * 1e9)


class _Growth:
    """How far the foreground app is, from the population's events."""

    def __init__(self, scene: Scene) -> None:
        self._begin_kb = next(row.size_kb for row in scene.rows if row.name == FOREGROUND)
        self.now_mb = 0.0
        self.over = False

    def follow(self, event: Event) -> None:
        if event.get("name") != FOREGROUND:
            return
        if event["event"] in ("growing", "sized"):
            self.now_mb = (int(event["kb"]) - self._begin_kb) / 1024
        if event["event"] in ("sized", "exit", "gone"):
            self.over = True


def _grow(
    device: Device, population: Population, scene: Scene, live: LiveReports, grown: _Growth
) -> None:
    population.grow(FOREGROUND, scene.growth_mb, scene.rate_mb_per_s)
    end = time.monotonic() + _GROWTH_PATIENCE_S
    while not grown.over and time.monotonic() < end:
        population.listen(_LOOK)
        live.state(FOREGROUND, grown.now_mb, scene.growth_mb, read_vitals(device))
    end = time.monotonic() + _AFTER.total_seconds()
    while time.monotonic() < end:
        population.listen(_LOOK)
        live.state(FOREGROUND, grown.now_mb, scene.growth_mb, read_vitals(device))
