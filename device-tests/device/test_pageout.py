# SPDX-License-Identifier: Apache-2.0
"""Cached apps are moved to swap while nothing is amiss; who is not, and when it stops."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from lmk.attachment import attach
from lmk.device.interface import Device
from lmk.device.root import Root
from lmk.policy import Policy, load
from lmk.session import Session
from lmk.workload.eater import Eater
from lmk.workload.vitals import read_vitals

pytestmark = pytest.mark.usefixtures("detached_after")

_UID = 19_980
_PATIENCE = timedelta(seconds=120)
_MB, _SIZE_MB = 1024, 12
#: What of an app of _SIZE_MB may be resident once it was moved, and what of it is else.
_LITTLE_KB, _MOST_KB = 3 * _MB, 11 * _MB


def policy(after_ms: int = 300) -> Policy:
    """Nobody dies but by request, and only the apps of these tests could."""
    wanted = load("default")
    wanted.scarcity.available_below_pct = 0
    wanted.scarcity.unless_thrashing = False
    wanted.only_uids.add(first=_UID, last=_UID)
    wanted.rest.pageout_after_ms = after_ms
    return wanted


@pytest.fixture
def session(device: Device) -> Session:
    """Handlers that are there are taken over, not loaded again."""
    return attach(device, policy(), lease=timedelta(minutes=10))


@contextlib.contextmanager
def app(device: Device, adj: int = 800) -> Iterator[int]:
    """An app that has its size, all of it resident; its pid."""
    with Eater(device, _SIZE_MB, adj=adj, uid=_UID, name=f"com.example.rest{adj}") as eater:
        pid = eater.await_phase("grown", _PATIENCE).pid
        if adj < 900:
            assert resident_kb(device, pid) >= _MOST_KB
        yield pid


def becomes(root: Root, pid: int, adj: int) -> None:
    """ActivityManager says what it is now."""
    root.run(f"echo {adj} > /proc/{pid}/oom_score_adj")


def resident_kb(device: Device, pid: int) -> int:
    """Anonymous memory of a process that is in memory."""
    for line in device.read_file(f"/proc/{pid}/status").decode().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no memory")


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE.total_seconds()
    while not holds():
        assert time.monotonic() < end


def moved(device: Device, pid: int) -> Callable[[], bool]:
    return lambda: resident_kb(device, pid) < _LITTLE_KB


def counted(session: Session) -> tuple[int, int]:
    """Processes that were moved, and by how many KiB."""
    counters = {each.name: each.value for each in session.status().counters}
    return counters["pageout.processes"], counters["pageout.kb"]


def passes(session: Session, ms: int) -> None:
    """So much time, by the device's clock."""
    begin_ns = session.status().sample.time_ns
    until(lambda: session.status().sample.time_ns >= begin_ns + ms * 1_000_000)


def test_who_becomes_cached_is_moved_and_nobody_below_the_score(
    device: Device, root: Root, session: Session
) -> None:
    # Of two that may be moved it would be the first.
    with app(device, 801) as previous, app(device) as cached:
        becomes(root, previous, 899)
        becomes(root, cached, 900)
        until(moved(device, cached))
        assert resident_kb(device, previous) >= _MOST_KB
        until(lambda: counted(session)[0] > 0)
        assert counted(session)[1] >= _MOST_KB - _LITTLE_KB


def test_who_was_cached_before_lmk_came_is_moved_too(device: Device) -> None:
    with app(device, 905) as cached:
        attach(device, policy())
        until(moved(device, cached))


def test_who_is_needed_again_in_time_stays(device: Device, root: Root, session: Session) -> None:
    session.set_policy(policy(after_ms=2000))
    with app(device) as back, app(device, 801) as cached:
        becomes(root, back, 900)
        becomes(root, back, 0)
        becomes(root, cached, 901)
        until(moved(device, cached))
        assert resident_kb(device, back) >= _MOST_KB
        # Cached again, it has to be so for as long as anybody.
        becomes(root, back, 902)
        until(moved(device, back))


def test_who_was_needed_meanwhile_counts_from_when_it_is_cached_again(
    device: Device, root: Root, session: Session
) -> None:
    after_ms = 3000
    session.set_policy(policy(after_ms))
    with app(device) as back:
        becomes(root, back, 900)
        passes(session, after_ms // 2)
        becomes(root, back, 0)
        begin_ns = session.status().sample.time_ns
        becomes(root, back, 900)
        until(moved(device, back))
        assert session.status().sample.time_ns - begin_ns >= after_ms * 1_000_000


def test_the_order_among_cached_apps_is_no_news(
    device: Device, root: Root, session: Session
) -> None:
    count, _ = counted(session)
    with app(device) as cached:
        becomes(root, cached, 900)
        until(lambda: counted(session)[0] == count + 1)
        for adj in (910, 920, 930):
            becomes(root, cached, adj)
        with app(device, 801) as other:
            becomes(root, other, 940)
            until(moved(device, other))
            until(lambda: counted(session)[0] >= count + 2)
        assert counted(session)[0] == count + 2


@pytest.mark.parametrize("why", ["dry_run", "off", "no room"])
def test_nothing_is_moved_where_it_must_not_be(
    device: Device, root: Root, session: Session, why: str
) -> None:
    unwilling = policy(after_ms=100)
    if why == "dry_run":
        unwilling.dry_run = True
    elif why == "off":
        unwilling.rest.pageout_min_score = 1001
    else:
        unwilling.rest.pageout_swap_free_pct = 100
    session.set_policy(unwilling)
    before = counted(session)
    with app(device) as cached:
        becomes(root, cached, 950)
        passes(session, 2000)
        assert resident_kb(device, cached) >= _MOST_KB
        assert counted(session) == before
        # The next policy finds who it left.
        session.set_policy(policy(after_ms=100))
        until(moved(device, cached))


def test_what_of_swap_is_kept_free_stays_free(device: Device, root: Root, session: Session) -> None:
    vitals = read_vitals(device)
    free_pct = vitals.swap_free_kb * 100 // vitals.swap_total_kb
    limited = policy()
    # Room for a part of one app: the guest's swap is some 400 MB.
    limited.rest.pageout_swap_free_pct = free_pct - 1
    limit_kb = vitals.swap_total_kb * (free_pct - 1) // 100
    assert vitals.swap_free_kb - limit_kb < 3 * _SIZE_MB * _MB
    session.set_policy(limited)
    with contextlib.ExitStack() as apps:
        pids = [apps.enter_context(app(device, 801 + number)) for number in range(4)]
        for pid in pids:
            becomes(root, pid, 950)
        until(lambda: read_vitals(device).swap_free_kb <= limit_kb)
        passes(session, 1000)
        # What is asked for a megabyte at a time may be over by that.
        assert read_vitals(device).swap_free_kb >= limit_kb - 2 * _MB
        assert max(resident_kb(device, pid) for pid in pids) >= _MOST_KB


def test_a_kill_puts_it_off(device: Device, root: Root, session: Session) -> None:
    after_ms = 3000
    session.set_policy(policy(after_ms))
    with app(device, 801) as victim, app(device) as cached:
        becomes(root, victim, 950)
        becomes(root, cached, 900)
        passes(session, after_ms // 2)
        answer = session.request_kill(950)
        assert (answer.outcome, answer.victim_pid) == ("killed", victim)
        killed_ns = next(
            each.times.signalled_ns
            for each in session.reports(follow=True)
            if each.kill_id == answer.kill_id
        )
        until(moved(device, cached))
        assert session.status().sample.time_ns - killed_ns >= after_ms * 1_000_000
