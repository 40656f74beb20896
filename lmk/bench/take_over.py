# SPDX-License-Identifier: Apache-2.0
"""``tools/bench take-over``: lmkd replaced and given back, over and over, whoever dies.

Gaps are the device's own record of them (``killer_gap_ms``, ``socket_gap_ms``), of times that it
took itself: of lmkd's end and the handlers' first decision, of lmkd's first answer and the last
moment that the handlers could kill. After each round the device is asked who would kill now:
exactly one may be there.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile

import lmk
from lmk import progress
from lmk.bench.figures import Entry, Figure, Limit, distribution, value
from lmk.bench.target import entry
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.errors import LmkError
from lmk.facts import gather
from lmk.policy import Policy, parse
from lmk.proto.record_pb2 import KillPath, Lifecycle, Record
from lmk.report import Position
from lmk.session import Session
from lmk.workload.vitals import read_vitals

__all__ = ["ROUNDS", "bench_take_over", "harmless", "killers", "server"]

ROUNDS = 50
_GAP_MS = 100.0
_PATIENCE_S = 120.0
_LEASE = timedelta(seconds=4)
#: The host dies somewhere between its first look at the device and well after its attach.
_HOST_LIVES_S = 8.0
#: Rounds that are one line of progress.
_SHOWN = 10
#: Of the stand-in: pid of who answers on lmkd's socket.
_ASK = "pid=$(/system/bin/lmkd --ask) && readlink /proc/$pid/exe"


def server(root: Root) -> str:
    """The program that answers on lmkd's socket; empty: none does."""
    return root.run(_ASK).text.strip().rpartition("/")[2]


#: Would handlers kill that are pinned? The program is the session's, or the one that was pushed.
_HANDLERS = """
[ -e /sys/fs/bpf/lmk/links ] || exit 1
d=/data/lmk; [ -d /data ] || d=/run/lmk
p=$(sed -n 's/^program=//p' $d/session 2>/dev/null)
grep -q '^kill_path=in_kernel$' $d/session 2>/dev/null || pidof lmk-agent >/dev/null || exit 1
${p:-$d/lmk-agent} handlers
"""


def killers(root: Root) -> set[str]:
    """Who would kill now: lmkd, if it answers on its socket; lmk, if its handlers run and mean it,
    with an agent that lives where they need one."""
    found = root.run(_HANDLERS)
    state = json.loads(found.text) if found.exit_code == 0 else {}
    lmk_kills = state.get("running", False) and not state["dry_run"]
    return ({"lmkd"} if server(root) == "lmkd" else set()) | ({"lmk"} if lmk_kills else set())


def bench_take_over(
    device: Device, *, bundle: Bundle, rounds: int = ROUNDS
) -> tuple[Entry, list[str]]:
    """`rounds` take-overs, and as many deaths of agent, guardian, both and host.

    :raises lmk.errors.UnsupportedError: no lmkd is there to be replaced.
    """
    vitals, root = read_vitals(device), find_root(device)
    trial = _Trial(device, root, bundle)
    with progress.steps(f"take-over: on {device.serial}") as task:
        with trial.replaced() as session:
            hello = session.hello
        records: list[Record] = []
        # What is measured begins after the last word of that session, which is a run of its own.
        first = Position(hello.boot_id, hello.run + 2, 1)
        for name, one in trial.kinds.items():
            for done in range(0, rounds, _SHOWN):
                many = range(done, min(rounds, done + _SHOWN))
                task.step(f"{name}: {many[0] + 1} to {many[-1] + 1} of {rounds}")
                with progress.unsaid():
                    for _ in many:
                        one()
                        trial.expect(f"{name}, at the end", "lmkd")
                    # The device keeps the records of so many runs, and no more.
                    found, first = trial.lifecycles(first)
                records += found
                task.done()
    figures = _figures(records)
    figures["rounds"] = value("rounds", rounds * len(trial.kinds))
    figures["not_one_killer"] = value("rounds", len(trial.faults), Limit("value", 0))
    return entry(device, hello, vitals, figures), trial.faults


