# SPDX-License-Identifier: Apache-2.0
"""Records and kill reports: live from a device, and from captures.

::

    for report in lmk.report.kill_reports("capture.pb"):
        print(report.victim.name, report.freed_kb)
"""

from lmk.proto.record_pb2 import Hello, KillReport, Lifecycle, Lost, OtherKill, Record
from lmk.report.capture import CapturedRecord, kill_reports, read_capture, unique
from lmk.report.client import Position, RecordStream, SessionOverError, parse_position
from lmk.report.wire import StreamParser, encode_record

__all__ = [
    "CapturedRecord",
    "Hello",
    "KillReport",
    "Lifecycle",
    "Lost",
    "OtherKill",
    "Position",
    "Record",
    "RecordStream",
    "SessionOverError",
    "StreamParser",
    "encode_record",
    "kill_reports",
    "parse_position",
    "read_capture",
    "unique",
]
