# SPDX-License-Identifier: Apache-2.0
"""The record stream on a terminal: lines that scroll, and below them how the link is doing."""

from __future__ import annotations

from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lmk.console import open_console
from lmk.proto.record_pb2 import Record
from lmk.report.client import RecordStream
from lmk.report.signals import kb
from lmk.report.text import Clock, describe, header

__all__ = ["LiveTable"]

_REFRESH_PER_S = 4


class LiveTable:
    """Shows records as they are written to it; use it in a ``with`` block.

    :param stream: where they come from, for the line at the bottom.
    """

    def __init__(self, stream: RecordStream, console: Console | None = None) -> None:
        self._stream = stream
        self._console = console or open_console()
        self._clock = Clock()
        self._kills = 0
        self._freed_kb = 0
        self._others = 0
        self._broken = ""
        self._live = Live(
            get_renderable=self._footer,
            console=self._console,
            refresh_per_second=_REFRESH_PER_S,
            transient=True,
        )

    def __enter__(self) -> Self:
        line = header(self._console.width)
        self._console.print(Text(line, style="bold"), soft_wrap=True)
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def write(self, record: Record) -> None:
        """Show `record`."""
        if record.HasField("hello"):
            self._clock = Clock.of(record.hello)
            self._broken = ""
        style = {"kill": "", "other_kill": "", "lost": "bold red"}.get(
            record.WhichOneof("body") or "", "dim"
        )
        if record.HasField("kill"):
            self._kills += 1
            self._freed_kb += record.kill.freed_kb
        self._others += record.HasField("other_kill")
        line = describe(record, self._clock, self._console.width)
        self._console.print(Text(line, style=style), soft_wrap=True)

    def tell(self, line: str) -> None:
        """Show what happened to the link."""
        self._broken = line if "lost" in line else ""
        self._console.print(Text(line, style="yellow"), soft_wrap=True)

    def _footer(self) -> Text:
        told = [
            f"{self._kills} kill{'' if self._kills == 1 else 's'}",
            f"{kb(self._freed_kb)} back",
        ]
        if self._others:
            told.append(f"{self._others} by others")
        heartbeat = self._stream.heartbeat
        if heartbeat is not None and heartbeat.HasField("lease_left_ms"):
            told.append(f"lease {timedelta(seconds=heartbeat.lease_left_ms // 1000)}")
        told.append("link lost, trying again" if self._broken else "Ctrl-C ends")
        return Text("  ·  ".join(told), style="reverse")
