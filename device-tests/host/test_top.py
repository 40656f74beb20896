# SPDX-License-Identifier: Apache-2.0
"""``lmk top``: when it ends, what a broken link does, and what keys do to the terminal."""

from __future__ import annotations

import os
import pty
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from lmk.cli import top as top_module
from lmk.errors import TransientError
from lmk.keyboard import Keyboard
from lmk.proto.control_pb2 import Status
from lmk.proto.record_pb2 import Hello
from lmk.report import SessionOverError
from lmk.session import Session

SHORT = timedelta(milliseconds=1)


class Answers(Session):
    """A session whose statuses are given: an error is raised, then the next one comes."""

    def __init__(self, *answers: Status | Exception) -> None:
        self._answers = iter(answers)

    def status(self, *, candidates: bool = False, count_costs: bool = False) -> Status:
        assert candidates
        assert count_costs
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Shown:
    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []
        self.breaks: list[str] = []

    def show(self, now: Status, before: Status | None) -> None:
        self.pairs.append((now.hello.run, before.hello.run if before else 0))

    def away(self, why: str) -> None:
        self.breaks.append(why)


def of_run(run: int) -> Status:
    return Status(hello=Hello(run=run))


def test_each_refresh_has_the_one_before_it_and_a_break_is_said() -> None:
    shown = Shown()
    session = Answers(of_run(1), TransientError("cable out"), of_run(2), of_run(3))
    with Keyboard() as keyboard:
        top_module._refresh(session, shown, keyboard, SHORT, 3)
    assert shown.pairs == [(1, 0), (2, 1), (3, 2)]
    assert shown.breaks == ["cable out"]


def test_a_session_that_is_over_ends_it_with_that_error() -> None:
    shown = Shown()
    with Keyboard() as keyboard, pytest.raises(SessionOverError):
        top_module._refresh(
            Answers(of_run(1), SessionOverError("detached")), shown, keyboard, SHORT, None
        )
    assert len(shown.pairs) == 1


def test_a_device_that_never_answered_is_an_error_at_once() -> None:
    with Keyboard() as keyboard, pytest.raises(TransientError):
        top_module._refresh(Answers(TransientError("away")), Shown(), keyboard, SHORT, None)


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard input is a terminal; yields its other end."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, closefd=True) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        try:
            yield ours
        finally:
            os.close(ours)


def test_q_ends_it_without_enter_and_the_terminal_is_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Shown()
    with terminal(monkeypatch) as typed:
        before = termios.tcgetattr(typed)
        with Keyboard() as keyboard:
            assert not termios.tcgetattr(typed)[3] & termios.ECHO
            os.write(typed, b"xq")
            top_module._refresh(Answers(of_run(1)), shown, keyboard, timedelta(minutes=5), None)
        assert termios.tcgetattr(typed) == before
    assert shown.pairs == [(1, 0)]


def test_a_key_that_is_pressed_later_is_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as typed, Keyboard() as keyboard:
        assert keyboard.key(SHORT) == ""
        timer = threading.Timer(0.05, os.write, (typed, b"k"))
        timer.start()
        assert keyboard.key(timedelta(minutes=5)) == "k"
        timer.join()
