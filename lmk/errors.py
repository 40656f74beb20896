# SPDX-License-Identifier: Apache-2.0
"""Errors of the toolkit, and the exit code each one ends a command with.

Every error has one line to read (``str(error)``) and, where there is more to
tell, a long story in ``detail`` (a verifier log, a console tail, a device's
stderr). :class:`TransientError` is worth another try; the others are not.
"""

from __future__ import annotations

import enum

__all__ = [
    "CheckFailed",
    "ExitCode",
    "LmkError",
    "ProtocolError",
    "TransientError",
    "UnsupportedError",
    "UsageError",
]


class ExitCode(enum.IntEnum):
    """Exit codes of every ``lmk`` command and of the scripts in ``tools/``."""

    OK = 0
    BUG = 1
    USAGE = 2
    UNSUPPORTED = 3
    TRANSIENT = 4
    PROTOCOL = 5
    CHECK_FAILED = 6
    INTERRUPTED = 130


class LmkError(Exception):
    """Base of every error the toolkit raises on purpose.

    :param message: one line: what was wrong, where, what to do.
    :param detail: the long story, shown with ``-v``; may be many lines.
    :param serial: the device it happened on, when there was one.
    """

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, message: str, *, detail: str = "", serial: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail
        self.serial = serial


class UsageError(LmkError):
    """The caller can fix it; the message says how."""

    exit_code = ExitCode.USAGE


class UnsupportedError(LmkError):
    """The device cannot do it; the message says which probe said so and what would enable it."""

    exit_code = ExitCode.UNSUPPORTED


class TransientError(LmkError):
    """It may work on another try: a link that broke, a device that rebooted, a timeout."""

    exit_code = ExitCode.TRANSIENT


class ProtocolError(LmkError):
    """The other side, or a file, said something that the format does not allow."""

    exit_code = ExitCode.PROTOCOL


class CheckFailed(LmkError):
    """A check that was asked for found something: doctor, policy check, a diff."""

    exit_code = ExitCode.CHECK_FAILED
