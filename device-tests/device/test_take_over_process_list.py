# SPDX-License-Identifier: Apache-2.0
"""lmkd's socket as ProcessList uses it, from lmkd to lmk and back, and over a new agent.

It says when a process starts, changes or ends; comes again when the connection is gone, which
forgets who was registered; and with the next change of adj they are registered again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
from activity_manager import (
    MAIN_UID,
    MINFREE_LEVELS,
    STAT_KILL_OCCURRED,
    ProcessList,
    app,
    on_request,
)
from conftest import connected
from killing import kill_9
from take_over_parts import property_of, replace, until

import lmk
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.proto.control_pb2 import KillAnswer
from lmk.session import Session

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only

#: More than fit into one LMK_PROCS_PRIO.
_APPS = 4


@pytest.fixture
def device(lmkd_device: Device) -> Device:
    return lmkd_device


@pytest.fixture
def process_list(
    device: Device, root: Root, request: pytest.FixtureRequest
) -> Iterator[ProcessList]:
    """It has come to lmkd."""
    found = ProcessList.started(device, f"pl-{len(request.node.name)}")
    found.await_server("lmkd")
    yield found
    found.end()


@pytest.fixture
def pids(device: Device) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(app(device)) for _ in range(_APPS)]


def begin_all(process_list: ProcessList, pids: list[int]) -> None:
    for number, pid in enumerate(pids):
        process_list.begin(pid, MAIN_UID + number, 900 + number, service=number == 0)


def await_registered(session: Session, count: int) -> None:
    until(lambda: session.status().lmkd_socket.processes == count)


def come_again(process_list: ProcessList, program: str, connections: int) -> None:
    """It has come to that program, and not before."""
    until(lambda: process_list.count("connected") > connections)
    process_list.await_server(program)


def kill_one(session: Session, process_list: ProcessList) -> tuple[int, int]:
    """The pid and uid, as they were registered, of the one that the handlers killed."""

    def decided() -> KillAnswer | None:
        found = session.request_kill(900)
        return None if found.outcome == "pending" else found

    answer = until(decided)
    assert answer.outcome == "killed"
    known = process_list.processes.pop(answer.victim_pid)
    assert known.adj == max([known.adj, *(one.adj for one in process_list.processes.values())])
    return answer.victim_pid, known.uid


def test_from_lmkd_to_lmk_and_back(
    device: Device, root: Root, process_list: ProcessList, pids: list[int]
) -> None:
    begin_all(process_list, pids)
    session = replace(device, on_request())
    come_again(process_list, "lmk-agent", 1)
    assert until(lambda: property_of(root, "sys.lmk.minfree_levels")) == MINFREE_LEVELS
    assert session.status().lmkd_socket.processes == 0, "lmkd knew them"
    process_list.move({pid: 950 - number for number, pid in enumerate(pids)})
    process_list.await_adjs()
    await_registered(session, _APPS)
    victim = kill_one(session, process_list)
    assert victim[0] == pids[0]
    assert until(process_list.kills) == [victim]
    await_registered(session, _APPS - 1)
    process_list.forget(pids[1])
    await_registered(session, _APPS - 2)
    assert process_list.kill_count() == 1
    assert (process_list.kill_count(950, 950), process_list.kill_count(900, 949)) == (1, 0)
    assert lmk.detach(device)
    come_again(process_list, "lmkd", 2)
    assert process_list.kill_count() == 0, "it counts its own"
    process_list.move(dict.fromkeys(process_list.processes, 905))
    assert process_list.kill_count() == 0
    assert process_list.kills() == [victim]
    assert len(process_list.packets(STAT_KILL_OCCURRED)) == 1
    assert process_list.count("connected") == 3


def test_over_a_new_agent_all_are_registered_again_and_each_kill_is_heard_once(
    device: Device, root: Root, process_list: ProcessList, pids: list[int]
) -> None:
    session = replace(device, on_request())
    come_again(process_list, "lmk-agent", 1)
    begin_all(process_list, pids)
    await_registered(session, _APPS)
    told = [kill_one(session, process_list)]
    for connections in (2, 3):
        kill_9(root, session.status().agent_pid)
        come_again(process_list, "lmk-agent", connections)
        assert session.status().lmkd_socket.processes == 0
        # Each gets another adj, as when the user goes to another app.
        left = list(process_list.processes)
        process_list.move({pid: 900 + 10 * connections + at for at, pid in enumerate(left)})
        process_list.await_adjs()
        await_registered(session, len(left))
        told.append(kill_one(session, process_list))
        until(lambda: len(process_list.kills()) >= len(told))
    process_list.kill_count()
    assert process_list.kills() == told
    assert len(process_list.packets(STAT_KILL_OCCURRED)) == len(told)


def test_a_count_is_told_apart_from_kills_that_come_meanwhile(
    device: Device, process_list: ProcessList, pids: list[int]
) -> None:
    session = replace(device, on_request())
    come_again(process_list, "lmk-agent", 1)
    begin_all(process_list, pids)
    await_registered(session, _APPS)
    killed: list[tuple[int, int]] = []

    def kill_all() -> None:
        with connected(device.serial) as other, lmk.connect_session(other) as same:
            while process_list.processes:
                killed.append(kill_one(same, process_list))

    kills = threading.Thread(target=kill_all)
    kills.start()
    counts = [process_list.kill_count()]
    while kills.is_alive():
        counts.append(process_list.kill_count())
    kills.join()
    counts.append(process_list.kill_count())
    assert counts == sorted(counts)
    assert counts[-1] == len(killed) == _APPS
    assert until(lambda: process_list.kills() if len(process_list.kills()) >= _APPS else None)
    assert process_list.kills() == killed
