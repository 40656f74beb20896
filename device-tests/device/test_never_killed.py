# SPDX-License-Identifier: Apache-2.0
"""Who never dies, whatever its oom_score_adj and the policy say; and who dies for all its name.

On a guest with an lmkd that runs beside a session. Everybody who must not die has the highest
oom_score_adj there is, so a rule that failed would have it chosen before the app.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import pytest
from take_over_parts import lmkd_pid

import lmk
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.policy import Policy, load
from lmk.session import Session
from lmk.workload.eater import Eater
from lmk.workload.install import install

pytest_plugins = ("take_over_plugin",)
pytestmark = pytest.mark.virtual_only

_PATIENCE = timedelta(seconds=60)
_UID = 19007
_FLOOR = 900
_KTHREADD = 2


@pytest.fixture
def device(lmkd_device: Device) -> Device:
    return lmkd_device


def on_request() -> Policy:
    """Only by request, and only root's and this test's own: nobody else is at the floor."""
    wanted = load("default")
    wanted.scarcity.available_below_pct = 0
    wanted.rest.pageout_min_score = 1001
    wanted.only_uids.add(first=0, last=0)
    wanted.only_uids.add(first=_UID, last=_UID)
    return wanted


@pytest.fixture
def session(device: Device) -> Session:
    return lmk.attach(device, on_request(), lease=timedelta(minutes=10)).keep()


def adbd_pid(root: Root) -> int:
    """The one that init started from the system's own file."""
    found = root.run(
        "for p in /proc/[0-9]*; do case $(readlink $p/exe) in /usr/*/adbd) "
        "grep -q '^PPid:.1$' $p/status && echo ${p#/proc/};; esac; done"
    ).text.split()
    assert len(found) == 1
    return int(found[0])


@contextlib.contextmanager
def at_the_top(root: Root, *pids: int) -> Iterator[None]:
    """Their oom_score_adj is 1000 until the end of the block, where they must be alive."""
    before = {pid: root.run(f"cat /proc/{pid}/oom_score_adj").text.strip() for pid in pids}
    try:
        for pid in pids:
            done = root.run(
                f"echo 1000 >/proc/{pid}/oom_score_adj && cat /proc/{pid}/oom_score_adj"
            )
            assert done.text.strip() == "1000", pid
        yield
        for pid in pids:
            assert root.run(f"[ -d /proc/{pid} ]").exit_code == 0
    finally:
        for pid, adj in before.items():
            root.run(f"echo {adj} >/proc/{pid}/oom_score_adj")


def test_an_app_called_adbd_dies_and_adbd_and_the_others_never(
    device: Device, root: Root, session: Session
) -> None:
    status = session.status()
    never = {
        "init": 1,
        "a kernel thread": _KTHREADD,
        "agent": status.agent_pid,
        "guardian": status.guardian_pid,
        "adbd": adbd_pid(root),
        "lmkd": lmkd_pid(root),
    }
    with (
        at_the_top(root, *never.values()),
        Eater(device, 4, adj=_FLOOR, uid=_UID, name="adbd") as app,
    ):
        pid = app.await_phase("grown", _PATIENCE).pid
        assert session.status(candidates=True).candidates[0].pid == pid
        answer = session.request_kill(_FLOOR)
        assert (answer.outcome, answer.victim_pid) == ("killed", pid)
        again = session.request_kill(_FLOOR)
        names = {number: name for name, number in never.items()}
        assert (again.outcome, names.get(again.victim_pid)) == ("no_victim", None)


@pytest.mark.parametrize("name", ["adbd", "lmkd"])
def test_a_child_of_init_that_only_has_the_name_dies(
    device: Device, root: Root, session: Session, name: str
) -> None:
    program = install(device, "lmk-eater", root=root)
    copy, said, held = f"/data/local/tmp/{name}", "/run/imposter.said", "/run/imposter.in"
    words = f"--size-mb 4 --adj {_FLOOR} --compressible-pct 50 --floor-mb 0 --name {name}"
    root.run(
        f"rm -f {held} {said}; mkfifo {held}; cp {program} {copy}; chmod 755 {copy}; "
        f"(setsid {copy} {words} --lease-s 600 <>{held} >{said} 2>&1 &)"
    )
    try:
        found = root.run(
            f"until grep -q grown {said}; do sleep 0.1; done; "
            f"sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p' {said} | head -n 1",
            timeout=_PATIENCE,
        )
        pid = int(found.text)
        seen = root.run(
            f"cat /proc/{pid}/comm; readlink /proc/{pid}/exe; cut -d' ' -f4 /proc/{pid}/stat"
        )
        assert seen.text.split() == [name, copy, "1"]
        answer = session.request_kill(_FLOOR)
        assert (answer.outcome, answer.victim_pid) == ("killed", pid)
    finally:
        root.run(f"rm -f {copy} {held}")
