# SPDX-License-Identifier: Apache-2.0
"""Keys as they are pressed, where standard input is a terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

__all__ = ["Keyboard"]


class Keyboard:
    """Use it in a ``with`` block: meanwhile keys need no Enter and are not echoed.

    Ctrl-C is a KeyboardInterrupt as ever. Where standard input is no terminal, no key comes.
    """

    def __init__(self) -> None:
        self._descriptor = -1
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        if sys.stdin is not None and sys.stdin.isatty():
            self._descriptor = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor >= 0:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
            self._descriptor = -1

    def key(self, timeout: timedelta) -> str:
        """The next key; empty when none came in time."""
        if self._descriptor < 0:
            # Ctrl-C ends this wait like the other.
            threading.Event().wait(timeout.total_seconds())
            return ""
        ready, _, _ = select.select([self._descriptor], [], [], timeout.total_seconds())
        if not ready:
            return ""
        return os.read(self._descriptor, 1).decode(errors="replace")
