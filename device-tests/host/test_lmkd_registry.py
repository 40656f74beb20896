# SPDX-License-Identifier: Apache-2.0
"""The table of registered processes: whose a record is, when it goes, and what a full one does."""

from __future__ import annotations

import random

from lmkd_parts import Record, Refusal, Registry

_AMS, _INIT, _NOBODY = 100, 1, 0


def test_a_record_is_what_its_owner_said_last() -> None:
    registry = Registry()
    assert registry.put(_AMS, 7, uid=10007, adj=900) is Refusal.TAKEN
    assert registry.put(_AMS, 7, uid=10007, adj=-800) is Refusal.TAKEN
    assert registry.find(7) == Record(7, 10007, -800, _AMS, 1)
    assert len(registry) == 1
    assert registry.find(8) is None


def test_nobody_but_the_owner_changes_or_removes_a_record() -> None:
    registry = Registry()
    registry.put(_AMS, 7, adj=900)
    assert not registry.may_put(_INIT, 7)
    assert registry.put(_INIT, 7, adj=0) is Refusal.OWNER
    assert registry.remove(_INIT, 7) is Refusal.OWNER
    registry.purge(_INIT)
    assert registry.find(7) == Record(7, 0, 900, _AMS, 1)


def test_an_ownerless_record_belongs_to_who_names_it_next() -> None:
    registry = Registry()
    registry.put(_AMS, 7)
    registry.release(_AMS)
    assert registry.find(7) == Record(7, 0, 0, _NOBODY, 1)
    assert registry.put(_INIT, 7, adj=5) is Refusal.TAKEN
    assert registry.put(_AMS, 7, adj=6) is Refusal.OWNER
    registry.release(_INIT)
    assert registry.remove(_AMS, 7) is Refusal.TAKEN
    assert len(registry) == 0


def test_a_release_is_of_one_owner_alone() -> None:
    registry = Registry()
    registry.put(_AMS, 7)
    registry.put(_INIT, 8)
    registry.release(_INIT)
    assert registry.put(_INIT, 7) is Refusal.OWNER


def test_a_purge_removes_the_callers_and_the_ownerless() -> None:
    registry = Registry()
    for pid in range(1, 31):
        registry.put((_AMS, _INIT, 300)[pid % 3], pid)
    registry.release(300)
    registry.purge(_AMS)
    assert {pid for pid in range(1, 31) if registry.find(pid)} == set(range(1, 31, 3))
    assert len(registry) == 10


def test_removing_what_is_not_there_is_no_error() -> None:
    registry = Registry()
    assert registry.remove(_AMS, 7) is Refusal.TAKEN


def test_a_recycled_pid_is_no_longer_the_old_owners() -> None:
    registry = Registry()
    registry.put(_AMS, 7, start=1)
    assert registry.may_put(_INIT, 7, start=2)
    assert registry.put(_INIT, 7, start=2, adj=3) is Refusal.TAKEN
    assert registry.find(7) == Record(7, 0, 3, _INIT, 2)
    assert registry.put(_AMS, 7, start=2) is Refusal.OWNER


def test_a_full_table_refuses_and_keeps_what_it_has() -> None:
    registry = Registry()
    for pid in range(1, registry.capacity + 1):
        assert registry.put(_AMS, pid, adj=pid % 1000) is Refusal.TAKEN
    extra = registry.capacity + 1
    assert registry.put(_AMS, extra) is Refusal.FULL
    assert registry.find(extra) is None
    # Who is in can still be changed, and a removal makes room.
    assert registry.put(_AMS, 5, adj=-5) is Refusal.TAKEN
    assert registry.remove(_AMS, 6) is Refusal.TAKEN
    assert registry.put(_AMS, extra) is Refusal.TAKEN
    assert len(registry) == registry.capacity


def test_a_full_table_asks_a_bounded_number_of_processes() -> None:
    registry = Registry()
    for pid in range(1, registry.capacity + 1):
        registry.put(_AMS, pid)
    assert registry.asked() == []
    for attempt in range(3):
        assert registry.put(_AMS, registry.capacity + 1) is Refusal.FULL
        first = attempt * registry.reclaim_steps + 1
        assert registry.asked() == list(range(first, first + registry.reclaim_steps))


def test_stale_records_make_room_and_do_not_end_the_search() -> None:
    gone: set[int] = set()
    registry = Registry(alive=lambda pid: pid not in gone)
    for pid in range(1, registry.capacity + 1):
        registry.put(_AMS, pid)
    gone.update({20, 21, 22})
    fresh = range(registry.capacity + 1, registry.capacity + 5)
    assert [registry.put(_INIT, pid) for pid in fresh] == [*[Refusal.TAKEN] * 3, Refusal.FULL]
    assert all(registry.find(pid) is None for pid in gone)
    assert all(registry.find(pid) for pid in range(1, 20))


def test_kills_are_counted_by_oom_score_adj() -> None:
    registry = Registry()
    for adj in (*range(-1000, 1001), 900, 900):
        registry.note_kill(7, adj)
    assert registry.kill_count(900, 900) == 3
    assert registry.kill_count(-1000, 1000) == 2003
    assert registry.kill_count(-(2**31), 2**31 - 1) == 2003
    assert registry.kill_count(0, 0) == 1
    assert registry.kill_count(1, 0) == 0
    assert registry.kill_count(-5000, -1001) == 0
    # ActivityManager asks so for all there were.
    assert registry.kill_count(1001, 1001) == 2003


def test_a_kill_removes_the_record_of_that_process_alone() -> None:
    registry = Registry()
    registry.put(_AMS, 7, start=1)
    registry.put(_AMS, 8, start=2)
    registry.note_kill(7, 900, start=1)
    registry.note_kill(8, 900, start=1)
    assert registry.find(7) is None
    assert registry.find(8) is not None
    assert registry.kill_count(900, 900) == 2


def test_the_table_agrees_with_a_dictionary() -> None:
    source = random.Random(5)
    registry = Registry()
    model: dict[int, tuple[int, int]] = {}
    for _ in range(30000):
        owner = source.choice((_AMS, _INIT, 300))
        # Multiples share their place in the hash.
        pid = source.randrange(1, 8) + 4096 * source.randrange(8)
        match source.randrange(16):
            case 0:
                registry.purge(owner)
                model = {
                    pid: mine for pid, mine in model.items() if mine[0] not in (owner, _NOBODY)
                }
            case 1:
                registry.release(owner)
                model = {
                    pid: (_NOBODY if whose == owner else whose, adj)
                    for pid, (whose, adj) in model.items()
                }
            case 2 | 3 | 4 | 5:
                mine = model.get(pid, (owner, 0))[0] in (owner, _NOBODY)
                assert registry.remove(owner, pid) == (Refusal.TAKEN if mine else Refusal.OWNER)
                if mine:
                    model.pop(pid, None)
            case _:
                adj = source.randrange(-1000, 1001)
                mine = model.get(pid, (owner, 0))[0] in (owner, _NOBODY)
                wanted = Refusal.TAKEN if mine else Refusal.OWNER
                assert registry.put(owner, pid, adj=adj) == wanted
                if mine:
                    model[pid] = (owner, adj)
        assert len(registry) == len(model)
    for pid, (owner, adj) in model.items():
        assert registry.find(pid) == Record(pid, 0, adj, owner, 1)
