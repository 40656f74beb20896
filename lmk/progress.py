# SPDX-License-Identifier: Apache-2.0
"""Progress of long work, on standard error: bars on a terminal, plain lines elsewhere.

::

    with progress.steps("Booting virtual:7.3") as task:
        task.step("download linux-binary", total_bytes)
        task.advance(65536)
        task.done()

Work called from inside opens :func:`steps` again and shows up under the same
title, so a library function reports the same way whoever calls it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import StringIO
from typing import Protocol, TextIO

from rich.console import Console, RenderableType
from rich.progress import (
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
)
from rich.progress import Task as RichTask
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

__all__ = ["Task", "steps"]

#: ``37.5 of 38.0 MB, 11.2 MB/s, 3.4 s``
_AMOUNT_WIDTH = 36
#: Seconds between two plain lines of one step: a log stays readable, a watcher sees life.
PLAIN_INTERVAL_S = 5.0


class _View(Protocol):
    """Where steps are shown."""

    def begin(self, what: str, total_bytes: int | None) -> int: ...

    def update(self, step: int, done_bytes: int) -> None: ...

    def end(self, step: int, note: str, *, failed: bool = False) -> None: ...

    def say(self, line: str) -> None: ...


class Task:
    """A row of steps, one after the other. Safe to advance from another thread."""

    def __init__(self, view: _View) -> None:
        self._view = view
        self._lock = threading.RLock()
        self._step: int | None = None
        self._done_bytes = 0

    def step(self, what: str, total_bytes: int | None = None) -> None:
        """Begin the step `what`, ending the one before.

        :param total_bytes: size when it is known; shown with rate and share.
        """
        with self._lock:
            self.done()
            self._done_bytes = 0
            self._step = self._view.begin(what, total_bytes)

    def advance(self, count_bytes: int) -> None:
        """Add `count_bytes` to what is done of this step."""
        with self._lock:
            self.reach(self._done_bytes + count_bytes)

    def reach(self, done_bytes: int) -> None:
        """Set what is done of this step, in bytes since its beginning."""
        with self._lock:
            self._done_bytes = done_bytes
            if self._step is not None:
                self._view.update(self._step, done_bytes)

    def done(self, note: str = "") -> None:
        """End this step; `note` says in two or three words what came out."""
        with self._lock:
            if self._step is not None:
                self._view.end(self._step, note)
                self._step = None

    def give_up(self, error: BaseException) -> None:
        """End this step because of an error, which says more than this can."""
        with self._lock:
            if self._step is not None:
                note = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                self._view.end(self._step, note, failed=True)
                self._step = None

    def say(self, line: str) -> None:
        """Show one line that is not a step: a warning, a choice that was made."""
        self._view.say(line)


_current: ContextVar[_View | None] = ContextVar("lmk_progress", default=None)


@contextmanager
def steps(title: str) -> Iterator[Task]:
    """Show steps under `title` until the block ends (normally or by an exception)."""
    outer = _current.get()
    if outer is not None:
        yield from _steps(Task(outer))
        return
    stream = sys.stderr
    if stream.isatty():
        console = Console(file=stream)
        with _bars(console) as bars:
            view: _View = _BarView(bars, title)
            yield from _run(view)
    else:
        yield from _run(_PlainView(stream, title))


@contextmanager
def unsaid() -> Iterator[None]:
    """Steps of the block are not shown: work that is done many times over, a step by itself."""
    token = _current.set(_PlainView(StringIO(), ""))
    try:
        yield
    finally:
        _current.reset(token)


def _run(view: _View) -> Iterator[Task]:
    token = _current.set(view)
    try:
        yield from _steps(Task(view))
    finally:
        _current.reset(token)


def _steps(task: Task) -> Iterator[Task]:
    try:
        yield task
    except GeneratorExit:
        raise
    except BaseException as error:
        task.give_up(error)
        raise
    task.done()


def _bars(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(finished_text="[green]✓[/]"),
        # Where it is narrow the name gives way, not the figures.
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        _Bar(table_column=Column(width=10)),
        _Amount(table_column=Column(no_wrap=True, min_width=_AMOUNT_WIDTH)),
        console=console,
    )


class _Bar(ProgressColumn):
    """A bar for a step whose size is known; the others have the spinner."""

    def render(self, task: RichTask) -> RenderableType:
        if not task.fields["sized"]:
            return Text("")
        return ProgressBar(total=task.total, completed=task.completed, width=10)


class _Amount(ProgressColumn):
    """Seconds, bytes and rate of a step, and what came out of it."""

    def render(self, task: RichTask) -> Text:
        seconds = task.finished_time if task.finished_time is not None else task.elapsed
        words = []
        if task.fields["sized"]:
            words.append(f"{_size(task.completed)} of {_size(task.total or 0)}")
            rate = task.finished_speed or task.speed
            words.append(f"{_size(rate)}/s" if rate else "")
        words += [task.fields["note"], f"{seconds or 0:.1f} s"]
        return Text(", ".join(filter(None, words)), style="dim")


class _BarView:
    """Rich bars; a step without a size is a line with a spinner and a clock."""

    def __init__(self, bars: Progress, title: str) -> None:
        self._bars = bars
        bars.console.print(f"[bold]{title}[/]", highlight=False)

    def begin(self, what: str, total_bytes: int | None) -> int:
        return int(self._bars.add_task(what, total=total_bytes, note="", sized=bool(total_bytes)))

    def update(self, step: int, done_bytes: int) -> None:
        self._bars.update(TaskID(step), completed=done_bytes)

    def end(self, step: int, note: str, *, failed: bool = False) -> None:
        if failed:
            self._bars.update(TaskID(step), note=note)
            self._bars.stop_task(TaskID(step))
            return
        task = self._bars.tasks[self._bars.task_ids.index(TaskID(step))]
        total = task.total if task.total is not None else (task.completed or 1)
        self._bars.update(TaskID(step), total=total, completed=total, note=note)

    def say(self, line: str) -> None:
        self._bars.console.print(line, highlight=False, markup=False)


class _PlainView:
    """Lines for a log: when a step begins, every few seconds, and when it ends."""

    def __init__(self, stream: TextIO, title: str) -> None:
        self._stream = stream
        self._steps: list[_PlainStep] = []
        self.say(title)

    def begin(self, what: str, total_bytes: int | None) -> int:
        now = time.monotonic()
        self._steps.append(_PlainStep(what, total_bytes, now))
        self.say(f"  {what}" + (f" ({_size(total_bytes)})" if total_bytes else "") + " …")
        return len(self._steps) - 1

    def update(self, step: int, done_bytes: int) -> None:
        entry = self._steps[step]
        entry.done_bytes = done_bytes
        now = time.monotonic()
        if now - entry.said >= PLAIN_INTERVAL_S:
            entry.said = now
            share = f" of {_size(entry.total_bytes)}" if entry.total_bytes else ""
            self.say(
                f"  {entry.what}: {_size(done_bytes)}{share}, "
                f"{_size(done_bytes / (now - entry.began))}/s"
            )

    def end(self, step: int, note: str, *, failed: bool = False) -> None:
        entry = self._steps[step]
        seconds = time.monotonic() - entry.began
        rate = ""
        if entry.total_bytes and seconds > 0.05 and not failed:
            rate = f", {_size(entry.total_bytes / seconds)}/s"
        self.say(f"  {entry.what}: {note or 'done'} ({seconds:.1f} s{rate})")

    def say(self, line: str) -> None:
        try:
            print(line, file=self._stream, flush=True)
        except (ValueError, OSError):
            # A closed standard error must not end the work it reports on.
            return


class _PlainStep:
    def __init__(self, what: str, total_bytes: int | None, began: float) -> None:
        self.what = what
        self.total_bytes = total_bytes
        self.done_bytes = 0
        self.began = began
        self.said = began


def _size(count_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count_bytes < 1000:
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} GB"
