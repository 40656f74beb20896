# SPDX-License-Identifier: Apache-2.0
"""Android low-memory kills decided in the kernel by BPF, and a toolkit around it.

::

    import lmk

    with lmk.connect("virtual") as device, lmk.attach(device, "default") as session:
        for report in session.reports():
            print(report.victim.name, report.reason, report.freed_kb)

Everything the ``lmk`` command does is a call of this package: :func:`connect` a device,
:func:`attach` a session or :func:`connect_session` to one that is there, :func:`detach`;
:mod:`lmk.policy`, :mod:`lmk.build`, :mod:`lmk.report`, :mod:`lmk.virtual`. What goes wrong
is an :class:`lmk.errors.LmkError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmk.attachment import attach, connect_session, detach, probe
    from lmk.build import Bundle
    from lmk.device.interface import Device
    from lmk.device.resolve import connect
    from lmk.errors import (
        CheckFailed,
        LmkError,
        ProtocolError,
        TransientError,
        UnsupportedError,
        UsageError,
    )
    from lmk.proto.record_pb2 import KillReport, Record
    from lmk.report import kill_reports
    from lmk.session import Session

__all__ = [
    "Bundle",
    "CheckFailed",
    "Device",
    "KillReport",
    "LmkError",
    "ProtocolError",
    "Record",
    "Session",
    "TransientError",
    "UnsupportedError",
    "UsageError",
    "attach",
    "connect",
    "connect_session",
    "detach",
    "kill_reports",
    "probe",
]

#: Imported when first asked for: `lmk --help` needs no transport, `lmk policy` no compiler.
_HOMES = {
    "Bundle": "lmk.build",
    "CheckFailed": "lmk.errors",
    "Device": "lmk.device.interface",
    "KillReport": "lmk.proto.record_pb2",
    "LmkError": "lmk.errors",
    "ProtocolError": "lmk.errors",
    "Record": "lmk.proto.record_pb2",
    "Session": "lmk.session",
    "TransientError": "lmk.errors",
    "UnsupportedError": "lmk.errors",
    "UsageError": "lmk.errors",
    "attach": "lmk.attachment",
    "connect": "lmk.device.resolve",
    "connect_session": "lmk.attachment",
    "detach": "lmk.attachment",
    "kill_reports": "lmk.report",
    "probe": "lmk.attachment",
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'lmk' has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