class _Trial:
    """One way to end after another; what was wrong is in `faults`."""

    def __init__(self, device: Device, root: Root, bundle: Bundle) -> None:
        self._device, self._root, self._bundle = device, root, bundle
        self.faults: list[str] = []
        self.kinds: dict[str, Callable[[], None]] = {
            "attach, detach": self._plain,
            "kill -9 of the agent": lambda: self._killed(agent=True),
            "kill -9 of the guardian": lambda: self._killed(guardian=True),
            "kill -9 of both": lambda: self._killed(agent=True, guardian=True),
            "kill -9 of the host": self._host,
        }

    def replaced(self) -> Session:
        """lmkd is replaced; the block's end detaches."""
        return lmk.attach(
            self._device, harmless(), bundle=self._bundle, replace_lmkd=True, prockill_bytes=16
        )

    def lifecycles(self, first: Position) -> tuple[list[Record], Position]:
        """The lives of agents since `first`, and where what comes after them begins."""
        with lmk.attach(self._device, harmless(), bundle=self._bundle, dry_run=True) as session:
            found = list(_lifecycles(session, first))
            return found, Position(session.hello.boot_id, session.hello.run + 1, 1)

    def expect(self, where: str, killer: str) -> None:
        found = killers(self._root)
        if found != {killer}:
            self.faults.append(f"{where}: {sorted(found) or 'nobody'} would kill, not {killer}")

    def _plain(self) -> None:
        with self.replaced():
            self.expect("attached", "lmk")

    def _killed(self, *, agent: bool = False, guardian: bool = False) -> None:
        with self.replaced() as session:
            before = session.status()
            pids = [before.agent_pid] * agent + [before.guardian_pid] * guardian
            words = " ".join(map(str, pids))
            # Stopped first: none sees another die.
            self._root.run(f"kill -STOP {words}; kill -9 {words}")
            if not (agent and guardian):
                self._until(lambda: self._is_whole(session, pids))
            elif session.hello.kill_path != KillPath.KILL_PATH_IN_KERNEL:
                # Nobody would kill: lmkd is back by itself.
                self._until(self._is_given_back)
                return
            self.expect("after kill -9", "lmk")
        if agent and guardian:
            # The block's end reached nobody.
            lmk.detach(self._device)

    def _is_whole(self, session: Session, gone: list[int]) -> bool:
        with suppress(LmkError):
            status = session.status()
            return not {status.agent_pid, status.guardian_pid} & set(gone)
        return False

    def _host(self) -> None:
        command = [str(Path(sys.executable).with_name("lmk")), "attach"]
        command += ["-s", self._device.serial]
        command += ["--policy", "-", "--replace-lmkd", "--prockill-bytes", "16"]
        command += ["--lease", f"{int(_LEASE.total_seconds())}s"]
        with TemporaryFile() as said:
            host = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
            assert host.stdin is not None
            with suppress(BrokenPipeError):
                host.stdin.write(_HARMLESS.encode())
                host.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                if host.wait(random.uniform(0, _HOST_LIVES_S)):
                    said.seek(0)
                    raise LmkError(said.read().decode().strip().rpartition("\n")[2])
            with suppress(ProcessLookupError):
                os.killpg(host.pid, signal.SIGKILL)
            host.wait()
        # Its lease ends, if it came so far.
        self._until(self._is_given_back)

    def _is_given_back(self) -> bool:
        # One that has been started may not yet have written down that it is there.
        runs = self._root.run("pidof lmk-agent").exit_code == 0
        return not runs and gather(self._root).session is None and killers(self._root) == {"lmkd"}

    def _until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE_S
        while not condition():
            if time.monotonic() > end:
                raise LmkError(
                    f"{self._device.serial}: nothing came of it in {_PATIENCE_S:g} s; "
                    f"{sorted(killers(self._root)) or 'nobody'} would kill now"
                )
            time.sleep(0.05)


def _lifecycles(session: Session, first: Position) -> Iterator[Record]:
    with session.records(first, follow=False) as stream:
        yield from (record for record in stream if record.HasField("lifecycle"))


def _figures(records: list[Record]) -> dict[str, Figure]:
    figures = {}
    for name, killer, socket in (
        ("take_over", Lifecycle.LMKD_REPLACED, Lifecycle.LMKD_REPLACED),
        ("give_back", Lifecycle.HANDLERS_ENDED, Lifecycle.LMKD_RESTORED),
    ):
        lives = _lives(records, killer)
        known = [life.killer_gap_ms for life in lives if life.HasField("killer_gap_ms")]
        empty = [
            life.socket_gap_ms for life in _lives(records, socket) if life.HasField("socket_gap_ms")
        ]
        figures[f"{name}_killer_gap_ms"] = distribution("ms", known, Limit("max", _GAP_MS))
        figures[f"{name}_socket_empty_ms"] = distribution("ms", empty)
        # Where nobody lived to see it: agent and guardian were dead.
        figures[f"{name}_unknown"] = value("times", len(lives) - len(known))
    figures["give_back_both_ms"] = distribution(
        "ms",
        [
            (life.could_kill_until_ns - life.lmkd_answered_ns) / 1e6
            for life in _lives(records, Lifecycle.HANDLERS_ENDED)
            if life.HasField("could_kill_until_ns")
        ],
    )
    return figures


def _lives(records: list[Record], kind: Lifecycle.Kind.ValueType) -> list[Lifecycle]:
    return [record.lifecycle for record in records if record.lifecycle.kind == kind]


_HARMLESS = 'name: "bench: nobody dies" only_uids { first: 4000000 last: 4000000 }\n'


def harmless() -> Policy:
    """In force, and nobody could be its victim."""
    return parse(_HARMLESS)
