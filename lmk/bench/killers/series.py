# SPDX-License-Identifier: Apache-2.0
"""Runs of several killers under several loads, one after the other in turn: A B A B …"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmk import progress
from lmk.bench.killers.run import Run, Setting, play
from lmk.bench.killers.scene import Load
from lmk.bench.killers.spec import Spec

__all__ = ["run_series"]


def run_series(
    setting: Setting,
    specs: Sequence[Spec],
    loads: Sequence[Load],
    runs: int,
    *,
    events: int | None = None,
    on_run: Callable[[Run], None] = lambda _run: None,
) -> list[Run]:
    """Play each load under each killer `runs` times.

    Whatever the machine does meanwhile, it does to all of them: each round has every killer in
    it, and every second round has them in the opposite order.

    :param events: how often each load presses in a run; None is its own number.
    :param on_run: called with each run as it ends.
    :raises lmk.errors.LmkError: a killer could not be started, or the device has gone.
    """
    done: list[Run] = []
    count = runs * len(loads) * len(specs)
    title = f"killers: {count} runs on {setting.device.serial}"
    with progress.steps(title) as task:
        for number in range(runs):
            order = list(specs) if number % 2 == 0 else list(reversed(specs))
            for load in loads:
                for spec in order:
                    task.step(f"{len(done) + 1} of {count}: {load.name}, {spec.name}")
                    run = play(setting, spec, load, events)
                    done.append(run)
                    on_run(run)
                    task.done(
                        f"{run.values['lost_ms']:.0f} ms lost, "
                        f"{run.values['alive']:.1f} alive, {run.values['kills']:.0f} kills"
                    )
    return done
