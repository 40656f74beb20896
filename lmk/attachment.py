# SPDX-License-Identifier: Apache-2.0
"""Attach and detach: how a device comes to a session, who holds it, and how it is given back."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import re
from datetime import timedelta
from pathlib import Path

from lmk import progress
from lmk.android import KILLED_LENGTHS, killed_form
from lmk.build import Bundle, build, cached, open_bundle
from lmk.control import SessionFile
from lmk.device.interface import Device
from lmk.device.probe import Probe
from lmk.device.root import Root, find_root
from lmk.errors import TransientError, UsageError
from lmk.facts import Facts, gather
from lmk.install import examine, give_back, install, start_agent, undo_start
from lmk.policy import Policy, load, stopped_killer
from lmk.report.text import printable
from lmk.session import Session, abandoned, lease_ms_of

__all__ = [
    "LEASE",
    "attach",
    "connect_session",
    "detach",
    "gather_as_root",
    "holder",
    "probe",
]

LEASE = timedelta(minutes=15)


def attach(
    device: Device,
    policy: Policy | str | Path = "default",
    *,
    bundle: Bundle | str | Path | None = None,
    lease: timedelta | None = LEASE,
    dry_run: bool | None = None,
    take_over: bool = False,
    replace_lmkd: bool = False,
    prockill_bytes: int | None = None,
) -> Session:
    """Have handlers and agent run on `device` under `policy`, and return once it said Hello.

    Only what the device lacks is pushed. A session of the same build is taken over (policy and
    lease as given here); one of another build is detached first.

    :param policy: a message, a preset's name, or a file in text format.
    :param bundle: what to run; default: built from the sources for the device's ABI.
    :param lease: None: until detach or reboot.
    :param dry_run: decide and report, but kill nobody; default: as the policy says.
    :param take_over: also from somebody else who holds the device.
    :param replace_lmkd: stop Android's lmkd once the handlers decide. The device starts it again
        at every end of the session, before the handlers stop killing.
    :param prockill_bytes: then: which LMK_PROCKILL the device's ActivityManager takes, 12 (up
        to the first Android 15) or 16; default: as the device's build says (:mod:`lmk.android`).
    :raises lmk.errors.UsageError: no root, a wrong policy, a missing compiler; somebody else holds
        the device, and who; `prockill_bytes` is needed.
    :raises lmk.errors.UnsupportedError: no BTF, no kill path, or the kernel refuses the
        handlers (verifier log in ``detail``); no init that could stop lmkd.
    :raises lmk.errors.TransientError: the link broke; lmkd would not stop, and goes on.
    """
    wanted = Policy()
    wanted.CopyFrom(policy if isinstance(policy, Policy) else load(policy))
    if dry_run is not None:
        wanted.dry_run = dry_run
    if replace_lmkd and wanted.dry_run:
        raise UsageError(
            "a dry run (--shadow) in lmkd's place would leave nobody who kills: "
            "leave out one of both",
            serial=device.serial,
        )
    if prockill_bytes not in (None, *KILLED_LENGTHS):
        raise UsageError(f"LMK_PROCKILL of {prockill_bytes} bytes: there are 12 and 16")
    killed_length = prockill_bytes or (_killed_length(device) if replace_lmkd else 0)
    lease_ms = 0 if lease is None else lease_ms_of(lease)
    with progress.steps(f"Attaching {device.serial}") as task:
        task.step("look at the device")
        root, facts = gather_as_root(device)
        facts.require_btf()
        held_by_another = _is_held_by_another(facts)
        if held_by_another and not take_over:
            task.done("held by somebody else")
            raise UsageError(_held(facts), serial=device.serial)
        files = _bundle_for(facts, bundle)
        build_id = files.build_id(facts.abi)
        task.done(f"{facts.abi}, root by {root.via}")
        if held_by_another:
            task.step("detach what is there")
            detach(device, root=root)
        elif facts.session is not None:
            goes_on = (
                facts.session.lmkd_replaced == replace_lmkd
                and not facts.lmkd_silent
                and prockill_bytes is None
                and facts.session.other_killer == stopped_killer(wanted)
            )
            taken = _take_over(root, facts.session, build_id, wanted, lease_ms, goes_on, task)
            if taken is not None:
                return taken
        install(root, facts, files, task)
        task.step("start the agent")
        try:
            file = start_agent(
                root,
                facts,
                build_id,
                wanted,
                lease_ms,
                holder(),
                replace_lmkd=replace_lmkd,
                prockill_bytes=killed_length,
            )
            session = Session(root, file, build_id, detach_at_exit=True, begun=True)
        except (KeyboardInterrupt, TransientError):
            # What goes on over there by itself must not end up as a session nobody asked for.
            undo_start(root, facts)
            raise
        task.done(f"kill path {file.kill_path}: {printable(session.hello.kill_path_why)}")
    return session


def detach(device: Device, *, root: Root | None = None) -> bool:
    """Give the device back, whatever state it is in; leftovers of a dead agent are removed too.

    :return: whether there was anything of lmk.
    :raises lmk.errors.UsageError: no root.
    :raises lmk.errors.TransientError: the link broke, or the device did not finish.
    """
    return give_back(root or gather_as_root(device)[0])


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
        raise UsageError(abandoned(device), serial=device.serial)
    mine = bundle if bundle is not None else cached(facts.abi)
    build_id = mine.build_id(facts.abi) if mine is not None else None
    return Session(root, facts.session, build_id, detach_at_exit=False)


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


def holder() -> str:
    """Who this process attaches devices for: ``USER@HOST``, or what ``$LMK_HOLDER`` says."""
    try:
        name = os.environ.get("LMK_HOLDER") or f"{getpass.getuser()}@{platform.node()}"
    except (KeyError, OSError):  # a uid without a name
        name = f"{os.getuid()}@{platform.node()}"
    return re.sub(r"[^A-Za-z0-9._:#@-]+", "-", name)[:63]


def gather_as_root(device: Device) -> tuple[Root, Facts]:
    """Root and facts in as few round trips as it takes: one where adbd runs as root."""
    root = Root(device, "{}")
    facts = gather(root)
    if facts.uid == 0:
        return root, facts
    root = find_root(device)
    return root, gather(root)


def _killed_length(device: Device) -> int:
    form = killed_form(device.properties())
    if form.length is None:
        raise UsageError(
            f"{device.serial}: which LMK_PROCKILL its ActivityManager takes cannot be known: "
            f"{form.why}; say --prockill-bytes 12 or 16 (lmk.attach(prockill_bytes=...)): "
            "12 up to the first Android 15, 16 after it",
            serial=device.serial,
        )
    return form.length


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
    goes_on: bool,
    task: progress.Task,
) -> Session | None:
    """The session that runs already, with this policy and lease; None when it had to go."""
    same_kind = file.kill_path != "none" and goes_on
    if file.build_id == build_id and same_kind and lease_ms:
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
