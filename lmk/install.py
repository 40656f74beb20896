# SPDX-License-Identifier: Apache-2.0
"""Files on the device, and the programs that are run there as root.

Nothing runs as root from a folder that the shell user can write: what is pushed arrives under
a temporary name, is copied as root into a root-owned 0700 folder, and only a copy whose hash is
right gets its name. Shell commands are batched, because each is a round trip.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
from collections.abc import Iterable
from datetime import timedelta

from lmk.build import Bundle, BundleFile
from lmk.control import SessionFile, parse_session_file
from lmk.device import lmkd, other_killers
from lmk.device.interface import CommandResult
from lmk.device.probe import Probe, parse_probe
from lmk.device.root import Root
from lmk.errors import (
    ExitCode,
    LmkError,
    ProtocolError,
    TransientError,
    UnsupportedError,
    UsageError,
)
from lmk.facts import Facts, gather
from lmk.policy import Policy
from lmk.progress import Task

__all__ = ["examine", "give_back", "install", "start_agent", "stop_agent", "undo_start"]

PIN_DIRECTORY = "/sys/fs/bpf/lmk"
_NEEDED = ("lmk-agent", "lmk-loader", "lmk.bpf.o", "assisted.bpf.o")
#: Loading and verifying under TCG on a busy machine takes a few seconds.
_START_TIMEOUT = timedelta(seconds=180)
#: Of it up to 12 s are for lmkd's answer.
_STOP_TIMEOUT = timedelta(seconds=60)

#: The kernel's word behind the path of a program whose file is gone, or another by now.
_DELETED = " (deleted)"
_DELETED_GLOB = " ?deleted?"  # no shell takes it for anything else

_LOOK_AT_KILLERS = f"({lmkd.LOOK}); {other_killers.LOOK}"


def install(
    root: Root,
    facts: Facts,
    bundle: Bundle,
    task: Task,
    *,
    names: Iterable[str] = _NEEDED,
) -> list[str]:
    """Put on the device what it lacks of `names`; returns what was pushed.

    :raises lmk.errors.UsageError: the folder is somebody else's.
    :raises lmk.errors.TransientError: what arrived is not what was sent.
    """
    if facts.owner and facts.owner != "0 directory":
        raise UsageError(
            f"{facts.serial}: {facts.directory} is not a directory of root's ({facts.owner}): "
            "somebody else made it; remove it",
            serial=facts.serial,
        )
    missing = [
        file
        for file in (bundle.file(facts.abi, name) for name in names)
        if facts.have.get(file.name) != file.sha256
    ]
    if not missing:
        return []
    mark = secrets.token_hex(8)
    try:
        for file in missing:
            task.step(f"push {file.name}", len(file.content))
            root.device.push(
                file.content,
                _passing(facts, file, mark),
                mode=0o600,
                progress=lambda done, _total: task.reach(done),
            )
        task.step("check what arrived")
        result = root.run(_take_in(facts, missing, mark))
    except BaseException:
        _forget(root, facts, missing, mark)
        raise
    if result.exit_code != 0:
        _forget(root, facts, missing, mark)
        raise TransientError(
            f"{facts.serial}: installing in {facts.directory} failed: "
            f"{_last_line(result) or f'exit {result.exit_code}'}",
            detail=result.error_text,
            serial=facts.serial,
        )
    return [file.name for file in missing]


def examine(root: Root, facts: Facts, bundle: Bundle, task: Task) -> Probe:
    """Run ``lmk-loader probe`` on the device, as root when `facts` are root's.

    Else it runs as the shell user, from that user's own folder, and finds what it can.
    """
    transport = root.device.transport
    if facts.uid == 0:
        install(root, facts, bundle, task, names=("lmk-loader",))
        task.step("ask the kernel")
        result = root.run(f"{facts.directory}/lmk-loader probe")
        found = parse_probe(result, serial=facts.serial, transport=transport, root=root.via)
        return _with_killers(found, root.run(_LOOK_AT_KILLERS))
    loader = bundle.file(facts.abi, "lmk-loader")
    place = f"{facts.temporary}/.lmk-loader-{secrets.token_hex(8)}"
    task.step("push lmk-loader", len(loader.content))
    root.device.push(
        loader.content, place, mode=0o700, progress=lambda done, _total: task.reach(done)
    )
    task.step("ask the kernel")
    result = root.device.run(f"{place} probe; e=$?; rm -f {place}; exit $e")
    found = parse_probe(result, serial=facts.serial, transport=transport, root="")
    return _with_killers(found, root.device.run(_LOOK_AT_KILLERS))


def _with_killers(found: Probe, look: CommandResult) -> Probe:
    killers = {
        "replace_lmkd": lmkd.parse_look(look.text),
        "other_killers": other_killers.parse_look(look.text),
    }
    return Probe({**found.values, **killers})


def start_agent(
    root: Root,
    facts: Facts,
    build_id: str,
    policy: Policy,
    lease_ms: int,
    holder: str,
    *,
    replace_lmkd: bool = False,
    prockill_bytes: int = 16,
) -> SessionFile:
    """Start agent, guardian and handlers; returns the session once the sockets listen.

    :param lease_ms: 0: no lease.
    :param holder: who attaches, for others to be told: letters, digits and ``._:#@-``.
    :param replace_lmkd: stop lmkd once the handlers decide; every end of the session starts it.
    :param prockill_bytes: then: the length of the LMK_PROCKILL that ActivityManager takes.
    :raises lmk.errors.UsageError: somebody else was faster; says who.
    :raises lmk.errors.UnsupportedError: the kernel refuses the handlers, or has no kill path;
        lmkd cannot be replaced.
    :raises lmk.errors.TransientError: lmkd does not stop; then it goes on, and nothing is attached.
    """
    directory = facts.directory
    in_place = f"--replace-lmkd --lmkd-prockill-bytes {prockill_bytes} " if replace_lmkd else ""
    # systemd ends what is left in a unit when that stops, as adbd's when adbd dies: neither agent
    # nor guardian are adbd's. Where it does not run, or makes no scope, the words vanish.
    of_its_own = (
        "s='systemd-run --quiet --scope --collect --slice=system.slice --description=lmk'; "
        "$s true >/dev/null 2>&1 || s=; "
    )
    # Of this shell alone: of two that start at once, each reads what it wrote itself.
    command = (
        f"{of_its_own}umask 077; p={directory}/policy.$$; "
        f"cat > $p && $s {directory}/lmk-agent start "
        f"--dir {directory} --build-id {build_id} --policy $p "
        f"--lease-ms {lease_ms} --device-name {facts.name or 'unknown'} "
        f"--holder {holder} {in_place}>/dev/null; e=$?; "
        f"if [ $e = 0 ]; then mv -f $p {directory}/policy.pb; cat {directory}/session; "
        "else rm -f $p; (exit $e); fi"
    )
    result = root.run(command, timeout=_START_TIMEOUT, stdin=policy.SerializeToString())
    if result.exit_code != 0:
        faster = _last_line(result).startswith("held by ")
        what = "somebody else was faster" if faster else "the agent does not start"
        raise _agent_error(what, result, facts)
    return parse_session_file(result.text, directory)


def undo_start(root: Root, facts: Facts) -> None:
    """Have nothing run of a start that was not waited for; best effort, never raises LmkError."""
    directory = facts.directory
    with contextlib.suppress(LmkError):
        root.run(f"{directory}/lmk-agent stop --dir {directory}", timeout=_STOP_TIMEOUT)


def give_back(root: Root) -> bool:
    """Give the device back, whatever state it is in; False: there was nothing of lmk.

    :raises lmk.errors.TransientError: the link broke, or the device did not finish.
    """
    facts = gather(root)
    stopped = facts.lmkd_stopped or facts.units_stopped
    if facts.session is None and not facts.pinned and not stopped:
        return False
    stop_agent(root, facts)
    return True


def stop_agent(root: Root, facts: Facts) -> None:
    """End agent and guardian, unpin the handlers, remove the session file.

    :raises lmk.errors.TransientError: the device did not finish.
    """
    directory = facts.directory
    command = f"{directory}/lmk-agent stop --dir {directory}"
    if "lmk-agent" not in facts.have:
        # Somebody removed the program under a session; its pins are all that is left.
        command = f"rm -rf {PIN_DIRECTORY} {directory}/session"
        if facts.lmkd_stopped:
            notes = f"{directory}/lmkd-stopped {directory}/lmkd-silent"
            command = f"setprop ctl.start lmkd && rm -f {notes} && {command}"
        if facts.units_stopped:
            note = f"{directory}/units-stopped"
            names = f"$(tail -n +2 {note} | cut -d' ' -f1)"
            command = f"systemctl start -- {names} && rm {note} && {command}"
    if facts.session is not None and facts.session.program:
        command = _by_the_session(facts.session, command)
    result = root.run(command, timeout=_STOP_TIMEOUT)
    if result.exit_code != 0:
        raise _agent_error("detaching failed", result, facts)


def _by_the_session(session: SessionFile, otherwise: str) -> str:
    """Stop by the agent of the session, which may be installed for good, outside of the folder.

    The one that runs knows best, also when another file has taken its place since or none has.
    Its pid may have become another's; so what runs there is asked for.
    """
    program = shlex.quote(session.program.removesuffix(_DELETED))
    running = f"/proc/{session.agent_pid}/exe"
    stop = f"stop --dir {session.directory}"
    return (
        f"p=$(readlink {running}); "
        f'if [ "${{p%{_DELETED_GLOB}}}" = {program} ]; then {running} {stop}; '
        f"elif [ -x {program} ]; then {program} {stop}; else {otherwise}; fi"
    )


def _passing(facts: Facts, file: BundleFile, mark: str) -> str:
    return f"{facts.temporary}/.{file.name}-{mark}"


def _take_in(facts: Facts, files: list[BundleFile], mark: str) -> str:
    directory = shlex.quote(facts.directory)
    lines = [f"umask 077; mkdir -p -m 0700 {directory} && cd {directory} || exit 1"]
    for file in files:
        passing = _passing(facts, file, mark)
        lines += [
            f"cp {passing} {file.name}.new || exit 1; rm -f {passing}",
            f'[ "$(sha256sum < {file.name}.new)" = "{file.sha256}  -" ] || '
            f"{{ rm -f {file.name}.new; echo {file.name}: wrong hash >&2; exit 1; }}",
            f"chmod {file.mode:04o} {file.name}.new && mv -f {file.name}.new {file.name} || exit 1",
        ]
    return "\n".join(lines)


def _forget(root: Root, facts: Facts, files: list[BundleFile], mark: str) -> None:
    """Leave nothing half-pushed, as far as the link still goes."""
    try:
        root.run("rm -f " + " ".join(_passing(facts, file, mark) for file in files))
    except LmkError:
        return


_ERRORS: dict[int, type[LmkError]] = {
    ExitCode.USAGE: UsageError,
    ExitCode.UNSUPPORTED: UnsupportedError,
    ExitCode.TRANSIENT: TransientError,
    ExitCode.PROTOCOL: ProtocolError,
}


def _agent_error(what: str, result: CommandResult, facts: Facts) -> LmkError:
    """The agent ends with the exit codes of this toolkit: the same kind of error here."""
    kind = _ERRORS.get(result.exit_code, LmkError)
    said = _last_line(result) or f"exit {result.exit_code}"
    return kind(
        f"{facts.serial}: {what}: {said}",
        detail=result.error_text + result.text,
        serial=facts.serial,
    )


def _last_line(result: CommandResult) -> str:
    lines = result.error_text.strip().splitlines()
    return lines[-1].removeprefix("lmk-agent: ").removeprefix("lmk-loader: ") if lines else ""
