# SPDX-License-Identifier: Apache-2.0
"""Another killer stopped and started again, on a guest with systemd and no Android's classes.

Whatever happens, exactly one killer is there at the end: the fixture sees to that.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from conftest import connected
from killing import kill_9
from systemd_parts import (
    OOMD,
    Heard,
    active,
    booted_systemd,
    drop_in,
    killers,
    login,
    started_ns,
    unit,
)
from take_over_parts import Detaching, harmless, only, said, said_since, until
from test_cli_device import Command

import lmk
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.errors import LmkError, TransientError, UsageError
from lmk.facts import gather
from lmk.policy import Policy, load
from lmk.proto.policy_pb2 import AppRule, OtherKiller
from lmk.proto.record_pb2 import KillPath, Lifecycle
from lmk.session import Session
from lmk.workload.eater import Eater

pytestmark = pytest.mark.virtual_only

_DEADLINE_S = 90.0
_EARLYOOM = "earlyoom.service"
_SOCKET = "systemd-oomd.socket"
_MUTE = "/run/oomd.mute"


@pytest.fixture(scope="module")
def systemd_guest(pytestconfig: pytest.Config) -> Iterator[str]:
    """A guest of the file's own, with systemd-oomd from its boot on."""
    kernel = pytestconfig.getoption("--kernel")
    with booted_systemd("systemd", f"systemd.wants={OOMD}", kernel=kernel) as guest:
        yield guest.name


@pytest.fixture
def device(systemd_guest: str) -> Iterator[Device]:
    """That guest, with systemd-oomd its only killer before the test, and after it and a detach."""
    with connected(systemd_guest) as device:
        root = find_root(device)
        until(lambda: killers(root) == {OOMD})
        try:
            yield device
            lmk.detach(device)
            assert killers(root) == {OOMD}
            assert active(root, _SOCKET)
        finally:
            lmk.detach(device)
            root.run(f"rm -f {_MUTE}; systemctl stop {_EARLYOOM}; systemctl start {OOMD}")


@pytest.fixture
def root(device: Device) -> Root:
    return find_root(device)


def stopping(killer: OtherKiller.ValueType = OtherKiller.OTHER_KILLER_SYSTEMD_OOMD) -> Policy:
    policy = harmless()
    policy.other_killer = killer
    return policy


@contextlib.contextmanager
def masked(root: Root) -> Iterator[None]:
    root.run(f"systemctl mask --runtime {OOMD}")
    try:
        yield
    finally:
        root.run(f"systemctl unmask --runtime {OOMD}")


def attach(device: Device, *, lease: timedelta | None = None) -> Session:
    return lmk.attach(device, stopping(), lease=lease).keep()


def test_it_is_stopped_once_the_handlers_decide_and_back_before_they_go(
    device: Device, root: Root
) -> None:
    session = attach(device)
    assert killers(root) == {"lmk"}
    assert not active(root, _SOCKET), "who asks there would start it"
    assert session.status().stopped_units == f"{_SOCKET}, {OOMD}"
    shown = Command(device.serial).run("status").split("\n")
    assert [line for line in shown if line.split() == ["stopped", f"{_SOCKET},", OOMD]]
    heard = Heard(session)
    assert lmk.detach(device)
    assert killers(root) == {OOMD}
    records = heard.all()
    stopped = only(records, Lifecycle.OTHER_KILLER_STOPPED)
    assert only(records, Lifecycle.SELF_TEST).time_ns < stopped.time_ns
    restored = only(records, Lifecycle.OTHER_KILLER_RESTORED)
    asked = only(records, Lifecycle.DETACHED)
    assert asked.time_ns < started_ns(root, OOMD) < restored.time_ns


