# SPDX-License-Identifier: Apache-2.0
"""The population of one run, and what its parent said of who lived and died."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lmk.build import Bundle
from lmk.closing import Closing
from lmk.device.interface import Device
from lmk.workload.conversation import Event
from lmk.workload.population import Population, Row

__all__ = ["Cast"]


class Cast(Closing):
    """A population that runs while the block does.

    :ivar followers: each is called with each event, from the thread that waits for it.
    :ivar sizes_kb: of processes that have ended, by pid and start time: how much they had mapped.
    """

    def __init__(
        self, device: Device, rows: Iterable[Row], *, bundle: Bundle | None = None
    ) -> None:
        self.followers: list[Callable[[Event], None]] = []
        self.sizes_kb: dict[tuple[int, int], int] = {}
        self.population = Population(device, rows, bundle=bundle, on_event=self._follow)

    def close(self) -> None:
        """End the population. May be called twice."""
        self.population.close()

    def _follow(self, event: Event) -> None:
        if event["event"] == "exit":
            identity = int(event["pid"]), int(event["start_ticks"])
            self.sizes_kb[identity] = int(event["kb"])
        for follower in list(self.followers):
            follower(event)
