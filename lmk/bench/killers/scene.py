# SPDX-License-Identifier: Apache-2.0
"""What the killers are put to: ten cached apps among a phone's processes, and three loads.

Sizes are for a device that has 400 MB available once it has booted (a guest with 512 MB); on
another they grow and shrink with what that has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from lmk.bench.killers.reader import Reader
from lmk.bench.killers.watch import Watch
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.workload.android import FIRST_UID, LAST_UID
from lmk.workload.population import Population, Row

__all__ = ["CACHED", "CACHED_ADJ", "FOREGROUND", "LOADS", "Load", "Played", "Scene", "Stage"]

#: The app in front: it grows in bursts.
FOREGROUND = "com.example.camera"
#: What leaks: something that the user notices, so that not the first kill ends the leak.
LEAKING = "com.example.music"
#: Where Android's cached apps begin.
CACHED_ADJ = 900
#: How many cached apps there are.
CACHED = 10

_BASE_KB = 400 * 1024
# name, adj, MB, milliseconds to go round its memory (0: idle); the longest unused first
_ROWS = (
    *(
        (f"com.example.cached{number}", CACHED_ADJ + 10 * (CACHED - number), size_mb, 0)
        for number, size_mb in enumerate((18, 28, 22, 32, 20, 24, 30, 21, 26, 22), 1)
    ),
    ("com.example.backup", 800, 6, 0),
    ("com.example.browser", 700, 16, 0),
    ("com.example.launcher", 600, 10, 0),
    ("com.example.sync", 500, 5, 10_000),
    (LEAKING, 200, 7, 5_000),
    ("com.example.keyboard", 100, 6, 5_000),
    ("com.example.phone", -800, 5, 10_000),
    ("com.example.systemui", -800, 14, 5_000),
    ("com.example.system", -900, 20, 5_000),
    (FOREGROUND, 0, 16, 1_000),
)
_SMALLEST_KB = 2048
#: Of the probe and of the reader.
PROBE_UID, READER_UID = LAST_UID, LAST_UID - 1

#: A growth that takes longer has failed: the device does nothing but reclaim.
_PATIENCE = timedelta(seconds=60)
#: Between two looks at the device's clock; and how long a host that is busy itself waits.
_LOOK, _HOST_PATIENCE = timedelta(seconds=0.2), timedelta(minutes=10)
_HOLD = timedelta(seconds=1)
_REST = timedelta(seconds=1.5)
_THRASH = timedelta(seconds=8)


@dataclass(frozen=True, slots=True)
class Scene:
    """A population and how hard it is pressed.

    :ivar rows: in the order in which they are started.
    :ivar burst_mb: what the app in front grows by in a burst.
    :ivar file_kb: of the load *thrash*: what an app in front reads round and round.
    :ivar probe_kb: memory that the probe touches in each round.
    """

    rows: tuple[Row, ...]
    burst_mb: int
    leak_mb: int
    file_kb: int
    probe_kb: int

    @staticmethod
    def of(available_kb: int, burst_mb: int | None = None) -> Scene:
        """The scene for a device with that much available before anything is started.

        :param burst_mb: None is 190 MB on a device with 400 MB.
        """
        scale = available_kb / _BASE_KB
        rows = tuple(
            Row(
                name,
                FIRST_UID + index,
                adj,
                size_kb=max(_SMALLEST_KB, int(size_mb * 1024 * scale)),
                touch_ms=touch_ms,
            )
            for index, (name, adj, size_mb, touch_ms) in enumerate(_ROWS)
        )
        return Scene(
            rows,
            burst_mb=burst_mb or max(16, int(190 * scale)),
            leak_mb=max(16, int(240 * scale)),
            file_kb=max(8192, int(120 * 1024 * scale)),
            probe_kb=max(4096, int(16 * 1024 * scale)),
        )


@dataclass(slots=True)
class Played:
    """How a load went.

    :ivar growths_s: seconds of each growth that came to its end.
    :ivar unfinished: growths that did not: it died, or it took over a minute.
    """

    growths_s: list[float] = field(default_factory=list)
    unfinished: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a load is played.

    :ivar file: for the load *thrash*.
    """

    device: Device
    population: Population
    watch: Watch
    scene: Scene
    file: str
    bundle: Bundle | None = None

    def wait(self, duration: timedelta) -> None:
        """Take in what happens for that long, by the device's clock."""
        self.watch.wait(duration, lambda: self.population.listen(timedelta(0)))


@dataclass(frozen=True, slots=True)
class Load:
    """A load by name.

    :ivar play: one event of it.
    :ivar events: how many of them make a run, unless another number is asked for.
    :ivar reads_file: needs a file on a disk.
    """

    name: str
    play: Callable[[Stage, Played], None]
    events: int
    reads_file: bool = False


def _burst(stage: Stage, played: Played) -> None:
    """The app in front grows at 95 MB/s (a camera that opens), stays a second, gives it back."""
    burst_mb = stage.scene.burst_mb
    _grow(stage, FOREGROUND, burst_mb, max(8, burst_mb // 2), played)
    stage.wait(_HOLD)
    _shrink(stage, FOREGROUND)
    stage.wait(_REST)


def _leak(stage: Stage, played: Played) -> None:
    """A service that the user notices grows slowly, far beyond what there is, then goes."""
    leak_mb = stage.scene.leak_mb
    _grow(stage, LEAKING, leak_mb, max(2, leak_mb // 16), played)
    stage.wait(_HOLD)
    _shrink(stage, LEAKING)
    stage.wait(_REST)


def _thrash(stage: Stage, played: Played) -> None:
    """An app in front reads more of a file than there is room for, while another grows a little."""
    burst_mb = stage.scene.burst_mb // 2
    with Reader(
        stage.device,
        uid=READER_UID,
        file=stage.file,
        size_kb=stage.scene.file_kb,
        each_round=timedelta(seconds=2),
        bundle=stage.bundle,
    ):
        _grow(stage, FOREGROUND, burst_mb, max(2, burst_mb // 4), played)
        stage.wait(_THRASH)
    _shrink(stage, FOREGROUND)
    stage.wait(_REST)


def _grow(stage: Stage, name: str, size_mb: int, rate_mb_per_s: int, played: Played) -> None:
    """Have `name` grow, and wait until it has, died, or is given up."""
    stage.wait(timedelta(0))
    begin_ns, patience_ns = stage.watch.now_ns, _PATIENCE.total_seconds() * 1e9
    grown: bool | None = None if name in stage.population.alive else False
    if grown is None:
        stage.population.grow(name, size_mb, rate_mb_per_s)
    while grown is None:
        try:
            grown = stage.population.await_sized(name, _LOOK)
        except TimeoutError:
            stage.wait(timedelta(0))
            if stage.watch.now_ns - begin_ns > patience_ns:
                grown = False
    stage.wait(timedelta(0))
    if grown:
        played.growths_s.append((stage.watch.now_ns - begin_ns) / 1e9)
    else:
        played.unfinished += 1


def _shrink(stage: Stage, name: str) -> None:
    """Have it give back what it grew by, if it lived."""
    if name in stage.population.alive:
        stage.population.shrink(name, _HOST_PATIENCE)


LOADS = {
    load.name: load
    for load in (
        Load("burst", _burst, 2),
        Load("leak", _leak, 1),
        Load("thrash", _thrash, 1, reads_file=True),
    )
}
