# SPDX-License-Identifier: Apache-2.0
"""One run: one killer, one load, a fresh population."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from lmk.bench.killers import rivals
from lmk.bench.killers.attached import attached, policy_of
from lmk.bench.killers.cast import Cast
from lmk.bench.killers.measure import Span, measure
from lmk.bench.killers.probe import Probe
from lmk.bench.killers.rivals import Cost, Running
from lmk.bench.killers.scene import PROBE_UID, Load, Played, Scene, Stage
from lmk.bench.killers.spec import Spec
from lmk.bench.killers.watch import Watch
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.device.root import find_root
from lmk.errors import LmkError, UnsupportedError, UsageError
from lmk.proto.record_pb2 import Hello, KillPath
from lmk.workload.signal_trace import SignalTrace

__all__ = ["DISK", "Run", "Setting", "play"]

#: Of a virtual device that is booted with a disk: what the load *thrash* reads.
DISK = "/dev/vda"
#: The apps are in the background for so long when an event begins; on phones, for minutes.
_SETTLE = timedelta(seconds=12)


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same in all runs.

    :ivar lmkd: an lmkd binary, if there is one.
    """

    device: Device
    scene: Scene
    bundle: Bundle | None = None
    lmkd: Path | None = None
    file: str = DISK


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it.

    :ivar path: how the killer kills: ``in_kernel``, ``assisted``; "" for others than lmk.
    :ivar values: by the keys of :data:`lmk.bench.killers.measure.UNITS`.
    :ivar deaths: each kill, as the record has it.
    :ivar late: each round that missed its deadline: when it was due, and how late it was; ms.
    :ivar events_ms: when each event of the load began. Times are from the begin of the run.
    :ivar faults: what must not happen under any killer of this project, as lines.
    """

    killer: str
    load: str
    path: str
    values: dict[str, float]
    deaths: tuple[dict[str, int | str], ...] = ()
    late: tuple[tuple[int, float], ...] = ()
    events_ms: tuple[int, ...] = ()
    faults: tuple[str, ...] = ()


def play(setting: Setting, spec: Spec, load: Load, events: int | None = None) -> Run:
    """Play `load` under the killer `spec`.

    :param events: how often; None is the load's own number.
    :raises lmk.errors.LmkError: the killer could not be started, or ended by itself.
    """
    device, bundle = setting.device, setting.bundle
    events = events or load.events
    played = Played()
    greeted: list[Hello] = []
    times: list[tuple[int, int]] = []
    _forget_caches(device)
    with (
        Watch(device, bundle=bundle) as watch,
        Cast(device, setting.scene.rows, bundle=bundle) as cast,
        ExitStack() as traced,
        _killer(setting, spec, cast, greeted) as running,
        Probe(device, uid=PROBE_UID, size_kb=setting.scene.probe_kb, bundle=bundle) as probe,
    ):
        trace = None
        # Without tracefs the order is the one in which they ended.
        with suppress(UnsupportedError):
            trace = traced.enter_context(SignalTrace(device, also_term=True))
        stage = Stage(device, cast.population, watch, setting.scene, setting.file, bundle)
        before, begin_ns = running(), _now_ns(device)
        for event in range(events):
            if event:
                cast.population.refill()
            stage.wait(_SETTLE)
            begun_ns = watch.now_ns
            load.play(stage, played)
            times.append((begun_ns, watch.now_ns))
        end_ns, after = _now_ns(device), running()
        # What is told until then belongs to the record, and the killer goes on meanwhile.
        probe.close()
        lives, deaths = list(cast.population.lives), list(cast.population.deaths)
        sent = trace.read() if trace else []
    span = Span(begin_ns, end_ns, tuple(times))
    measured = measure(
        span,
        lives=lives,
        deaths=deaths,
        sizes_kb=cast.sizes_kb,
        record=watch.record,
        latencies=probe.latencies,
        cost=Cost(after.cpu_ns - before.cpu_ns, after.bpf_ns - before.bpf_ns, after.rss_kb),
        sent=sent,
    )
    measured.values["growth_s"] = (
        sum(played.growths_s) / len(played.growths_s) if played.growths_s else 0.0
    )
    measured.values["growths_unfinished"] = played.unfinished
    measured.values["probe_deaths"] = int(probe.died)
    return Run(
        killer=spec.name,
        load=load.name,
        path=_path(greeted),
        values=measured.values,
        deaths=tuple(measured.deaths),
        late=tuple(measured.late),
        events_ms=tuple((at_ns - begin_ns) // 1_000_000 for at_ns, _over_ns in times),
        faults=tuple(measured.faults),
    )


@contextmanager
def _killer(setting: Setting, spec: Spec, cast: Cast, greeted: list[Hello]) -> Iterator[Running]:
    device, bundle = setting.device, setting.bundle
    with ExitStack() as stack:
        if spec.kind == "lmk":
            running = attached(device, policy_of(spec), bundle, greeted)
        elif spec.kind == "earlyoom":
            running = rivals.earlyoom(device, spec, bundle)
        elif spec.kind == "level":
            running = rivals.level(device, spec, bundle)
        elif spec.kind == "lmkd":
            if setting.lmkd is None:
                raise UsageError("no lmkd to measure: give --lmkd PATH")
            running = rivals.lmkd(device, spec, bundle, setting.lmkd, cast)
        else:
            running = rivals.kernel()
        yield stack.enter_context(running)


def _path(greeted: list[Hello]) -> str:
    if not greeted:
        return ""
    return KillPath.Name(greeted[-1].kill_path).removeprefix("KILL_PATH_").lower()


def _now_ns(device: Device) -> int:
    """The device's CLOCK_BOOTTIME, to 10 ms."""
    text = device.run("cat /proc/uptime").text
    try:
        return int(float(text.split()[0]) * 1e9)
    except (IndexError, ValueError) as error:
        raise LmkError(f"{device.serial}: /proc/uptime says {text!r}") from error


def _forget_caches(device: Device) -> None:
    """Every run begins with as little page cache as the first."""
    find_root(device).run("sync; echo 3 > /proc/sys/vm/drop_caches")
