# SPDX-License-Identifier: Apache-2.0
"""The handlers on a device by themselves: loaded and pinned by `lmk-loader`, with no agent.

Everything happens below a pin directory of its own, and only the uids of the test's own
processes may be killed, so a device that somebody works on loses nothing.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from victim_programs import traps_object, victims_program

from lmk import build
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.policy import Policy, load
from lmk.policy.layout import PolicyStruct

__all__ = [
    "ASIDE_KB",
    "FIRST_UID",
    "FOLDER",
    "LAST_UID",
    "PATIENCE",
    "Loaded",
    "Victim",
    "calm_policy",
    "loaded",
    "urgent_policy",
]

#: The processes of these tests; nobody else may die.
FIRST_UID, LAST_UID = 19_700, 19_749
FOLDER = "/data/local/tmp/lmk-handlers-test"
_PINS = "/sys/fs/bpf/lmk-test"
#: How long anything may take in an emulated guest on a busy machine.
PATIENCE = timedelta(seconds=60)
#: What a thread may keep out of its process's counts before 6.2: 64 pages (TASK_RSS_EVENTS_THRESH).
ASIDE_KB = 256
#: As a floor: the reason is off.
NOBODY = 1001
_FLOOR_WORDS = (
    "partial_stall_min",
    "complete_stall_min",
    "swap_util_min",
    "filecache_min",
    "lowmem_min",
    "pressure_after_kill_min",
    "direct_reclaim_min",
    "perceptible_min",
    "critical_min",
)


def calm_policy() -> Policy:
    """Never a reason to kill; only the test's own processes could die."""
    policy = load("default")
    policy.only_uids.add(first=FIRST_UID, last=LAST_UID)
    switch_off(policy)
    return policy


def switch_off(policy: Policy) -> None:
    """No reason holds, whatever the device is like."""
    for group in (
        policy.stall,
        policy.swap,
        policy.thrashing,
        policy.low_mem,
        policy.reclaim,
        policy.floors,
    ):
        for member in group.DESCRIPTOR.fields:
            if member.name.endswith("_score") and member.name.startswith(_FLOOR_WORDS):
                setattr(group, member.name, NOBODY)


def urgent_policy(floor: int = 900) -> Policy:
    """Always a reason to kill, on a device that is at rest: no stall is too little."""
    policy = calm_policy()
    policy.scarcity.available_below_pct = 100
    policy.stall.psi_partial_stall_ms = 0
    policy.stall.partial_stall_min_score = floor
    return policy


def raw(policy: Policy) -> bytes:
    """``struct lmk_policy``, as ``lmk_policy_from_pb()`` makes it."""
    return bytes(PolicyStruct.of(policy))


@dataclass
class Victim:
    """A process of victims.c.

    :ivar second: pid of the other process, for the modes that have one.
    """

    pid: int
    output: str
    second: int = 0


@dataclass(frozen=True)
class Answer:
    """Of ``struct lmk_call``."""

    result: int
    outcome: int
    victim_pid: int
    token: int
    kill_id: int


