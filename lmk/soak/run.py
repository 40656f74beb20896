# SPDX-License-Identifier: Apache-2.0
"""The run itself: a population, a session, everything of the schedule, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import lmk
from lmk import progress
from lmk.build import Bundle
from lmk.demo.guard import limit_victims, refuse_if_unsafe
from lmk.device.interface import Device
from lmk.device.root import find_root
from lmk.errors import LmkError
from lmk.policy import Policy
from lmk.proto.record_pb2 import Hello, KillReport
from lmk.session import Session
from lmk.soak.cost import Holding, growths, look
from lmk.soak.judge import differences, strangers, wrong_victims
from lmk.soak.ledger import Ledger
from lmk.soak.schedule import Action, schedule
from lmk.workload.android import FIRST_UID, LAST_UID
from lmk.workload.history import History
from lmk.workload.population import Population, Row
from lmk.workload.signal_trace import SignalTrace
from lmk.workload.vitals import Vitals, read_vitals

__all__ = ["FRONT", "Outcome", "soak"]

FRONT = "com.example.front"
#: Of the device's memory: what is always there, name, adj, permille, touch_ms.
_ALWAYS = (
    ("com.example.system", -900, 60, 5_000),
    ("com.example.phone", -800, 20, 10_000),
    ("com.example.keyboard", 100, 20, 5_000),
    (FRONT, 0, 60, 1_000),
)
#: What a user has left behind before it begins, so that memory is full from the first minute on:
#: adj of the first, one more for each; permille of each.
_LEFT_BEHIND, _LEFT_ADJ, _LEFT_PERMILLE = 12, 950, 45
#: Uids of these come first, then apps take turns.
_FIRST_APP_UID = FIRST_UID + len(_ALWAYS) + _LEFT_BEHIND
_APP_UIDS = LAST_UID - _FIRST_APP_UID + 1
_BURST_MB_PER_S = 60
_MEMORY_EVERY = timedelta(seconds=1)
_COST_EVERY_S = 5.0
#: How long a burst's end may take to be heard of by a device that swaps.
_LAST_REPORTS = timedelta(seconds=15)
_LAST_WORDS = timedelta(seconds=15)
_LAST_DEATHS = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a soak showed.

    :ivar policy: that was in force, its limits to uids included.
    :ivar done: actions that were carried out, by kind.
    :ivar reports: kill reports, in the order in which they came.
    :ivar samples: what agent and guardian held, from the first look to the last.
    :ivar kernel_oom_kills: by the kernel's own OOM killer meanwhile.
    :ivar wrong: kills of the wrong victim, :ivar missed: what reports and deaths differ in,
        :ivar lost: what the stream must not say, :ivar grown: who did not stay as large as it was;
        each as lines.
    """

    hello: Hello
    policy: Policy
    before: Vitals
    seed: int
    duration_s: float
    done: dict[str, int]
    history: History
    reports: tuple[KillReport, ...]
    samples: tuple[tuple[Holding, ...], ...]
    breaks: tuple[str, ...]
    kernel_oom_kills: int
    wrong: tuple[str, ...]
    missed: tuple[str, ...]
    lost: tuple[str, ...]
    grown: tuple[str, ...]

    @property
    def kills(self) -> int:
        """Deaths by SIGKILL while it ran."""
        return sum(death.killed for death in self.history.deaths)

    @property
    def faults(self) -> list[str]:
        """Everything that must not be, as lines; empty is a good soak."""
        found = [*self.lost, *self.wrong, *self.missed, *self.grown]
        if self.kernel_oom_kills:
            found.append(f"the kernel's own OOM killer killed {self.kernel_oom_kills} times")
        if not self.kills:
            found.append("nobody was killed: there was nothing to judge")
        return found


