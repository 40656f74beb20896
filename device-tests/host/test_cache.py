# SPDX-License-Identifier: Apache-2.0
"""The cache: keys, entries that are complete or absent, and locks between processes."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from lmk.cache import cache_root, content_key, lock, publish
from lmk.errors import UsageError


def test_root_is_the_variable_then_xdg_then_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LMK_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_root() == tmp_path / "home/.cache/lmk"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg/lmk"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_root() == tmp_path / "home/.cache/lmk"
    monkeypatch.setenv("LMK_CACHE", str(tmp_path / "mine"))
    assert cache_root() == tmp_path / "mine"


def test_root_that_cannot_be_made_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LMK_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match="set LMK_CACHE"):
        cache_root()


def test_key_depends_on_every_part_and_where_it_ends(tmp_path: Path) -> None:
    assert content_key("ab", "c") != content_key("a", "bc")
    assert content_key("ab") == content_key(b"ab")
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("content")
    two.write_text("content")
    assert content_key(one) == content_key(two)
    two.write_text("other")
    assert content_key(one) != content_key(two)
    assert len(content_key("x", length=64)) == 64
    with pytest.raises(ValueError, match=r"16\.\.64"):
        content_key("x", length=8)


def test_key_of_a_tree_sees_names_modes_contents_and_links(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_text("content")
    keys = {content_key(tree)}
    (tree / "sub/file").chmod(0o755)
    keys.add(content_key(tree))
    (tree / "sub/file").rename(tree / "sub/renamed")
    keys.add(content_key(tree))
    (tree / "link").symlink_to("sub/renamed")
    keys.add(content_key(tree))
    assert len(keys) == 4


def test_entry_is_filled_once(tmp_path: Path) -> None:
    filled = []

    def fill(directory: Path) -> None:
        filled.append(directory)
        (directory / "file").write_text("content")

    entry = tmp_path / "kind" / "key"
    assert publish(entry, fill) == entry
    assert publish(entry, fill) == entry
    assert len(filled) == 1
    assert [path.name for path in entry.parent.iterdir()] == ["key"]


def test_entry_that_failed_leaves_nothing(tmp_path: Path) -> None:
    def fill(directory: Path) -> None:
        (directory / "half").mkdir()
        (directory / "half").chmod(0o500)
        raise RuntimeError("failed")

    with pytest.raises(RuntimeError, match="failed"):
        publish(tmp_path / "kind/key", fill)
    assert list((tmp_path / "kind").iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "kind/.key.partial-abc"
    left.mkdir(parents=True)
    publish(tmp_path / "kind/key", lambda directory: (directory / "file").touch())
    assert not left.exists()


def _publish(entry: Path, log: Path, barrier: object) -> None:
    def fill(directory: Path) -> None:
        with log.open("a") as out:
            out.write("filled\n")
        (directory / "file").write_text("content")

    barrier.wait()  # type: ignore[attr-defined]
    publish(entry, fill)
    assert (entry / "file").read_text() == "content"


def test_processes_that_want_one_entry_fill_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(8)
    log = tmp_path / "log"
    processes = [
        context.Process(target=_publish, args=(tmp_path / "kind/key", log, barrier))
        for _ in range(8)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert log.read_text() == "filled\n"


def _count(path: Path, counter: Path) -> None:
    for _ in range(50):
        with lock(path):
            counter.write_text(str(int(counter.read_text()) + 1))
            path.unlink()  # a holder may remove the lock it holds


def test_lock_excludes_even_when_its_file_is_removed(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_count, args=(tmp_path / "lock", counter)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert counter.read_text() == "200"
