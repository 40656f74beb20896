# SPDX-License-Identifier: Apache-2.0
"""The server of lmkd's socket, run on this machine, and clients of it."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmkd_parts import Command, Refusal, packet
from running import Running

__all__ = ["APP", "Elsewhere", "Server", "adj_of", "barrier", "serves", "until"]

#: A uid that an app might have.
APP = 10123


class Server:
    """The server's program, and connections to it."""

    def __init__(self, running: Running, path: str) -> None:
        self.running = running
        self.path = path
        running.until("start")

    def connect(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        link.connect(self.path)
        link.settimeout(30)
        return link

    def counters(self) -> dict[str, Any]:
        self.running.tell("counters")
        return self.running.until("counters")

    def refused(self) -> dict[Refusal, int]:
        counts = self.counters()["refused"]
        return {Refusal(reason): count for reason, count in enumerate(counts) if count}

    def record(self, pid: int) -> dict[str, Any]:
        self.running.tell(f"record {pid}")
        return self.running.until("record")

    def kill(self, pid: int, *, adj: int = 900, start_ns: int = 0, rss_kb: int = 4096) -> None:
        """As the agent calls it when a victim is dead; nobody is killed."""
        self.running.tell(f"killed {pid} {APP} {rss_kb} {adj} {start_ns} hog")


class Elsewhere:
    """A client in a process of its own, of another uid if need be."""

    _SCRIPT = """
import os, socket, sys
uid = int(sys.argv[2])
link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
link.settimeout(30)
early = sys.argv[3] == "early"
if uid and early:
    os.setuid(uid)
link.connect(sys.argv[1].replace("@", chr(0)))
if uid and not early:
    os.setuid(uid)
for line in sys.stdin:
    word, _, data = line.strip().partition(" ")
    try:
        if word == "send":
            link.send(bytes.fromhex(data))
            print("sent", flush=True)
        else:
            print(link.recv(4096).hex(), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""

    def __init__(self, path: str, *, uid: int = 0, when: str = "early") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self._SCRIPT, path.replace("\0", "@"), str(uid), when],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def send(self, *words: int) -> str:
        return self._ask("send " + packet(*words).hex())

    def receive(self) -> str:
        return self._ask("receive")

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def adj_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def barrier(link: socket.socket) -> None:
    """Everything sent before on this connection has been carried out."""
    link.send(packet(Command.GETKILLCNT, 0, -1))
    while link.recv(256)[:4] != packet(Command.GETKILLCNT):
        pass


def serves(server: Server) -> bool:
    """False: it is not accepted at the moment."""
    with server.connect() as link, suppress(ConnectionResetError, BrokenPipeError):
        link.send(packet(Command.GETKILLCNT, 1001, 0))
        return link.recv(256)[:4] == packet(Command.GETKILLCNT)
    return False


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)