def soak(
    device: Device,
    policy: Policy,
    *,
    bundle: Bundle,
    duration: timedelta,
    seed: int,
    own_guest: bool,
    on_session: Callable[[Session], None] = lambda _session: None,
) -> Outcome:
    """Run it; whatever happens, the device is detached and empty afterwards.

    :param seed: all that happens, and when, follows from it.
    :param own_guest: a virtual device, where any process may be a victim and none but the
        population's may be one.
    :param on_session: called once everything is in place, before the first thing happens.
    :raises lmk.errors.LmkError: it could not be run; what it finds is no error here.
    """
    refuse_if_unsafe(device, own_guest=own_guest, who="the soak")
    if not own_guest:
        policy = limit_victims(policy)
    before = read_vitals(device)
    run = _Run(device, before, duration)
    with progress.steps(f"Starting a population on {device.serial}"):
        population = Population(device, run.rows(), bundle=bundle)
    with population:
        if not population.protected:
            raise LmkError(f"{device.serial}: the population's parent could not protect itself")
        population.watch(_MEMORY_EVERY)
        with SignalTrace(device) as trace:
            with lmk.attach(device, policy, bundle=bundle) as session:
                ledger = Ledger(session)
                on_session(session)
                run.play(population, session, schedule(seed, duration))
                # Kills under way come to their end and are told of before the last word.
                killed = sum(death.killed for death in population.deaths)
                ledger.await_reports(killed, _LAST_REPORTS)
                hello = session.hello
            ledger.await_end(_LAST_WORDS)
            population.listen(_LAST_DEATHS)
            sent = trace.read()
        after = read_vitals(device)
        history = population.history
        # The record as it stands now: what ends with the population is told to.
        history.take_signals(sent)
        reports = ledger.reports
        wrong = wrong_victims(history, reports, policy)
        if own_guest:
            wrong += strangers(history, sent)
        return Outcome(
            hello=hello,
            policy=policy,
            before=before,
            seed=seed,
            duration_s=duration.total_seconds(),
            done=run.done,
            history=history,
            reports=tuple(reports),
            samples=tuple(tuple(sample) for sample in run.samples),
            breaks=tuple(ledger.breaks),
            kernel_oom_kills=after.kernel_oom_kills - before.kernel_oom_kills,
            wrong=tuple(wrong),
            missed=tuple(differences(history, reports)),
            lost=tuple(ledger.faults()),
            grown=tuple(growths(run.samples)),
        )


class _Run:
    """One run in progress."""

    def __init__(self, device: Device, before: Vitals, duration: timedelta) -> None:
        self._root = find_root(device)
        self._total_kb = before.total_kb
        self._duration_s = duration.total_seconds()
        self.done: dict[str, int] = {}
        self.samples: list[list[Holding]] = []

    def rows(self) -> list[Row]:
        """Who is there when it begins."""
        kinds = [
            *_ALWAYS,
            *(
                (f"com.example.left{index + 1}", _LEFT_ADJ + index, _LEFT_PERMILLE, 0)
                for index in range(_LEFT_BEHIND)
            ),
        ]
        return [
            Row(name, FIRST_UID + index, adj, self._kb(permille), touch_ms=touch_ms)
            for index, (name, adj, permille, touch_ms) in enumerate(kinds)
        ]

    def play(self, population: Population, session: Session, actions: Sequence[Action]) -> None:
        """Carry out `actions`, each at its time, or at once when that is over."""
        status = session.status()
        pids = {"agent": status.agent_pid, "guardian": status.guardian_pid}
        begin_s = time.monotonic()
        looked_s = -_COST_EVERY_S
        with progress.steps(f"soak: {self._duration_s / 60:g} min") as task:
            minute = -1
            for action in [*actions, Action(self._duration_s, "end")]:
                while (now_s := time.monotonic() - begin_s) < action.at_s:
                    if int(now_s) // 60 > minute:
                        minute = int(now_s) // 60
                        task.done(self._so_far(population))
                        task.step(f"minute {minute + 1} of {-(-self._duration_s // 60):.0f}")
                    if now_s - looked_s >= _COST_EVERY_S:
                        looked_s = now_s
                        self.samples.append(look(self._root, pids))
                    pause_s = min(action.at_s - now_s, _COST_EVERY_S - (now_s - looked_s))
                    population.listen(timedelta(seconds=max(0.0, pause_s)))
                self._carry_out(population, action)
            task.done(self._so_far(population))
        self.samples.append(look(self._root, pids))

    def _carry_out(self, population: Population, action: Action) -> None:
        name = f"com.example.app{action.app}"
        self.done[action.kind] = self.done.get(action.kind, 0) + 1
        if action.kind == "launch":
            uid = _FIRST_APP_UID + action.app % _APP_UIDS
            population.spawn(
                Row(name, uid, action.adj, self._kb(action.permille), touch_ms=action.touch_ms)
            )
        elif action.kind == "adj":
            population.set_adj(name, action.adj)
        elif action.kind == "exit":
            population.end(name)
        elif action.kind == "burst":
            # One that was killed is started again, as a user does.
            if FRONT not in population.alive:
                population.spawn(next(row for row in self.rows() if row.name == FRONT))
            population.grow(FRONT, self._kb(action.permille) // 1024, _BURST_MB_PER_S)
        elif action.kind == "calm":
            population.shrink_soon(FRONT)

    def _so_far(self, population: Population) -> str:
        killed = sum(death.killed for death in population.deaths)
        return f"{killed} kills, {len(population.lives)} processes so far"

    def _kb(self, permille: int) -> int:
        return self._total_kb * permille // 1000
