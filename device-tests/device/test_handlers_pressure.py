# SPDX-License-Identifier: Apache-2.0
"""Real memory pressure against the handlers alone: no agent runs, the pins are all there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loaded import Loaded, calm_policy, loaded

from lmk.device.interface import Device
from lmk.policy import Policy, load

pytestmark = [pytest.mark.virtual_only, pytest.mark.in_kernel]

_ADJ = (950, 900, 850, 800)
_GROWER_ADJ = 750


def pressed_policy() -> Policy:
    """The default one, for this test's processes alone."""
    policy = load("default")
    policy.only_uids.extend(calm_policy().only_uids)
    return policy


@pytest.fixture
def handlers(each_device: Device) -> Iterator[Loaded]:
    with loaded(each_device) as handlers:
        yield handlers


def oom_kills(handlers: Loaded) -> int:
    """``oom_kill`` of /proc/vmstat."""
    text = handlers.root.device.read_file("/proc/vmstat").decode()
    return int(dict(line.split() for line in text.splitlines())["oom_kill"])


def test_frees_memory_in_order_before_the_kernel_runs_out(handlers: Loaded) -> None:
    before = oom_kills(handlers)
    handlers.load(pressed_policy())
    cached = {handlers.start("hold", adj=adj, mb=48).pid: adj for adj in _ADJ}
    # More than there is: the last to die is who grows, since all others are gone by then.
    grower = handlers.start("grow", adj=_GROWER_ADJ, mb=2000, more="150")
    died = handlers.wait_for("memory_back", len(_ADJ) + 1)
    kills = handlers.kills(len(_ADJ) + 1)
    assert [kill["victim"]["adj"] for kill in kills] == [*_ADJ, _GROWER_ADJ]
    assert {kill["victim"]["pid"] for kill in kills} == {*cached, grower.pid}
    assert len(died) == len(kills)
    for kill in kills:
        assert kill["verdict"]["reason"] != 0
        assert kill["victim"]["adj"] >= kill["verdict"]["floor"]
        assert kill["carrier"] != 0
    assert oom_kills(handlers) == before
    counters = handlers.counters()
    assert counters["ring_lost"] == 0
    # A closed gate is not a fault, a refused or stale kill of a healthy process would be.
    assert counters["outcome"]["refused"] == counters["outcome"]["stale"] == 0
