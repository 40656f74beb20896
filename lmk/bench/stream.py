# SPDX-License-Identifier: Apache-2.0
"""``tools/bench stream``: how fast spooled records reach the host.

An agent without handlers (``lmk-agent serve``) serves a spool that ``lmk-agent
--spool-fill`` has filled, in a folder of its own: no kill and no session is disturbed.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from operator import itemgetter

from lmk import control, progress
from lmk.bench.figures import Entry, Limit, value
from lmk.bench.target import entry
from lmk.build import Bundle
from lmk.control import SessionFile, parse_session_file
from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.device.root import Root, find_root
from lmk.errors import LmkError
from lmk.proto.record_pb2 import Hello
from lmk.report import Position, RecordStream
from lmk.workload.install import install
from lmk.workload.vitals import read_vitals

__all__ = ["bench_stream"]

#: Several seconds' worth of each at the rates wanted.
_MINIMAL, _FULL = 150_000, 20_000
#: The median of so many is the figure: what else runs on the host shows in each.
_RUNS = 3
_SPOOL_KB = 64 * 1024
_PATIENCE = timedelta(minutes=2)


def bench_stream(device: Device, *, bundle: Bundle) -> list[Entry]:
    """Spool minimal records, then full reports, and read each back; by both transports.

    The adb server's turn comes for TCP devices where adb is installed, and for devices of its own.
    """
    measured = [_bench_one(device, bundle)]
    if device.transport == "direct" and shutil.which("adb") is not None:
        with connect(device.serial, transport="server") as by_server:
            measured.append(_bench_one(by_server, bundle))
    return measured


def _bench_one(device: Device, bundle: Bundle) -> Entry:
    root = find_root(device)
    with progress.steps(f"stream: on {device.serial}, {device.transport}") as task:
        agent = install(device, "lmk-agent", root=root, bundle=bundle)
        task.step(f"{_MINIMAL} minimal records")
        records, _size, seconds, _hello = _read_back(device, root, agent, _MINIMAL, full=False)
        task.step(f"{_FULL} full reports")
        full_records, size, full_seconds, hello = _read_back(device, root, agent, _FULL, full=True)
    figures = {
        "records_per_s": value("1/s", records / seconds, Limit("value", at_least=30_000)),
        "mb_per_s": value("MB/s", size / 1e6 / full_seconds, Limit("value", at_least=5)),
        "full_report_bytes": value("bytes", size / full_records),
    }
    found = entry(device, hello, read_vitals(device), figures)
    return replace(found, variant=f"{device.transport}, {found.variant}")


def _read_back(
    device: Device, root: Root, agent: str, count: int, *, full: bool
) -> tuple[int, int, float, Hello]:
    """Spool `count` records and stream them: count, bytes, seconds (the median), and the Hello."""
    with _served(root, agent, count, full=full) as (file, size):
        runs = sorted((_stream_once(device, file, count) for _ in range(_RUNS)), key=itemgetter(0))
    seconds, hello = runs[_RUNS // 2]
    return count, size, seconds, hello


def _stream_once(device: Device, file: SessionFile, count: int) -> tuple[float, Hello]:
    records = 0
    stream = RecordStream(
        lambda position, follow: control.open_records(device, file, position, follow=follow),
        Position(file.boot_id, 1, 1),
        follow=False,
    )
    begin = time.monotonic()
    with stream:
        for record in stream:
            records += record.seq > 0 and record.run == 1
    seconds = time.monotonic() - begin
    if records < count or stream.hello is None:
        raise LmkError(f"{device.serial}: {records} of {count} spooled records came back")
    return seconds, stream.hello


@contextmanager
def _served(root: Root, agent: str, count: int, *, full: bool) -> Iterator[tuple[SessionFile, int]]:
    """A spool of `count` records as run 1, served; with the bytes of their payload."""
    directory = f"{agent.rpartition('/')[0]}-bench"
    options = f"--dir {directory} --spool-limit-kb {_SPOOL_KB}"
    _must(root, f"rm -rf {directory}")
    try:
        filled = _must(root, f"{agent} --spool-fill {count} {options}{' --full' if full else ''}")
        size = int(json.loads(filled)["payload_bytes"])
        _must(root, f"{agent} serve {options} --lease-ms 600000")
        try:
            yield parse_session_file(_must(root, f"cat {directory}/session"), directory), size
        finally:
            _must(root, f"{agent} stop --dir {directory}")
    finally:
        root.run(f"rm -rf {directory}")


def _must(root: Root, command: str) -> str:
    result = root.run(command, timeout=_PATIENCE)
    if result.exit_code:
        words = result.error_text.strip().splitlines()
        raise LmkError(
            f"{root.device.serial}: {words[-1] if words else command}",
            detail=f"{command}\n{result.error_text}",
            serial=root.device.serial,
        )
    return result.text