@dataclass
class Loaded:
    """The handlers on one device, and the means to see what they do.

    :ivar path: the kill path that is asked for; empty: the best there is.
    """

    root: Root
    path: str = ""
    _outputs: int = 0
    _seen: list[dict[str, Any]] = field(default_factory=list)

    def loader(self, arguments: str) -> str:
        """What `lmk-loader ARGUMENTS` prints; it must succeed."""
        command = f"{FOLDER}/lmk-loader {arguments} --pin-dir {_PINS}"
        result = self.root.run(command, timeout=3 * PATIENCE)
        assert result.exit_code == 0, f"{arguments}: {result.error_text}"
        return result.text

    def load(self, policy: Policy, *, drive: bool = True) -> dict[str, Any]:
        """Load, attach, start; the loader's report.

        :param drive: have decisions run by themselves; False: only where the handlers' own timer
            does that.
        """
        self.root.run(f"{FOLDER}/lmk-loader unload --pin-dir {_PINS}")
        self._write_policy(policy)
        answer: dict[str, Any] = json.loads(
            self.loader(
                f"load --object {FOLDER}/lmk.bpf.o --assisted {FOLDER}/assisted.bpf.o"
                f" --policy {FOLDER}/policy" + (f" --path {self.path}" if self.path else "")
            )
        )
        if answer["agent_timer"] and drive:
            # What the agent does where the handlers have no timer of their own.
            command = f"{FOLDER}/lmk-loader drive --pin-dir {_PINS}"
            self.root.run(f"setsid {command} </dev/null >{FOLDER}/drive.log 2>&1 & echo")
        return answer

    def try_load(self, policy: Policy, *, damaged: bool = False) -> int:
        """The exit code of `lmk-loader load`."""
        self._write_policy(policy)
        source = f"{FOLDER}/lmk.bpf.o"
        if damaged:
            self.root.run(f"head -c 20000 {source} >{FOLDER}/damaged.o")
            source = f"{FOLDER}/damaged.o"
        command = f"load --object {source} --policy {FOLDER}/policy --pin-dir {_PINS}"
        return self.root.run(f"{FOLDER}/lmk-loader {command}").exit_code

    def remove_pins(self, *kinds: str) -> None:
        """Leave the handlers half there, as after a crash."""
        for kind in kinds:
            self.root.run(f"rm -r {_PINS}/{kind}")

    def set_policy(self, policy: Policy) -> None:
        """Replace the policy of the running handlers."""
        self._write_policy(policy)
        self.loader(f"policy {FOLDER}/policy")

    def _write_policy(self, policy: Policy) -> None:
        self.root.device.push(raw(policy), f"{FOLDER}/policy")

    def call(self, operation: str, arguments: str = "") -> dict[str, Any]:
        """Ask the SYSCALL program; its ``struct lmk_call``."""
        answer: dict[str, Any] = json.loads(self.loader(f"run {operation} {arguments}"))
        return answer

    def status(self) -> dict[str, Any]:
        """Sample, verdict and next candidates; asks again while another CPU decides."""
        until = time.monotonic() + PATIENCE.total_seconds()
        while True:
            answer = self.call("status", "--candidates")
            if answer["result"] == 0:
                return answer
            assert time.monotonic() < until, answer

    def counters(self) -> dict[str, Any]:
        """``struct lmk_counters``."""
        answer: dict[str, Any] = json.loads(self.loader("counters"))
        return answer

    def events(self) -> list[dict[str, Any]]:
        """Every event since load, oldest first."""
        text = self.loader("events --timeout-ms 0")
        self._seen += [json.loads(line) for line in text.splitlines()]
        return self._seen

    def events_of(self, kind: str) -> list[dict[str, Any]]:
        """The events of `kind` so far."""
        return [event for event in self.events() if event["type"] == kind]

    def wait_for(self, kind: str, count: int = 1, **matching: object) -> list[dict[str, Any]]:
        """The events of `kind`, once there are `count` that match."""
        until = time.monotonic() + PATIENCE.total_seconds()
        while True:
            found = [
                event
                for event in self.events()
                if event["type"] == kind
                and all(event[name] == value for name, value in matching.items())
            ]
            if len(found) >= count:
                return found
            assert time.monotonic() < until, f"no {count} {kind}: {self.counters()}"
            time.sleep(0.05)

    def wait_for_outcome(self, name: str, more: int) -> None:
        """Return once `more` runs from now on have ended in `name`."""
        until = time.monotonic() + PATIENCE.total_seconds()
        before = self.counters()["outcome"][name]
        while (now := self.counters())["outcome"][name] < before + more:
            assert time.monotonic() < until, f"no {more} more {name}: {now}"

    def kills(self, count: int = 1) -> list[dict[str, Any]]:
        """The kill events, once there are `count`."""
        return self.wait_for("kill", count)

    def start(
        self,
        mode: str,
        *,
        adj: int,
        mb: int = 8,
        uid: int = FIRST_UID,
        more: str = "",
        cgroup: str = "",
        until: str = "ready",
    ) -> Victim:
        """Start a process of victims.c; it has said `until` when this returns (unless it grows)."""
        self._outputs += 1
        output = f"{FOLDER}/output-{self._outputs}"
        command = f"exec {FOLDER}/victims {mode} {uid} {adj} {mb} {more}"
        if cgroup:
            command = f"echo $$ >{cgroup}/cgroup.procs; {command}"
        self.root.run(f"setsid sh -c {shlex.quote(command)} </dev/null >{output} 2>&1 & echo")
        if mode == "grow":
            return Victim(self.newest("victims"), output)
        said = self.said(output, until)
        second = next((int(said[word]) for word in ("second", "zombie", "init") if word in said), 0)
        return Victim(int(said[until]), output, second)

    def start_namespace(self, *, adj: int) -> int:
        """The pid, as the device sees it, of the init of a PID namespace."""
        self._outputs += 1
        output = f"{FOLDER}/output-{self._outputs}"
        command = f"{FOLDER}/victims namespace {FIRST_UID} {adj} 8"
        self.root.run(f"setsid {command} </dev/null >{output} 2>&1 & echo")
        said = self.said(output, "ready")
        assert said["ready"] == "1"
        return int(said["init"])

    def start_with_pid(self, pid: int, *, adj: int) -> Victim:
        """A process that gets `pid`, which a process before it had."""
        until = time.monotonic() + PATIENCE.total_seconds()
        while True:
            self._outputs += 1
            output = f"{FOLDER}/output-{self._outputs}"
            command = f"{FOLDER}/victims hold {FIRST_UID} {adj} 8"
            self.root.run(
                f"echo {pid - 1} >/proc/sys/kernel/ns_last_pid;"
                f" {command} </dev/null >{output} 2>&1 & echo"
            )
            got = int(self.said(output, "ready")["ready"])
            if got == pid:
                return Victim(pid, output)
            self.root.run(f"kill -9 {got}")
            assert time.monotonic() < until, f"pid {pid} does not come again, but {got}"

    def newest(self, name: str) -> int:
        """The pid of the process of this name that was started last."""
        until = time.monotonic() + PATIENCE.total_seconds()
        while True:
            found = self.root.run(f"pidof {name}").text.split()
            if found:
                return max(int(pid) for pid in found)
            assert time.monotonic() < until, f"no process {name}"

    def said(self, output: str, word: str) -> dict[str, str]:
        """What a victim printed, by first word, once `word` is among it."""
        until = time.monotonic() + PATIENCE.total_seconds()
        while True:
            text = self.root.run(f"cat {output}").text
            said = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
            if word in said:
                return said
            assert time.monotonic() < until, f"{output}: {text!r}"
            time.sleep(0.05)

    def race(self, threads: int) -> dict[str, int]:
        """Run one decision on `threads` threads at once; how many ended in what."""
        text = self.root.run(f"{FOLDER}/victims race {_PINS} {threads}").text
        names = list(self.counters()["outcome"])
        return dict(zip(names, map(int, text.split()), strict=True))

    def policies(
        self, one: Policy, other: Policy, times: int, *, in_place: bool = False
    ) -> tuple[int, int, int]:
        """Put both in force by turns while decisions run.

        :return: how many decisions were of `one`, of `other`, and of neither.
        """
        for name, policy in (("one", one), ("other", other)):
            self.root.device.push(raw(policy), f"{FOLDER}/{name}")
        words = f"{_PINS} {FOLDER}/one {FOLDER}/other {times}"
        how = "in-place" if in_place else "swap"
        result = self.root.run(f"{FOLDER}/victims policies {words} {how}", timeout=3 * PATIENCE)
        assert result.exit_code == 0, result.error_text
        of_one, of_other, of_neither = map(int, result.text.split())
        return of_one, of_other, of_neither

    def ask(
        self, operation: int, pid: int = 0, token: int = 0, kill_id: int = 0, kill_result: int = 0
    ) -> Answer:
        """One step of the assisted path's conversation; what it asks for is the test's to do."""
        words = f"{operation} {pid} {token} {kill_id} {kill_result}"
        program = f"{FOLDER}/victims ask {_PINS}/programs/lmk_call {words}"
        return Answer(*map(int, self.root.run(program).text.split()))

    def trap(self, operation: int, pid: int = 0) -> tuple[int, str, int]:
        """Run `lmk_trap`: result, outcome and victim; not while another CPU has the claim."""
        program = f"{FOLDER}/victims trap {_PINS}/programs/lmk_trap {operation} {pid}"
        result, outcome, victim = map(int, self.root.run(program).text.split())
        return result, list(self.counters()["outcome"])[outcome], victim

    def alive(self, pid: int) -> bool:
        """Does `pid` live (a zombie does not)?"""
        text = self.root.run(f"cat /proc/{pid}/stat 2>/dev/null").text
        return bool(text) and text.rpartition(")")[2].split()[0] not in "ZX"

    def await_death(self, pid: int) -> None:
        """Return once `pid` is gone."""
        until = time.monotonic() + PATIENCE.total_seconds()
        while self.alive(pid):
            assert time.monotonic() < until, f"{pid} lives: {self.counters()}"
            time.sleep(0.02)

    def pinned(self) -> list[str]:
        """What is below the pin directory."""
        return self.root.run(f"find {_PINS} 2>/dev/null").text.split()


@contextmanager
def loaded(device: Device, *, traps: bool = False, path: str = "") -> Iterator[Loaded]:
    """The programs pushed, nothing loaded yet; at the end nothing of it is left.

    :param traps: with `lmk_trap` among the handlers.
    :param path: the kill path that is asked for; empty: the best there is.
    """
    root = find_root(device)
    abi = root.run("uname -m").text.strip()
    bundle = build.build([abi])
    for name in ("lmk-loader", "lmk.bpf.o", "assisted.bpf.o"):
        entry = bundle.file(abi, name)
        content = traps_object() if traps and name == "lmk.bpf.o" else entry.content
        device.push(content, f"{FOLDER}/{name}", mode=0o755)
    device.push(victims_program(abi), f"{FOLDER}/victims", mode=0o755)
    handlers = Loaded(root, path)
    try:
        yield handlers
    finally:
        root.run(f"killall -9 victims 2>/dev/null; {FOLDER}/lmk-loader unload --pin-dir {_PINS}")
        root.run(f"rm -rf {FOLDER}")
