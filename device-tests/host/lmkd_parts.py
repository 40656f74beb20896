# SPDX-License-Identifier: Apache-2.0
"""The agent's part of lmkd's socket on this machine: parser and table by ctypes, the server run."""

from __future__ import annotations

import ctypes
import functools
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from enum import IntEnum
from pathlib import Path

from lmk.build.compiler import host_compiler
from lmk.build.sources import source_root

__all__ = [
    "Command",
    "Killed",
    "Parsed",
    "Record",
    "Refusal",
    "Registry",
    "build_feed",
    "build_server",
    "connect",
    "killed",
    "packet",
    "parse",
    "refusal_of",
    "reply",
    "report_bytes",
    "stat",
    "text",
]

_FLAGS = [
    "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-D_GNU_SOURCE",
    "-Ibpf/include", "-Ibpf", "-Ibpf/agent",
]  # fmt: skip
_SHARED = ("-shared", "-fPIC")
_HERE = Path(__file__).parent.parent / "lmkd"
_WORDS = 20


class Command(IntEnum):
    """``enum lmkd_command``."""

    TARGET = 0
    PROCPRIO = 1
    PROCREMOVE = 2
    PROCPURGE = 3
    GETKILLCNT = 4
    SUBSCRIBE = 5
    PROCKILL = 6
    UPDATE_PROPS = 7
    STAT_KILL_OCCURRED = 8
    START_MONITORING = 9
    BOOT_COMPLETED = 10
    PROCS_PRIO = 11


class Refusal(IntEnum):
    """``enum lmkd_refusal``."""

    TAKEN = 0
    SHORT = 1
    LONG = 2
    UNALIGNED = 3
    COMMAND = 4
    DIRECTION = 5
    LENGTH = 6
    PID = 7
    ADJ = 8
    TYPE = 9
    FLAG = 10
    MINFREE = 11
    SUBSCRIPTION = 12
    SENDER = 13
    GONE = 14
    THREAD = 15
    KERNEL = 16
    OWNER = 17
    FULL = 18
    SOON = 19
    WRITE = 20


#: Arguments after the command, in words, that each command may have.
_ARGUMENTS = {
    Command.TARGET: {2, 4, 6, 8, 10, 12},
    Command.PROCPRIO: {3, 4, 5},
    Command.PROCREMOVE: {1},
    Command.PROCPURGE: {0},
    Command.GETKILLCNT: {2},
    Command.SUBSCRIBE: {1},
    Command.UPDATE_PROPS: {0},
    Command.START_MONITORING: {0},
    Command.BOOT_COMPLETED: {0},
    Command.PROCS_PRIO: {4, 8, 12, 5, 10, 15},
}
_SENT_ONLY = {Command.PROCKILL, Command.STAT_KILL_OCCURRED}


@dataclass(frozen=True)
class Parsed:
    """What the parser made of a packet; `arguments` as flat.c puts them, and of each process why it
    is refused (TAKEN: it is not)."""

    refusal: Refusal
    command: int = 0
    count: int = 0
    arguments: tuple[int, ...] = ()
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class Killed:
    """``struct lmkd_killed`` without its name."""

    pid: int = 0
    uid: int = 0
    rss_kb: int = 0
    page_faults: int = -1
    major_page_faults: int = -1
    rss_bytes: int = -1
    cache_bytes: int = -1
    swap_bytes: int = -1
    start_time_ns: int = -1
    adj: int = 0
    min_adj: int = 0
    free_kb: int = 0
    free_swap_kb: int = 0
    reason: int = -1
    thrashing_pct: int = 0
    max_thrashing_pct: int = 0


def refusal_of(command: int, length: int) -> Refusal:
    """What the length of a packet alone is to be refused for; lmkd's table and Android 17's."""
    if length < 4:
        return Refusal.SHORT
    if length > 64:
        return Refusal.LONG
    if length % 4:
        return Refusal.UNALIGNED
    if command in _SENT_ONLY:
        return Refusal.DIRECTION
    if command not in list(Command):
        return Refusal.COMMAND
    return Refusal.TAKEN if length // 4 - 1 in _ARGUMENTS[Command(command)] else Refusal.LENGTH


def packet(*words: int) -> bytes:
    """Words as they go over the socket."""
    return struct.pack(f">{len(words)}i", *words)


def connect(path: Path) -> socket.socket:
    """A client of lmkd's socket."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.settimeout(30)
    link.connect(str(path))
    return link


def parse(data: bytes) -> Parsed:
    """``lmkd_parse()``; the words are those that the packet's count says, or one or two."""
    out = (ctypes.c_int32 * _WORDS)()
    # Of exactly that size: a read beyond it is not hidden by a longer buffer.
    buffer = (ctypes.c_char * max(len(data), 1)).from_buffer_copy(data or b"\0")
    refusal = Refusal(_library().flat_parse(buffer, ctypes.c_size_t(len(data)), out))
    if refusal:
        return Parsed(refusal)
    command, count, *words = out[:17]
    used = {
        Command.TARGET: 2 * count,
        Command.PROCPRIO: 5 * count,
        Command.PROCS_PRIO: 5 * count,
        Command.PROCREMOVE: 1,
        Command.GETKILLCNT: 2,
        Command.SUBSCRIBE: 1,
    }
    arguments = tuple(words[: used.get(Command(command), 0)])
    processes = count if command in (Command.PROCPRIO, Command.PROCS_PRIO) else 0
    refusals = tuple(map(Refusal, out[17 : 17 + processes]))
    return Parsed(refusal, command, count, arguments, refusals)