def test_the_handlers_stay_until_it_is_ready(device: Device, root: Root) -> None:
    attach(device)
    root.run(f"touch {_MUTE}")
    waits = f"ExecStartPre=/bin/busybox sh -c 'while [ -e {_MUTE} ]; do sleep 0.1; done'"
    with drop_in(root, OOMD, waits), Detaching(device):
        state = f"systemctl show --value -p ActiveState {OOMD}"
        until(lambda: root.run(state).text.strip() == "activating")
        assert killers(root) == {"lmk"}
        root.run(f"rm {_MUTE}")
    assert killers(root) == {OOMD}


def test_under_pressure_a_unit_dies_by_its_rule_and_the_way_in_does_not(
    device: Device, root: Root
) -> None:
    policy = load("linux")
    policy.rules.append(AppRule(unit="leak-*.service", weight_pct=300))
    session = lmk.attach(device, policy, lease=timedelta(minutes=10))
    assert killers(root) == {"lmk"}
    with (
        unit(root, "ssh.service", 100) as ssh,
        login(root, "session-3", 95) as shell,
        unit(root, "plain.service", 80) as plain,
        unit(root, "leak-1.service", 40) as leak,
    ):
        reports = session.reports(follow=True)
        # Root's, and so no victim itself.
        with Eater(device, 60_000, rate_mb_per_s=80, adj=-1000, floor_mb=0, name="presses"):
            died = [next(reports).victim for _ in range(2)]
        assert [victim.pid for victim in died] == [leak, plain]
        assert [victim.rule_match for victim in died] == ["unit leak-*.service", ""]
        assert {victim.oom_score_adj for victim in died} == {0}
        assert root.run(f"kill -0 {ssh} && kill -0 {shell}").exit_code == 0


def test_the_end_of_the_lease_starts_it(device: Device, root: Root) -> None:
    # Nobody asks for anything, as where the cable was pulled.
    session = attach(device, lease=timedelta(seconds=3))
    until(lambda: gather(root).session is None)
    assert killers(root) == {OOMD}
    records = said_since(device, session.hello.run)
    ended = only(records, Lifecycle.LEASE_ENDED)
    restored = only(records, Lifecycle.OTHER_KILLER_RESTORED)
    assert ended.time_ns < started_ns(root, OOMD) < restored.time_ns


def test_a_killed_agent_and_a_killed_guardian_come_back_and_it_does_not(
    device: Device, root: Root
) -> None:
    session = attach(device)
    first = session.status()
    kill_9(root, first.agent_pid)
    until(lambda: (file := gather(root).session) is not None and file.agent_pid != first.agent_pid)
    second = session.status()
    assert second.agent_restarts == 1
    assert second.stopped_units == first.stopped_units
    kill_9(root, second.guardian_pid)
    until(lambda: session.status().guardian_pid != second.guardian_pid)
    assert killers(root) == {"lmk"}


def test_an_agent_lost_for_good_gives_the_device_back(device: Device, root: Root) -> None:
    session = attach(device)
    killed: set[int] = set()
    while (file := gather(root).session) is not None:
        if file.agent_pid not in killed and root.run(f"kill -9 {file.agent_pid}").exit_code == 0:
            killed.add(file.agent_pid)
    until(lambda: not gather(root).pinned)
    assert killers(root) == {OOMD}
    records = said_since(device, session.hello.run)
    only(records, Lifecycle.AGENT_LOST)
    assert started_ns(root, OOMD) < only(records, Lifecycle.OTHER_KILLER_RESTORED).time_ns


