# SPDX-License-Identifier: Apache-2.0
"""adbd's file service (``sync:``): send, receive, stat and list.

adb-shell has a client for it, which is not used, because: its stat is the
32-bit one (wrong from 4 GiB on); while it pushes it throws away what the device
writes, so of a full disk or a read-only folder only a timeout is left; its
progress tells pieces, not sums, and swallows what the callback raises; a
directory is pushed from the wrong folder.

A request is four letters, a length, a path. See AOSP ``packages/modules/adb/SYNC.TXT``
and ``file_sync_protocol.h``; ``STA2``/``LST2`` (feature ``stat_v2``, Android 8) have
64-bit sizes. Lists use ``LIST`` for the names and ``LST2`` for each, so that
one way serves devices with and without ``ls_v2`` (Android 11).
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator

from lmk.device.interface import FileStat
from lmk.device.packets import Deadline
from lmk.device.service import Service
from lmk.errors import LmkError, ProtocolError, TransientError, UsageError

__all__ = ["SYNC_SERVICE", "FileSync", "check_path", "refused"]

SYNC_SERVICE = "sync:"
#: How long the device may do nothing in a transfer (a flash that writes back can be slow).
_STALL_S = 30.0
#: SYNC_DATA_MAX; a packet of the stream takes four of these with their headers.
_DATA_BYTES = 65536 - 8
#: Longest path in a request, by adbd.
_PATH_BYTES = 1024
_STAT2 = struct.Struct("<4sIQQIIIIQqqq")
_DENT = struct.Struct("<4sIIII")
_HEADER = struct.Struct("<4sI")
#: Errno words by which the device says that the caller must change something.
_CALLERS_FAULT = (
    "No such file or directory",
    "Permission denied",
    "Operation not permitted",
    "Not a directory",
    "Is a directory",
    "Read-only file system",
    "File exists",
    "File name too long",
    "Too many levels of symbolic links",
    "No space left on device",
    "Text file busy",
    "Invalid argument",
)


def check_path(remote: str, name: str) -> None:
    """Refuse what adbd and the shell would each take for something else.

    :param name: how the error calls the device.
    :raises lmk.errors.UsageError: not absolute, or longer than a request may be.
    """
    if not remote.startswith("/") or "\0" in remote:
        raise UsageError(f"{name}: {remote!r} is not an absolute path", serial=name)
    if len(os.fsencode(remote)) > _PATH_BYTES:
        raise UsageError(f"{name}: path of more than {_PATH_BYTES} bytes: {remote}", serial=name)


def refused(name: str, remote: str, words: str) -> LmkError:
    """The error for a file operation that ended with `words`, the system's name of an errno.

    :param name: how the error calls the device.
    """
    fault = UsageError if words.endswith(_CALLERS_FAULT) else TransientError
    return fault(f"{name}: {remote}: {words}", serial=name)


class FileSync:
    """A conversation on an open ``sync:`` service.

    After an error the device ends it; so does the caller.

    :param stream: the open service.
    :param name: how errors call the device.
    """

    def __init__(self, stream: Service, name: str) -> None:
        self._stream = stream
        self._name = name

    def stat(self, remote: str) -> FileStat | None:
        """What is at `remote`, symbolic links followed; None when there is nothing."""
        self._request(b"STA2", remote)
        return self._read_stat(b"STA2", remote)

    def list_dir(self, remote: str) -> dict[str, FileStat]:
        """Names in a directory and what each is, symbolic links not followed.

        :raises lmk.errors.UsageError: it is no directory, or may not be read.
        """
        names = set(self._read_names(remote))
        if b"." not in names:  # adbd ends the list of what it cannot open without a word
            found = self.stat(remote)
            if found is None:
                raise UsageError(
                    f"{self._name}: {remote}: No such file or directory", serial=self._name
                )
            what = "Permission denied" if stat.S_ISDIR(found.mode) else "Not a directory"
            raise UsageError(f"{self._name}: {remote}: {what}", serial=self._name)
        listed: dict[str, FileStat] = {}
        wanted = sorted(names - {b".", b".."})
        for start in range(0, len(wanted), 256):
            batch = [os.fsdecode(name) for name in wanted[start : start + 256]]
            paths = [f"{remote.rstrip('/')}/{name}" for name in batch]
            self._send(b"".join(self._packed(b"LST2", path) for path in paths))
            for name, path in zip(batch, paths, strict=True):
                found = self._read_stat(b"LST2", path)
                if found is not None:  # else gone since the names were read
                    listed[name] = found
        return listed

    def send(
        self, chunks: Iterable[bytes], remote: str, mode: int, taken: Callable[[int], None]
    ) -> None:
        """Write `chunks` to `remote`; `mode` with its file type (``S_IFREG``, ``S_IFLNK``).

        adbd makes missing parents, copies the user's bits of `mode` to group and others,
        and unlinks a file that is there first (so a program that runs can be replaced).

        :param taken: called with the sum of bytes that the device has taken so far.
        :raises lmk.errors.LmkError: the device's reason, with the path.
        """
        check_path(remote, self._name)
        packet_bytes = self._stream.packet_bytes
        piece_bytes = min(_DATA_BYTES, packet_bytes // 4 - _HEADER.size)
        target = f"{remote},{mode}".encode(errors="surrogateescape")
        waiting = bytearray(_HEADER.pack(b"SEND", len(target)) + target)
        carried = 0
        for chunk in chunks:
            for start in range(0, len(chunk), piece_bytes):
                piece = chunk[start : start + piece_bytes]
                if len(waiting) + _HEADER.size + len(piece) > packet_bytes:
                    self._send(waiting)
                    self._check_early_failure(remote)
                    taken(carried)
                    waiting.clear()
                waiting += _HEADER.pack(b"DATA", len(piece)) + piece
                carried += len(piece)
        waiting += _HEADER.pack(b"DONE", int(time.time()) & 0xFFFFFFFF)
        self._send(waiting)
        self._read_okay(remote)

    def receive(self, remote: str) -> Iterator[bytes]:
        """The content of `remote`, to its end, whatever size it claims.

        :raises lmk.errors.LmkError: the device's reason, with the path.
        """
        self._request(b"RECV", remote)
        while True:
            kind, length = _HEADER.unpack(self._read(_HEADER.size))
            if kind == b"DATA":
                yield self._read(length)
            elif kind == b"DONE":
                return
            else:
                raise self._failure(kind, length, remote)

    # Below ----------------------------------------------------------------------------------

    def _packed(self, kind: bytes, remote: str) -> bytes:
        check_path(remote, self._name)
        path = os.fsencode(remote)
        return _HEADER.pack(kind, len(path)) + path

    def _request(self, kind: bytes, remote: str) -> None:
        self._send(self._packed(kind, remote))

    def _send(self, data: bytes | bytearray) -> None:
        for start in range(0, len(data), self._stream.packet_bytes):
            piece = bytes(data[start : start + self._stream.packet_bytes])
            self._stream.send_packet(piece, Deadline(_STALL_S))

    def _read(self, count: int) -> bytes:
        try:
            return self._stream.read_exactly(count, Deadline(_STALL_S))
        except TimeoutError as error:
            raise TransientError(
                f"{self._name}: the device's file service said nothing for {_STALL_S:.0f} s",
                serial=self._name,
            ) from error
        except EOFError as error:
            raise TransientError(
                f"{self._name}: the device ended its file service", serial=self._name
            ) from error

    def _read_stat(self, kind: bytes, remote: str) -> FileStat | None:
        fields = _STAT2.unpack(self._read(_STAT2.size))
        if fields[0] != kind:
            raise self._unexpected(fields[0])
        error, mode, size, mtime = fields[1], fields[4], fields[8], fields[10]
        if error in (2, 20):  # ENOENT, ENOTDIR: Linux's numbers on the wire
            return None
        if error:
            raise self._refused(os.strerror(error), remote)
        return FileStat(mode=mode, size=size, mtime=mtime)

    def _read_names(self, remote: str) -> Iterator[bytes]:
        self._request(b"LIST", remote)
        while True:
            kind, _, _, _, length = _DENT.unpack(self._read(_DENT.size))
            if kind == b"DONE":
                return
            if kind != b"DENT":
                raise self._unexpected(kind)
            name = self._read(length)
            if b"/" in name:  # a pull would write outside its folder
                raise ProtocolError(
                    f"{self._name}: {remote}: a name with a slash: {name!r}", serial=self._name
                )
            yield name

    def _check_early_failure(self, remote: str) -> None:
        if self._stream.has_data:  # while a file goes out the device speaks only to refuse it
            self._read_okay(remote)
            raise ProtocolError(
                f"{self._name}: the device said OKAY to half of {remote}", serial=self._name
            )

    def _read_okay(self, remote: str) -> None:
        kind, length = _HEADER.unpack(self._read(_HEADER.size))
        if kind != b"OKAY":
            raise self._failure(kind, length, remote)

    def _failure(self, kind: bytes, length: int, remote: str) -> LmkError:
        if kind != b"FAIL":
            return self._unexpected(kind)
        return self._refused(self._read(length).decode("utf-8", "replace"), remote)

    def _refused(self, words: str, remote: str) -> LmkError:
        return refused(self._name, remote, words)

    def _unexpected(self, kind: bytes) -> ProtocolError:
        return ProtocolError(
            f"{self._name}: the device's file service answered {kind!r}", serial=self._name
        )
