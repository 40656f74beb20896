# SPDX-License-Identifier: Apache-2.0
"""A guest whose pid 1 is Debian's systemd, and whose killer is its systemd-oomd; units on it."""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from take_over_parts import Said

from lmk import virtual
from lmk.device.root import Root
from lmk.report import Position
from lmk.session import Session
from lmk.virtual import Guest
from lmk.workload.conversation import Conversation
from lmk.workload.install import install

__all__ = [
    "KILLERS",
    "OOMD",
    "Heard",
    "active",
    "booted_systemd",
    "drop_in",
    "killers",
    "login",
    "started_ns",
    "unit",
]

OOMD = "systemd-oomd.service"
KILLERS = (OOMD, "earlyoom.service", "nohang.service")
_PATIENCE = timedelta(seconds=120)


@contextmanager
def booted_systemd(
    variant: str,
    *kernel_arguments: str,
    kernel: str | None = None,
    packages: Sequence[str] = (),
    system: Sequence[Path] = (),
) -> Iterator[Guest]:
    """A guest of this process alone, with systemd-oomd, earlyoom and `packages` to start."""
    guest = virtual.up(
        f"virtual{f':{kernel}' if kernel else ''}#{variant}-{os.getpid()}",
        kernel_arguments=kernel_arguments,
        debian=("systemd-oomd", "earlyoom", *packages),
        init="systemd",
        system=system,
        detached=False,
    )
    try:
        yield guest
    finally:
        guest.down()


def active(root: Root, name: str) -> bool:
    return root.run(f"systemctl is-active --quiet {name}").exit_code == 0


def killers(root: Root) -> set[str]:
    """Who would kill now."""
    linked = root.run("[ -e /sys/fs/bpf/lmk/links ]").exit_code == 0
    others = {name for name in KILLERS if active(root, name)}
    return others | ({"lmk"} if linked else set())


def started_ns(root: Root, name: str) -> int:
    """When it was ready last, on the clock of records: a guest does not sleep."""
    said = root.run(f"systemctl show --value -p ActiveEnterTimestampMonotonic {name}")
    return int(said.text) * 1000


class Heard:
    """What a session says from its first record to its last, also while it ends."""

    def __init__(self, session: Session) -> None:
        self._records: list[Said] = []
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=(session,))
        self._thread.start()
        assert self._begun.wait(_PATIENCE.total_seconds())

    def _listen(self, session: Session) -> None:
        begin = Position(session.hello.boot_id, session.hello.run, 1)
        with session.records(begin, follow=True) as stream:
            for record in stream:
                if record.HasField("lifecycle"):
                    life = record.lifecycle
                    self._records.append(Said(record.time_ns, life.kind, life))
                self._begun.set()

    def all(self) -> list[Said]:
        """Once the session is over."""
        self._thread.join(_PATIENCE.total_seconds())
        assert not self._thread.is_alive()
        return self._records


@contextmanager
def drop_in(root: Root, name: str, *lines: str) -> Iterator[None]:
    """Lines of [Service] that count until the end of the block."""
    place = f"/run/systemd/system/{name}.d"
    text = shlex.quote("\n".join(("[Service]", *lines, "")))
    assert root.run(f"mkdir -p {place} && echo {text} >{place}/test.conf").exit_code == 0
    assert root.run("systemctl daemon-reload").exit_code == 0
    try:
        yield
    finally:
        root.run(f"rm -r {place}; systemctl daemon-reload")


@contextmanager
def unit(root: Root, name: str, mb: int) -> Iterator[int]:
    """A transient service of that name and size; its pid."""
    said = f"/run/{name}.said"
    # Its end of input would end it.
    inner = shlex.quote(f"/bin/busybox tail -f /dev/null | {_eater(root, mb)}")
    made = root.run(
        f"rm -f {said}; systemd-run --quiet --collect --unit={name} -p StandardOutput=file:{said} "
        f"/bin/sh -c {inner}"
    )
    assert made.exit_code == 0, made.error_text
    try:
        found = root.run(
            f"until grep grown {said}; do systemctl is-active -q {name} || exit 1; sleep 0.1; done",
            timeout=_PATIENCE,
        )
        assert found.exit_code == 0, f"{name} ended"
        (pid,) = root.run(
            f"sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p' {said} | head -n 1"
        ).text.split()
        yield int(pid)
    finally:
        root.run(f"systemctl stop {name}")


@contextmanager
def login(root: Root, name: str, mb: int) -> Iterator[int]:
    """A scope of that name and size among a user's, as pam_systemd makes one; its pid."""
    scope = f"systemd-run --quiet --scope --collect --slice=user-1000.slice --unit={name}"
    words = f"{scope} {_eater(root, mb)}".split()
    with contextlib.closing(Conversation(root.device, words)) as talk:
        while (event := talk.hear(_PATIENCE)) is not None and event["event"] != "grown":
            pass
        assert event is not None, f"{name} ended"
        pids = root.run(f"cat /sys/fs/cgroup/user.slice/user-1000.slice/{name}.scope/cgroup.procs")
        yield int(pids.text)


def _eater(root: Root, mb: int) -> str:
    return (
        f"{install(root.device, 'lmk-eater')} --size-mb {mb} "
        "--adj 0 --compressible-pct 50 --floor-mb 0 --name victim --lease-s 600"
    )
