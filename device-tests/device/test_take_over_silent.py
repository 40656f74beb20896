# SPDX-License-Identifier: Apache-2.0
"""An lmkd that is started at the end and does not answer: lmk goes on killing until it does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from activity_manager import APP_UID, on_request
from killing import daemons, kill_9
from take_over_parts import (
    MUTE,
    harmless,
    killers,
    noted,
    only,
    property_of,
    replace,
    said_since,
    until,
)
from test_cli_device import Command

import lmk
from lmk.attachment import probe
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.errors import TransientError
from lmk.facts import gather
from lmk.proto.record_pb2 import KillPath, Lifecycle
from lmk.session import Session
from lmk.workload.eater import Eater

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only

_PATIENCE = timedelta(seconds=90)


@pytest.fixture
def device(lmkd_device: Device) -> Device:
    return lmkd_device


@pytest.fixture
def mute(root: Root) -> Iterator[None]:
    """lmkd, which is replaced by then, will not answer."""
    root.run(f"touch {MUTE}")
    yield
    root.run(f"rm -f {MUTE}")


def speak(root: Root) -> None:
    """lmkd answers from now on; whoever waits for it hears so by itself."""
    root.run(f"rm {MUTE}")
    until(lambda: killers(root) == {"lmkd"} and not gather(root).pinned)
    facts = gather(root)
    assert facts.session is None
    assert not facts.lmkd_stopped
    assert not facts.lmkd_silent
    assert root.run("pidof lmk-agent").exit_code != 0


def silent(root: Root) -> bool:
    facts = gather(root)
    return facts.lmkd_silent and facts.lmkd_stopped and facts.pinned


def kills_somebody(device: Device, session: Session) -> None:
    with Eater(device, 4, adj=900, uid=APP_UID, name="victim") as eater:
        pid = eater.await_phase("grown", _PATIENCE).pid
        answer = session.request_kill(900)
    assert (answer.outcome, answer.victim_pid) == ("killed", pid)


def test_a_detach_says_so_and_lmk_goes_on_killing_until_lmkd_answers(
    device: Device, root: Root, mute: None
) -> None:
    session = replace(device, on_request())
    with pytest.raises(TransientError, match=r"lmkd was started and does not answer.*goes on"):
        lmk.detach(device)
    assert silent(root)
    assert property_of(root, "init.svc.lmkd") == "running"
    assert session.status().lmkd_silent
    kills_somebody(device, session)
    assert any("does not answer" in note for note in probe(device).values["replace_lmkd"]["notes"])
    speak(root)
    assert not lmk.detach(device)
    records = said_since(device, session.hello.run)
    order = [Lifecycle.DETACHED, Lifecycle.LMKD_SILENT, Lifecycle.LMKD_RESTORED]
    times = [only(records, kind).time_ns for kind in order]
    assert times == sorted(times)
    assert only(records, Lifecycle.LMKD_RESTORED).time_ns > noted(root)[-1].time_ns


def test_the_command_ends_with_4_and_the_next_one_is_done(
    device: Device, root: Root, mute: None
) -> None:
    replace(device)
    command = Command(device.serial)
    detaching = command.begin("detach")
    _, talk = detaching.communicate(timeout=_PATIENCE.total_seconds())
    assert detaching.returncode == 4
    assert "does not answer on /dev/socket/lmkd" in talk
    assert "does not answer" in command.run("status")
    root.run(f"rm {MUTE}")
    # It has lmkd asked at once, however long the pause has grown.
    command.run("detach")
    assert killers(root) == {"lmkd"}


def tried(root: Root, times: int) -> bool:
    log = root.run(f"cat {gather(root).directory}/agent.log").text
    return f"no answer on /dev/socket/lmkd, {times} times so far" in log


def test_the_end_of_a_lease_waits_for_lmkd_and_the_guardian_lets_it(
    device: Device, root: Root, mute: None
) -> None:
    session = replace(device, on_request(), lease=timedelta(seconds=3))
    agent = session.status().agent_pid
    until(lambda: silent(root))
    # By then it is longer than an agent may that lets its lease run out.
    until(lambda: tried(root, 4))
    assert session.status().agent_pid == agent
    kills_somebody(device, session)
    speak(root)


def test_an_agent_that_dies_meanwhile_is_followed_by_one_that_waits(
    device: Device, root: Root, mute: None
) -> None:
    session = replace(device, on_request())
    with pytest.raises(TransientError):
        lmk.detach(device)
    before = session.status().agent_pid
    kill_9(root, before)
    # Its session file is written once it can be asked.
    until(lambda: daemons(root)[1] != before)
    kills_somebody(device, session)
    speak(root)
    records = said_since(device, session.hello.run)
    only(records, Lifecycle.LMKD_SILENT)
    assert not [one for one in records if one.kind == Lifecycle.LMKD_RETURNED]


def test_with_agent_and_guardian_dead_handlers_stay_until_lmkd_answers(
    device: Device, root: Root, mute: None
) -> None:
    session = replace(device)
    status = session.status()
    kill_9(root, status.guardian_pid, status.agent_pid)
    alone = session.hello.kill_path == KillPath.KILL_PATH_IN_KERNEL
    words = "goes on killing.*`lmk detach` asks again" if alone else "nobody kills but the kernel"
    with pytest.raises(TransientError, match=words):
        lmk.detach(device)
    assert silent(root)
    if alone:
        with pytest.raises(TransientError, match="does not answer"):
            lmk.attach(device, harmless(), dry_run=True)
        assert silent(root)
        root.run(f"rm {MUTE}")
        assert lmk.detach(device)
    else:
        speak(root)
    assert killers(root) == {"lmkd"}


def test_a_session_that_waits_for_lmkd_is_not_taken_over(
    device: Device, root: Root, mute: None
) -> None:
    session = replace(device)
    with pytest.raises(TransientError):
        session.detach()
    with pytest.raises(TransientError, match="does not answer"):
        replace(device)
    speak(root)


def test_an_agent_lost_for_good_is_tried_again_while_lmkd_does_not_answer(
    device: Device, root: Root, mute: None
) -> None:
    session = replace(device, on_request())
    killed: set[int] = set()
    while not silent(root):
        file = gather(root).session
        if file and file.agent_pid not in killed:
            root.run(f"kill -9 {file.agent_pid}")
            killed.add(file.agent_pid)
    until(lambda: (file := gather(root).session) is not None and file.agent_pid not in killed)
    kills_somebody(device, session)
    speak(root)
