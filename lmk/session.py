# SPDX-License-Identifier: Apache-2.0
"""A session: what can be asked of a device that handlers and agent run on.

::

    with lmk.attach(device, "default") as session:
        run_the_test()
        for report in session.reports(follow=False):
            print(report.victim.name, report.freed_kb)

The device keeps the session by itself: it ends with :meth:`Session.detach`, or when nobody
has asked for anything for the length of the lease.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from lmk import control
from lmk.control import SessionFile
from lmk.device.interface import ByteStream, Device
from lmk.device.root import Root
from lmk.device.service import ServiceRefusedError
from lmk.errors import LmkError, TransientError, UsageError
from lmk.facts import gather
from lmk.install import give_back
from lmk.policy import Policy, load
from lmk.proto.control_pb2 import (
    ControlReply,
    ControlRequest,
    GetStatus,
    KillAnswer,
    RenewLease,
    RequestKill,
    SetPolicy,
    Status,
)
from lmk.proto.record_pb2 import Hello, KillReport
from lmk.report import Position, RecordStream, SessionOverError

__all__ = [
    "Session",
    "abandoned",
    "lease_ms_of",
]

_LONGEST_LEASE_MS = 366 * 24 * 3600 * 1000
#: The guardian needs a second at most for each of its three tries to restart a dead agent.
_RESTART_PATIENCE_S = 20.0
_RESTART_PAUSE_S = 0.1


class Session:
    """An attached device. Leaving the ``with`` block detaches it, unless :meth:`keep` was called.

    Made by :func:`attach` and :func:`connect_session`.
    """

    def __init__(
        self,
        root: Root,
        file: SessionFile,
        build_id: str | None,
        *,
        detach_at_exit: bool,
        begun: bool = False,
    ) -> None:
        self._root = root
        self._file = file
        self._build_id = build_id
        self._detach_at_exit = detach_at_exit
        self._refused_since: float | None = None
        #: What the agent said of itself when this session was opened.
        self.hello: Hello = self._greet()
        begin = (file.run, 1) if begun else (self.hello.run, self.hello.next_seq)
        self._start = Position(self.hello.boot_id, *begin)

    @property
    def device(self) -> Device:
        """The device it is on."""
        return self._root.device

    @property
    def start(self) -> Position:
        """The first record of the run that :func:`attach` began; else the one after Hello.

        Handlers kill before anybody on the host can have heard so: under pressure the first
        reports are older than Hello.
        """
        return self._start

    def keep(self) -> Self:
        """Leave the device attached when the ``with`` block ends."""
        self._detach_at_exit = False
        return self

    def records(
        self,
        from_: Position | None = None,
        *,
        follow: bool = True,
        on_break: Callable[[str], None] = lambda _line: None,
    ) -> RecordStream:
        """The device's records; it reconnects by itself and gives every record once.

        :param from_: where to begin (:func:`parse_position`); default: where this session began.
        :param follow: go on for what comes; else end after the last one there is.
        :param on_break: told in one line of each break of the link, and of its return.
        """
        return RecordStream(
            self._open_records,
            self.start if from_ is None else from_,
            follow=follow,
            on_break=on_break,
            check=lambda hello: control.check_hello(hello, self._file, self._build_id),
        )

    def reports(
        self, from_: Position | None = None, *, follow: bool = True
    ) -> Iterator[KillReport]:
        """The kill reports among :meth:`records`."""
        with self.records(from_, follow=follow) as stream:
            for record in stream:
                if record.HasField("kill"):
                    yield record.kill

    def status(self, *, candidates: bool = False, count_costs: bool = False) -> Status:
        """Hello, policy, signals, counters, costs, lease.

        :param candidates: also who would die next (a walk over all processes).
        :param count_costs: have the kernel count what each program costs, until nobody has asked
            for it for 10 s.
        :raises lmk.errors.TransientError: the device or its agent is away.
        """
        wanted = ControlRequest(
            get_status=GetStatus(with_candidates=candidates, count_costs=count_costs)
        )
        return self._request(wanted).status

    def set_policy(self, policy: Policy | str | Path) -> None:
        """Put a policy in force: a message, a preset's name, or a file.

        :raises lmk.errors.UsageError: it is wrong, or the agent refuses it.
        """
        wanted = policy if isinstance(policy, Policy) else load(policy)
        self._request(ControlRequest(set_policy=SetPolicy(policy=wanted)))

    def request_kill(self, floor: int, *, reason: int = 0) -> KillAnswer:
        """Ask for one kill now, whatever the policy's limits say, as Android's vendor hooks do.

        Never-kill rules, dry run, a kill under way and the budget hold as ever; the report comes
        over the record stream, with reason 1000 + `reason`.

        :param floor: nobody below this oom_score_adj may die, -1000..1000.
        :param reason: the caller's own, 0..999.
        :raises lmk.errors.UsageError: one of them is outside its range.
        """
        if not 0 <= reason <= 999:
            raise UsageError(f"the reason of a requested kill is 0..999, not {reason}")
        if not -1000 <= floor <= 1000:
            raise UsageError(f"the floor of a requested kill is -1000..1000, not {floor}")
        wanted = RequestKill(vendor_reason=reason, min_oom_score_adj=floor)
        return self._request(ControlRequest(request_kill=wanted)).kill_answer

    def renew(self, lease: timedelta | None = None) -> None:
        """Begin the lease anew, with another length if `lease` says so."""
        lease_ms = 0 if lease is None else lease_ms_of(lease)
        self._request(ControlRequest(renew_lease=RenewLease(lease_ms=lease_ms)))

    def detach(self) -> None:
        """Give the device back; return once nothing of lmk runs there. May be called twice."""
        self._detach_at_exit = False
        give_back(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._detach_at_exit:
            return
        if error is None:
            self.detach()
            return
        # The error that ends the block is the one to hear of; the lease frees the device.
        with contextlib.suppress(LmkError):
            self.detach()

    # -- the agent's sockets ---------------------------------------------------------------

    def _request(self, wanted: ControlRequest) -> ControlReply:
        try:
            return control.request(self.device, self._file, wanted)
        except ServiceRefusedError:
            # A new agent has new socket names; it may be on its way.
            self._greet()
            return control.request(self.device, self._file, wanted)

    def _open_records(self, position: Position, follow: bool) -> ByteStream:
        """For :class:`RecordStream`: a connection, on the socket names that hold now."""
        try:
            stream = control.open_records(self.device, self._file, position, follow=follow)
        except ServiceRefusedError as error:
            now = time.monotonic()
            if self._refused_since is None:
                self._refused_since = now
            elif now - self._refused_since > _RESTART_PATIENCE_S:
                raise SessionOverError(
                    f"{self.device.serial}: the agent is gone and nobody restarts it; "
                    "`lmk attach` takes over",
                    serial=self.device.serial,
                ) from error
            self._refresh()
            raise
        self._refused_since = None
        return stream

    def _refresh(self) -> None:
        facts = gather(self._root)
        if facts.session is None:
            raise SessionOverError(
                f"{self.device.serial}: nothing is attached any more", serial=self.device.serial
            )
        if not facts.served:
            raise SessionOverError(abandoned(self.device), serial=self.device.serial)
        self._file = facts.session

    def _greet(self) -> Hello:
        """The agent's Hello; while a dead one is being replaced, the next one's."""
        end = time.monotonic() + _RESTART_PATIENCE_S
        while True:
            try:
                return self._hear_hello()
            except SessionOverError:
                raise
            except TransientError:
                # Nobody listens there, or one that is just dying took the connection.
                if time.monotonic() >= end:
                    raise
                self._refresh()
                time.sleep(_RESTART_PAUSE_S)

    def _hear_hello(self) -> Hello:
        stream = RecordStream(
            lambda position, follow: control.open_records(
                self.device, self._file, position, follow=follow
            ),
            follow=False,
            # On these names once: whoever comes after a dead one has others.
            patience=timedelta(0),
            check=lambda hello: control.check_hello(hello, self._file, self._build_id),
        )
        with stream:
            record = next(iter(stream), None)
        if record is None or not record.HasField("hello"):
            raise TransientError(
                f"{self.device.serial}: the agent hung up before its Hello",
                serial=self.device.serial,
            )
        return record.hello


def abandoned(device: Device) -> str:
    """What to say of a session whose agent and guardian are dead."""
    return (
        f"{device.serial}: agent and guardian are dead, their handlers may still kill: "
        "`lmk attach` takes over, `lmk detach` gives the device back"
    )


def lease_ms_of(lease: timedelta) -> int:
    """A lease in milliseconds.

    :raises lmk.errors.UsageError: it is under a second, or over a year.
    """
    lease_ms = round(lease / timedelta(milliseconds=1))
    if lease_ms < 1000:
        raise UsageError(f"a lease of {lease} is too short: a second at least")
    if lease_ms > _LONGEST_LEASE_MS:
        raise UsageError(f"a lease of {lease} is too long: 366 days at most, or none at all")
    return lease_ms
