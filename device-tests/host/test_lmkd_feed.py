# SPDX-License-Identifier: Apache-2.0
"""What handlers are told of processes that are registered over lmkd's socket, and until when."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from lmkd_parts import Refusal, build_feed

pytest_plugins = ("lmkd_plugin",)

_AMS, _NOBODY = 100, 0
_APP, _SERVICE = 0, 1
#: Bits of ``enum lmk_registered_flags``.
_ADJ, _IS_SERVICE = 1, 2
_ROOM = 64
_OTHER_UID = 10123


class Entry(NamedTuple):
    uid: int
    adj: int
    flags: int


class Feed:
    """An agent's registry, and the handlers' map that it feeds."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.feed_clear()
        self.begin()

    def begin(self, *, room: int = _ROOM) -> None:
        """A new agent, with the map as it is."""
        assert self._library.feed_begin(room) == 0

    def put(
        self,
        pid: int,
        *,
        uid: int | None = None,
        adj: int = 900,
        kind: int = _APP,
        for_us_only: bool = False,
        earlier: int = 0,
        owner: int = _AMS,
    ) -> Refusal:
        """`earlier`: of the process that had the pid so many ticks before."""
        wanted = os.getuid() if uid is None else uid
        return Refusal(
            self._library.feed_put(owner, pid, wanted, adj, kind, int(for_us_only), earlier)
        )

    def entry(self, pid: int) -> Entry | None:
        out = (ctypes.c_int64 * 4)()
        return Entry(*out[:3]) if self._library.feed_entry(pid, out) else None

    def start(self, pid: int) -> int:
        out = (ctypes.c_int64 * 4)()
        assert self._library.feed_entry(pid, out)
        return out[3]

    def __len__(self) -> int:
        entries: int = self._library.feed_entries()
        assert self._library.feed_told() == entries
        return entries

    def __getattr__(self, name: str) -> Callable[..., int]:
        function: Callable[..., int] = getattr(self._library, f"feed_{name}")
        return function


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    path: Path = build_feed(tmp_path_factory.mktemp("feed"))
    return ctypes.CDLL(str(path))


@pytest.fixture
def feed(library: ctypes.CDLL) -> Iterator[Feed]:
    yield Feed(library)
    library.feed_clear()


def test_what_the_kernel_knows_is_not_told(feed: Feed, spawn: Callable[[], int]) -> None:
    pid = spawn()
    assert feed.put(pid) is Refusal.TAKEN
    assert feed.entry(pid) is None
    assert len(feed) == 0


def test_another_uid_a_service_and_an_adj_that_is_not_written_are_told(
    feed: Feed, spawn: Callable[[], int]
) -> None:
    isolated, service, told, all_of_it = (spawn() for _ in range(4))
    feed.put(isolated, uid=_OTHER_UID)
    feed.put(service, kind=_SERVICE)
    feed.put(told, adj=250, for_us_only=True)
    feed.put(all_of_it, uid=_OTHER_UID, adj=-800, kind=_SERVICE, for_us_only=True)
    assert feed.entry(isolated) == Entry(_OTHER_UID, 900, 0)
    assert feed.entry(service) == Entry(os.getuid(), 900, _IS_SERVICE)
    assert feed.entry(told) == Entry(os.getuid(), 250, _ADJ)
    assert feed.entry(all_of_it) == Entry(_OTHER_UID, -800, _ADJ | _IS_SERVICE)
    assert len(feed) == 4


def test_what_is_said_again_counts_as_it_was_said_last(
    feed: Feed, spawn: Callable[[], int]
) -> None:
    pid = spawn()
    feed.put(pid, adj=250, for_us_only=True)
    feed.put(pid, adj=100, for_us_only=True)
    assert feed.entry(pid) == Entry(os.getuid(), 100, _ADJ)
    feed.put(pid, adj=100)
    assert feed.entry(pid) is None, "it was written"
    feed.put(pid, uid=_OTHER_UID)
    assert feed.entry(pid) == Entry(_OTHER_UID, 900, 0)
    feed.put(pid)
    assert feed.entry(pid) is None
    assert len(feed) == 0


def test_an_entry_goes_with_its_record(feed: Feed, spawn: Callable[[], int]) -> None:
    removed, purged, killed, stays = (spawn() for _ in range(4))
    for pid in (removed, killed):
        feed.put(pid, uid=_OTHER_UID)
    feed.put(purged, uid=_OTHER_UID, owner=7)
    feed.put(stays, uid=_OTHER_UID, owner=8)
    feed.remove(_AMS, removed)
    feed.note_kill(killed)
    feed.release(7)
    assert feed.entry(purged), "its client is gone, and it is as it was"
    feed.purge(_AMS)
    assert [feed.entry(pid) for pid in (removed, killed, purged)] == [None] * 3
    assert feed.remove(_AMS, stays) == Refusal.OWNER
    assert feed.entry(stays)
    assert len(feed) == 1


def test_a_recycled_pid_has_what_is_said_of_it_alone(feed: Feed, spawn: Callable[[], int]) -> None:
    told, untold = spawn(), spawn()
    for pid in (told, untold):
        feed.put(pid, uid=_OTHER_UID, adj=0, kind=_SERVICE, for_us_only=True, earlier=5)
    before = feed.start(told)
    feed.put(told, uid=_OTHER_UID + 1)
    assert feed.entry(told) == Entry(_OTHER_UID + 1, 900, 0)
    assert feed.start(told) == before + 5
    feed.put(untold)
    assert feed.entry(untold) is None
    assert len(feed) == 1


def test_a_new_agent_knows_what_the_dead_one_had_told(feed: Feed, spawn: Callable[[], int]) -> None:
    lives, recycled = spawn(), spawn()
    feed.put(lives, uid=_OTHER_UID, adj=250, kind=_SERVICE, for_us_only=True)
    feed.put(recycled, uid=_OTHER_UID, earlier=5)
    feed.begin()
    assert feed.entry(lives) == Entry(_OTHER_UID, 250, _ADJ | _IS_SERVICE)
    assert feed.entry(recycled) is None
    assert (len(feed), feed.records()) == (1, 1)
    assert feed.owner(lives) == _NOBODY
    # Whoever names it next owns it.
    feed.put(lives, uid=_OTHER_UID, owner=9)
    assert feed.entry(lives) == Entry(_OTHER_UID, 900, 0)
    feed.begin()
    feed.purge(_AMS)
    assert (len(feed), feed.records()) == (0, 0)


def test_in_a_full_map_those_who_are_gone_make_room(feed: Feed, spawn: Callable[[], int]) -> None:
    feed.begin(room=2)
    first, second, third = spawn(), spawn(), spawn()
    feed.put(first, uid=_OTHER_UID)
    gone = subprocess.Popen(["sleep", "600"])
    feed.put(gone.pid, uid=_OTHER_UID)
    gone.kill()
    gone.wait()
    assert feed.put(second, uid=_OTHER_UID) is Refusal.TAKEN
    assert feed.entry(gone.pid) is None
    assert feed.put(third, uid=_OTHER_UID) is Refusal.FULL
    assert feed.entry(third) is None
    assert len(feed) == 2
    # Once there is room it is told with the next word of it.
    feed.remove(_AMS, first)
    assert feed.put(third, uid=_OTHER_UID) is Refusal.TAKEN
    assert feed.entry(third)