def test_with_agent_and_guardian_dead_lmk_goes_on_until_the_next_attach_or_detach(
    device: Device, root: Root
) -> None:
    session = attach(device)
    for end in ("attach", "detach", "without the program"):
        status = session.status()
        if session.hello.kill_path != KillPath.KILL_PATH_IN_KERNEL:
            if end == "without the program":
                root.run(f"rm {gather(root).directory}/lmk-agent")
            kill_9(root, status.guardian_pid, status.agent_pid)
            # Nobody would kill: what was stopped comes back by itself.
            until(lambda: not gather(root).pinned)
            assert killers(root) == {OOMD}
            assert not lmk.detach(device)
            session = attach(device)
            continue
        kill_9(root, status.guardian_pid, status.agent_pid)
        assert killers(root) == {"lmk"}
        assert gather(root).units_stopped
        if end == "detach":
            assert lmk.detach(device)
            assert killers(root) == {OOMD}
        if end != "without the program":
            session = attach(device)
            assert killers(root) == {"lmk"}
            assert session.status().stopped_units == status.stopped_units
    if session.hello.kill_path != KillPath.KILL_PATH_IN_KERNEL:
        return
    # Also where somebody has removed the program.
    root.run(f"rm {gather(root).directory}/lmk-agent")
    assert lmk.detach(device)
    assert killers(root) == {OOMD}


def test_a_new_adbd_leaves_agent_and_guardian_alone(device: Device, root: Root) -> None:
    """systemd ends what is in a service's cgroup with the service: they must not be in adbd's."""
    status = attach(device).status()
    before = root.run("pidof adbd").text.strip()
    with connected(device.serial) as other, contextlib.suppress(LmkError):
        other.run("systemctl --no-block restart adbd")  # what carries the answer may be gone first

    def back() -> bool:
        try:
            with connected(device.serial) as again:
                return again.run("pidof adbd").text.strip() not in ("", before)
        except LmkError:
            return False

    until(back)
    with connected(device.serial) as again:
        after = lmk.connect_session(again).status()
        assert (after.agent_pid, after.guardian_pid) == (status.agent_pid, status.guardian_pid)
        assert killers(find_root(again)) == {"lmk"}


def test_one_that_somebody_starts_gets_the_device_back(device: Device, root: Root) -> None:
    heard = Heard(attach(device))
    assert root.run(f"systemctl start {OOMD}").exit_code == 0
    until(lambda: gather(root).session is None and not gather(root).pinned)
    assert killers(root) == {OOMD}
    records = heard.all()
    returned = only(records, Lifecycle.OTHER_KILLER_RETURNED)
    assert OOMD in returned.life.text
    assert returned.time_ns < only(records, Lifecycle.OTHER_KILLER_RESTORED).time_ns


def test_one_that_will_not_stop_goes_on_and_nothing_is_attached(device: Device, root: Root) -> None:
    root.run(f"touch {_MUTE}")
    stays = f"ExecStop=/bin/busybox sh -c 'while [ -e {_MUTE} ]; do sleep 0.1; done'"
    with drop_in(root, _EARLYOOM, stays):
        root.run(f"systemctl start {_EARLYOOM}")
        with pytest.raises(TransientError, match=r"other killer is not stopped: .*earlyoom"):
            lmk.attach(device, stopping(OtherKiller.OTHER_KILLER_EARLYOOM))
        facts = gather(root)
        assert facts.session is None
        assert not facts.pinned
        assert not facts.units_stopped
        # Should it end after all, it is wanted again.
        before = root.run("pidof earlyoom").text.strip()
        root.run(f"rm {_MUTE}; kill -9 {before}")
        until(lambda: root.run("pidof earlyoom").text.strip() not in ("", before))
        until(lambda: active(root, _EARLYOOM))
        assert killers(root) == {OOMD, _EARLYOOM}
    root.run(f"systemctl stop {_EARLYOOM}")


def test_one_that_could_not_be_started_again_is_not_stopped(device: Device, root: Root) -> None:
    with masked(root):
        with pytest.raises(UsageError, match="runs but is masked"):
            attach(device)
        assert killers(root) == {OOMD}
        assert gather(root).session is None


def test_one_that_does_not_start_is_said_and_the_next_detach_tries_again(
    device: Device, root: Root
) -> None:
    attach(device)
    with masked(root):
        with pytest.raises(TransientError, match="the other killer is not back"):
            lmk.detach(device)
        assert gather(root).units_stopped
        assert not gather(root).pinned, "every step is done, also after one that failed"
    assert lmk.detach(device)
    assert not gather(root).units_stopped
    assert not lmk.detach(device)