def text(refusal: Refusal) -> str:
    """``lmkd_refusal_text()``."""
    said: bytes = _library().flat_text(int(refusal))
    return said.decode()


def reply(command: Command, value: int) -> bytes:
    """``lmkd_encode_reply()``."""
    out = ctypes.create_string_buffer(8)
    length: int = _library().flat_reply(out, int(command), value)
    return out.raw[:length]


def killed(report: Killed, *, with_rss_kb: bool) -> bytes:
    """``lmkd_encode_killed()``."""
    out = ctypes.create_string_buffer(16)
    length: int = _library().flat_killed(out, _fields(report), b"", int(with_rss_kb))
    return out.raw[:length]


def stat(report: Killed, name: bytes) -> bytes:
    """``lmkd_encode_stat()``."""
    out = ctypes.create_string_buffer(214)
    length: int = _library().flat_stat(out, _fields(report), name)
    return out.raw[:length]


def report_bytes(fields: Sequence[int], name: bytes = b"", comm: bytes = b"") -> bytes:
    """``lmkd_report()`` of a kill with these fields (flat.c says which), as it is sent."""
    out = ctypes.create_string_buffer(214)
    length: int = _library().flat_report(out, (ctypes.c_int64 * 17)(*fields), name, comm)
    return out.raw[:length]


@dataclass(frozen=True)
class Record:
    """``struct lmkd_record``."""

    pid: int
    uid: int
    adj: int
    owner: int
    start_ticks: int


class Registry:
    """``struct lmkd_registry``; `alive` says of a pid whether its process is still there."""

    def __init__(self, alive: Callable[[int], bool] = lambda _pid: True) -> None:
        self._memory = ctypes.create_string_buffer(_library().flat_registry_size())
        self._asked: list[int] = []

        def ask(pid: int) -> int:
            self._asked.append(pid)
            return int(alive(pid))

        self._alive = _ALIVE(ask)
        self.capacity: int = _library().flat_records()
        self.reclaim_steps: int = _library().flat_reclaim_steps()

    def put(self, owner: int, pid: int, *, uid: int = 0, adj: int = 0, start: int = 1) -> Refusal:
        return Refusal(
            _library().flat_put(
                self._memory, owner, pid, uid, adj, ctypes.c_uint64(start), self._alive
            )
        )

    def may_put(self, owner: int, pid: int, *, start: int = 1) -> bool:
        return bool(_library().flat_may_put(self._memory, owner, pid, ctypes.c_uint64(start)))

    def find(self, pid: int) -> Record | None:
        out = (ctypes.c_int64 * 5)()
        return Record(*out) if _library().flat_find(self._memory, pid, out) else None

    def remove(self, owner: int, pid: int) -> Refusal:
        return Refusal(_library().flat_remove(self._memory, owner, pid))

    def purge(self, owner: int) -> None:
        _library().flat_purge(self._memory, owner)

    def release(self, owner: int) -> None:
        _library().flat_release(self._memory, owner)

    def note_kill(self, pid: int, adj: int, *, start: int = 1) -> None:
        _library().flat_note_kill(self._memory, pid, ctypes.c_uint64(start), adj)

    def kill_count(self, min_adj: int, max_adj: int) -> int:
        count: int = _library().flat_kill_count(self._memory, min_adj, max_adj)
        return count

    def __len__(self) -> int:
        count: int = _library().flat_count(self._memory)
        return count

    def asked(self) -> list[int]:
        """The pids that were asked for since the last call."""
        asked, self._asked[:] = list(self._asked), []
        return asked


def build_server(directory: Path) -> Path:
    """The program of device-tests/lmkd/serve.c."""
    agent = source_root() / "bpf" / "agent"
    output = directory / "serve"
    parts = ("adj", "missed", "packet", "registry", "report", "server", "socket")
    sources = [agent / f"lmkd_{part}.c" for part in parts]
    sources += [agent / "process.c", agent / "exit_code.c"]
    _compile([*sources, source_root() / "bpf/workload/lines.c", _HERE / "serve.c"], output)
    return output


def build_feed(directory: Path) -> Path:
    """The library of device-tests/lmkd/feed.c."""
    agent = source_root() / "bpf" / "agent"
    output = directory / "feed.so"
    parts = ("lmkd_feed", "lmkd_registry", "process", "exit_code")
    _compile([*(agent / f"{part}.c" for part in parts), _HERE / "feed.c"], output, *_SHARED)
    return output


def _fields(report: Killed) -> ctypes.Array[ctypes.c_int64]:
    values: Sequence[int] = astuple(report)
    return (ctypes.c_int64 * len(values))(*values)


def _compile(sources: Iterable[Path], output: Path, *flags: str) -> None:
    command = [host_compiler(), *_FLAGS, *flags, *map(str, sources), "-o", str(output)]
    subprocess.run(command, check=True, cwd=source_root(), timeout=120)


_ALIVE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)


@functools.cache
def _library() -> ctypes.CDLL:
    agent = source_root() / "bpf" / "agent"
    sources = [agent / f"lmkd_{part}.c" for part in ("packet", "registry", "report")]
    sources.append(_HERE / "flat.c")
    with tempfile.TemporaryDirectory() as scratch:
        _compile(sources, Path(scratch) / "flat.so", *_SHARED)
        library = ctypes.CDLL(str(Path(scratch) / "flat.so"))
    library.flat_text.restype = ctypes.c_char_p
    library.flat_registry_size.restype = ctypes.c_size_t
    return library
