# SPDX-License-Identifier: Apache-2.0
"""A session: handlers and agent on a device, from attach to detach.

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
import getpass
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from lmk import control, progress
from lmk.build import Bundle, build, cached, open_bundle
from lmk.control import SessionFile
from lmk.device.interface import ByteStream, Device
from lmk.device.probe import Probe
from lmk.device.root import Root, find_root
from lmk.device.service import ServiceRefusedError
from lmk.errors import LmkError, TransientError, UsageError
from lmk.install import (
    Facts,
    examine,
    gather,
    install,
    start_agent,
    stop_agent,
    undo_start,
)
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
from lmk.report.text import printable

__all__ = [
    "LEASE",
    "Session",
    "attach",
    "connect_session",
    "detach",
    "parse_position",
    "probe",
]

LEASE = timedelta(minutes=15)
_LONGEST_LEASE_MS = 366 * 24 * 3600 * 1000
#: The guardian needs a second at most for each of its three tries to restart a dead agent.
_RESTART_PATIENCE_S = 20.0
_RESTART_PAUSE_S = 0.1


class Session:
    """An attached device. Leaving the ``with`` block detaches it, unless :meth:`keep` was called.

    Made by :func:`attach` and :func:`connect_session`.
    """

    def __init__(
        self, root: Root, file: SessionFile, build_id: str | None, *, detach_at_exit: bool
    ) -> None:
        self._root = root
        self._file = file
        self._build_id = build_id
        self._detach_at_exit = detach_at_exit
        self._refused_since: float | None = None
        #: What the agent said of itself when this session was opened.
        self.hello: Hello = self._greet()

    @property
    def device(self) -> Device:
        """The device it is on."""
        return self._root.device

    @property
    def start(self) -> Position:
        """The first record made after this session was opened."""
        return Position(self.hello.boot_id, self.hello.run, self.hello.next_seq)

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
        lease_ms = 0 if lease is None else _lease_ms(lease)
        self._request(ControlRequest(renew_lease=RenewLease(lease_ms=lease_ms)))

    def detach(self) -> None:
        """Give the device back; return once nothing of lmk runs there. May be called twice."""
        self._detach_at_exit = False
        detach(self.device, root=self._root)

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
            raise SessionOverError(_dead(self.device), serial=self.device.serial)
        self._file = facts.session

    def _greet(self) -> Hello:
        """The agent's Hello; while a dead one is being replaced, the next one's."""
        end = time.monotonic() + _RESTART_PATIENCE_S
        while True:
            try:
                return self._hear_hello()
            except ServiceRefusedError:
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


def attach(
    device: Device,
    policy: Policy | str | Path = "default",
    *,
    bundle: Bundle | str | Path | None = None,
    lease: timedelta | None = LEASE,
    dry_run: bool | None = None,
    take_over: bool = False,
) -> Session:
    """Have handlers and agent run on `device` under `policy`, and return once it said Hello.

    Only what the device lacks is pushed. A session of the same build is taken over (policy and
    lease as given here); one of another build is detached first.

    :param policy: a message, a preset's name, or a file in text format.
    :param bundle: what to run; default: built from the sources for the device's ABI.
    :param lease: None: until detach or reboot.
    :param dry_run: decide and report, but kill nobody; default: as the policy says.
    :param take_over: also from somebody else who holds the device.
    :raises lmk.errors.UsageError: no root, a wrong policy, a missing compiler; somebody else holds
        the device, and who.
    :raises lmk.errors.UnsupportedError: no BTF, no kill path, or the kernel refuses the
        handlers (verifier log in ``detail``).
    :raises lmk.errors.TransientError: the link broke.
    """
    wanted = Policy()
    wanted.CopyFrom(policy if isinstance(policy, Policy) else load(policy))
    if dry_run is not None:
        wanted.dry_run = dry_run
    lease_ms = 0 if lease is None else _lease_ms(lease)
    with progress.steps(f"Attaching {device.serial}") as task:
        task.step("look at the device")
        root, facts = gather_as_root(device)
        facts.require_btf()
        held_by_another = _is_held_by_another(facts)
        if held_by_another and not take_over:
            raise UsageError(_held(facts), serial=device.serial)
        files = _bundle_for(facts, bundle)
        build_id = files.build_id(facts.abi)
        task.done(f"{facts.abi}, root by {root.via}")
        if held_by_another:
            task.step("detach what is there")
            detach(device, root=root)
        elif facts.session is not None:
            taken = _take_over(root, facts.session, build_id, wanted, lease_ms, task)
            if taken is not None:
                return taken
        install(root, facts, files, task)
        task.step("start the agent")
        try:
            file = start_agent(root, facts, build_id, wanted, lease_ms, holder())
            session = Session(root, file, build_id, detach_at_exit=True)
        except (KeyboardInterrupt, TransientError):
            # What goes on over there by itself must not end up as a session nobody asked for.
            undo_start(root, facts)
            raise
        task.done(f"kill path {file.kill_path}: {printable(session.hello.kill_path_why)}")
    return session


def holder() -> str:
    """Who this process attaches devices for: ``USER@HOST``, or what ``$LMK_HOLDER`` says."""
    try:
        name = os.environ.get("LMK_HOLDER") or f"{getpass.getuser()}@{platform.node()}"
    except (KeyError, OSError):  # a uid without a name
        name = f"{os.getuid()}@{platform.node()}"
    return re.sub(r"[^A-Za-z0-9._:#@-]+", "-", name)[:63]


def connect_session(device: Device, *, bundle: Bundle | None = None) -> Session:
    """The session that is attached to `device`; leaving its ``with`` block leaves it attached.

    :param bundle: what the agent has to be of; default: what was built from the sources as
        they are now, if it was.
    :raises lmk.errors.UsageError: nothing is attached.
    :raises lmk.errors.ProtocolError: the agent is of another build.
    """
    root, facts = gather_as_root(device)
    if facts.session is None:
        raise UsageError(
            f"{device.serial}: nothing is attached; `lmk attach` does that", serial=device.serial
        )
    if not facts.served:
        raise UsageError(_dead(device), serial=device.serial)
    mine = bundle if bundle is not None else cached(facts.abi)
    build_id = mine.build_id(facts.abi) if mine is not None else None
    return Session(root, facts.session, build_id, detach_at_exit=False)


def detach(device: Device, *, root: Root | None = None) -> bool:
    """Give the device back, whatever state it is in; leftovers of a dead agent are removed too.

    :return: whether there was anything of lmk.
    :raises lmk.errors.UsageError: no root.
    :raises lmk.errors.TransientError: the link broke, or the device did not finish.
    """
    if root is None:
        root, facts = gather_as_root(device)
    else:
        facts = gather(root)
    if facts.session is None and not facts.pinned:
        return False
    stop_agent(root, facts)
    return True


def probe(device: Device, *, bundle: Bundle | None = None) -> Probe:
    """What `device` can do, and which kill path that gives; works without root as far as it goes.

    :param bundle: where the probe program comes from; default: built for the device's ABI.
    """
    with progress.steps(f"Examining {device.serial}") as task:
        root = Root(device, "{}")
        facts = gather(root)
        if facts.uid != 0:
            with contextlib.suppress(UsageError):
                root = find_root(device)
                facts = gather(root)
        return examine(root, facts, _bundle_for(facts, bundle), task)


def parse_position(text: str) -> Position:
    """``SEQ`` of the newest run, ``RUN:SEQ``, or ``start``: the oldest record there is.

    :raises lmk.errors.UsageError: it is none of these.
    """
    if text == "start":
        return Position(run=1, seq=1)
    match = re.fullmatch(r"(?:([1-9][0-9]{0,8}):)?([1-9][0-9]{0,17})", text)
    if match is None:
        raise UsageError(f"{text!r} is not a place in a stream: SEQ, RUN:SEQ or start")
    return Position(run=int(match[1] or 0), seq=int(match[2]))


def _is_held_by_another(facts: Facts) -> bool:
    """A session that lives, and not by the same person on the same host."""
    session = facts.session
    return (
        session is not None and facts.served and bool(session.holder) and session.holder != holder()
    )


def _held(facts: Facts) -> str:
    assert facts.session is not None
    return (
        f"{facts.serial} is held by {facts.session.holder} (agent pid {facts.session.agent_pid}); "
        "`lmk detach` gives it back, `lmk attach --take-over` takes it"
    )


def _dead(device: Device) -> str:
    return (
        f"{device.serial}: agent and guardian are dead, their handlers may still kill: "
        "`lmk attach` takes over, `lmk detach` gives the device back"
    )


def gather_as_root(device: Device) -> tuple[Root, Facts]:
    """Root and facts in as few round trips as it takes: one where adbd runs as root."""
    root = Root(device, "{}")
    facts = gather(root)
    if facts.uid == 0:
        return root, facts
    root = find_root(device)
    return root, gather(root)


def _bundle_for(facts: Facts, bundle: Bundle | str | Path | None) -> Bundle:
    if isinstance(bundle, Bundle):
        return bundle
    return build([facts.abi]) if bundle is None else open_bundle(bundle)


def _take_over(
    root: Root,
    file: SessionFile,
    build_id: str,
    policy: Policy,
    lease_ms: int,
    task: progress.Task,
) -> Session | None:
    """The session that runs already, with this policy and lease; None when it had to go."""
    if file.build_id == build_id and file.kill_path != "none" and lease_ms:
        try:
            session = Session(root, file, build_id, detach_at_exit=True)
            session.set_policy(policy)
            session.renew(timedelta(milliseconds=lease_ms))
        except TransientError:
            pass  # a dead agent that nobody restarted: begin anew
        else:
            task.say(f"{root.device.serial} was attached already: policy and lease are set anew")
            return session
    elif file.build_id != build_id:
        task.say(f"{root.device.serial} runs build {file.build_id[:16]}: detaching that first")
    task.step("detach what is there")
    detach(root.device, root=root)
    return None


def _lease_ms(lease: timedelta) -> int:
    lease_ms = round(lease / timedelta(milliseconds=1))
    if lease_ms < 1000:
        raise UsageError(f"a lease of {lease} is too short: a second at least")
    if lease_ms > _LONGEST_LEASE_MS:
        raise UsageError(f"a lease of {lease} is too long: 366 days at most, or none at all")
    return lease_ms
