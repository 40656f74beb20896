# SPDX-License-Identifier: Apache-2.0
"""Two people and one device: the second is refused, and told who holds it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from lmk.attachment import attach, connect_session, detach
from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.errors import UsageError
from lmk.policy import Policy, load


def harmless() -> Policy:
    wanted = load("default")
    wanted.only_uids.add(first=19_960, last=19_969)
    return wanted


@pytest.fixture(autouse=True)
def nothing_attached(device: Device, device_serial: str) -> Iterator[None]:
    detach(device)
    yield
    with connect(device_serial) as again:
        detach(again)


def test_somebody_else_is_refused_and_told_who_holds_the_device(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMK_HOLDER", "alice@desk")
    first = attach(device, harmless(), lease=timedelta(minutes=10)).keep()
    pid = first.status().agent_pid
    monkeypatch.setenv("LMK_HOLDER", "bob@lab")
    with pytest.raises(UsageError, match=rf"held by alice@desk \(agent pid {pid}\)"):
        attach(device, "default")
    assert first.status().policy == harmless(), "nothing of the second's was applied"
    assert connect_session(device).status().agent_pid == pid, "reading is open to everybody"


def test_the_holder_may_attach_again_and_an_agents_restart_keeps_it(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMK_HOLDER", "alice@desk")
    session = attach(device, harmless(), lease=timedelta(minutes=10)).keep()
    pid = session.status().agent_pid
    assert attach(device, harmless()).keep().status().agent_pid == pid
    device.run(f"kill -9 {pid}")
    while session.status().agent_pid == pid:
        pass  # each asks the agent anew and waits for its restart
    monkeypatch.setenv("LMK_HOLDER", "bob@lab")
    with pytest.raises(UsageError, match="held by alice@desk"):
        attach(device, "default")


def test_taking_over_has_to_be_said(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMK_HOLDER", "alice@desk")
    attach(device, harmless(), lease=timedelta(minutes=10)).keep()
    monkeypatch.setenv("LMK_HOLDER", "bob@lab")
    attach(device, harmless(), take_over=True).keep()
    monkeypatch.setenv("LMK_HOLDER", "alice@desk")
    with pytest.raises(UsageError, match="held by bob@lab"):
        attach(device, "default")


def test_of_two_at_the_same_moment_one_attaches_and_the_other_is_told_who(
    device: Device,
) -> None:
    attach(device, harmless()).detach()  # both find everything pushed: the race is the start's
    command = [sys.executable, "-c", "import lmk.cli; lmk.cli.main()", "attach", "--policy"]
    holders = ("alice@desk", "bob@lab")
    policies = ("default", "lmkd-highperf")
    racers = [
        subprocess.Popen(
            [*command, policy],
            env={**os.environ, "LMK_HOLDER": holder, "ANDROID_SERIAL": device.serial},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for holder, policy in zip(holders, policies, strict=True)
    ]
    said = [racer.communicate(timeout=240)[1] for racer in racers]
    codes = [racer.returncode for racer in racers]
    assert sorted(codes) == [0, 2], said
    winner, loser = codes.index(0), codes.index(2)
    assert f"held by {holders[winner]}" in said[loser]
    status = connect_session(device).status()
    assert status.agent_restarts == 0
    assert status.policy.name == policies[winner]