def test_any_stops_all_that_run_and_shadow_stops_nobody(device: Device, root: Root) -> None:
    both = {OOMD, _EARLYOOM}
    root.run(f"systemctl start {_EARLYOOM}")
    wanted = stopping(OtherKiller.OTHER_KILLER_ANY)
    lmk.attach(device, wanted, dry_run=True).keep()
    assert killers(root) == {"lmk", *both}, "in shadow beside them"
    # What the session before left running is stopped, and comes back where it is not wanted.
    session = lmk.attach(device, wanted).keep()
    assert killers(root) == {"lmk"}
    shadow = stopping(OtherKiller.OTHER_KILLER_ANY)
    shadow.dry_run = True
    with pytest.raises(UsageError, match="the other killer is stopped"):
        session.set_policy(shadow)
    # One that is not installed is said, and the session goes on.
    session = lmk.attach(device, stopping(OtherKiller.OTHER_KILLER_NOHANG)).keep()
    assert killers(root) == {"lmk", *both}
    missing = only(said(session, session.hello.run), Lifecycle.OTHER_KILLER_MISSING)
    assert "nohang is not installed" in missing.life.text
    root.run(f"systemctl stop {_EARLYOOM}")


def test_doctor_says_who_runs_and_whom_a_policy_would_stop(device: Device, root: Root) -> None:
    command = Command(device.serial)

    def killer(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(command.run("doctor", "--json"))["other_killers"][name]
        return found

    oomd = killer("systemd-oomd")
    assert oomd["running"]
    assert oomd["pids"] == [int(root.run("pidof systemd-oomd").text)]
    assert oomd["owners"] == list(oomd["units"]) == [OOMD]
    assert oomd["stopped_by"] == ["OTHER_KILLER_SYSTEMD_OOMD", "OTHER_KILLER_ANY"]
    assert not killer("earlyoom")["running"]
    program = root.run("command -v earlyoom").text.strip()
    root.run(f"systemd-run --quiet --collect --unit=guard.service {program}")
    try:
        rogue = killer("earlyoom")
        assert (rogue["running"], rogue["owners"]) == (True, ["guard.service"])
        ((_, enables),) = rogue["obstacles"]
        assert enables == "systemctl stop guard.service"
        # And it is what attach does: nobody stops that one.
        attached = lmk.attach(device, stopping(OtherKiller.OTHER_KILLER_ANY)).keep()
        assert attached.status().stopped_units == f"{_SOCKET}, {OOMD}"
        oomd = killer("systemd-oomd")
        assert (oomd["running"], oomd["held"]) == (False, True)
        page = " ".join(command.run("doctor").split())
        assert "stopped by lmk until its session ends" in page
        assert "earlyoom can be stopped" in page
        assert "guard.service, which no policy stops" in page
    finally:
        root.run("systemctl stop guard.service")


def test_a_reboot_leaves_the_killer_that_is_enabled_and_no_other(
    device: Device, root: Root, pytestconfig: pytest.Config
) -> None:
    """A guest forgets /data with its boot; a device does not: what was noted there goes along."""
    attach(device)
    note = f"{gather(root).directory}/units-stopped"
    noted = root.run(f"cat {note}").text
    kernel = pytestconfig.getoption("--kernel")
    with (
        booted_systemd("reboot", f"systemd.wants={OOMD}", kernel=kernel) as guest,
        connected(guest.name) as rebooted,
    ):
        root = find_root(rebooted)
        until(lambda: active(root, OOMD))
        assert killers(root) == {OOMD}
        # Nobody's debt in this boot: here it was somebody else who stopped it.
        root.run(f"mkdir -m 700 -p /data/lmk; cat >{note}", stdin=noted.encode())
        root.run(f"systemctl stop {OOMD} {_SOCKET}")
        assert not lmk.detach(rebooted)
        assert killers(root) == set()
