# SPDX-License-Identifier: Apache-2.0
"""Who dies first is the same whoever gave oom_score_adj: a process itself, or lmkd's socket."""

from __future__ import annotations

from datetime import timedelta

import pytest
from take_over_parts import replace, until

import lmk
from lmk.bench.killers.registrar import Registrar
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.policy import load
from lmk.proto.policy_pb2 import Order
from lmk.virtual.services import LMKD_SOCKET
from lmk.workload.android import FIRST_UID, LAST_UID
from lmk.workload.population import Population, Row
from lmk.workload.trial import Reports

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only

_PATIENCE = timedelta(seconds=60)
#: Name, oom_score_adj, KiB: two have one adj and differ in size, one is small and the last of all.
_APPS = (
    ("com.example.previous", 700, 9000),
    ("com.example.large", 900, 12000),
    ("com.example.small", 900, 2000),
    ("com.example.service", 500, 16000),
    ("com.example.oldest", 999, 1000),
    ("com.example.visible", 100, 20000),
)


@pytest.fixture
def device(lmkd_device: Device) -> Device:
    return lmkd_device


def rows(adj: int | None) -> list[Row]:
    """Each at its own adj, or all at that one."""
    return [
        Row(name, FIRST_UID + index, own if adj is None else adj, size_kb)
        for index, (name, own, size_kb) in enumerate(_APPS)
    ]


def kill_all(session: lmk.Session, reports: Reports, population: Population) -> list[str]:
    """The names, in the order that they were killed in."""
    names = {life.pid: life.name for life in population.lives}
    before = len(reports.so_far)
    for number in range(1, len(_APPS) + 1):
        assert session.request_kill(0).outcome == "killed"
        assert len(reports.await_count(before + number, _PATIENCE)) == before + number
    return [names[kill.victim.pid] for kill in reports.so_far[before:]]


@pytest.mark.parametrize("order", [Order.ORDER_LARGEST_GAIN, Order.ORDER_OLDEST])
def test_the_order_is_the_same_by_socket_and_by_proc(
    device: Device, root: Root, order: Order.ValueType
) -> None:
    wanted = load("default")
    wanted.scarcity.available_below_pct = 0
    wanted.kills.order = order
    wanted.rest.pageout_min_score = 1001
    wanted.only_uids.add(first=FIRST_UID, last=LAST_UID)
    session = replace(device, wanted)
    reports = Reports(session)
    with Population(device, rows(None)) as population:
        for name, adj, _ in _APPS:
            population.set_adj(name, adj)
        by_proc = kill_all(session, reports, population)
    # None of them says anything of itself: only the socket does.
    with Population(device, rows(0)) as population, Registrar(device, LMKD_SOCKET) as manager:
        alive = population.alive
        for name, adj, _ in _APPS:
            life = alive[name]
            manager.tell(f"prio {life.pid} {life.uid} {adj}")
        files = " ".join(f"/proc/{alive[name].pid}/oom_score_adj" for name, _, _ in _APPS)
        told = [str(adj) for _, adj, _ in _APPS]
        until(lambda: root.run(f"cat {files}").text.split() == told)
        by_socket = kill_all(session, reports, population)
    assert by_socket == by_proc
    assert by_proc[0] == "com.example.oldest"
    assert by_proc[-3:] == ["com.example.previous", "com.example.service", "com.example.visible"]
