# SPDX-License-Identifier: Apache-2.0
"""Guests that run: what is known of each, and how it is ended.

A guest is a QEMU process of its own session, so it outlives whoever started
it. What others need to find it lies in ``guests/NAME/guest.json`` of the
cache. A process id alone proves nothing, as it may have been given to another
process since: a record counts only while a process with that id *and* that
start time exists.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

from lmk.cache import cache_root, lock, remove_tree
from lmk.errors import LmkError
from lmk.virtual.qemu import boot_id

__all__ = [
    "Guest",
    "Options",
    "UnreadableRecordError",
    "find_record",
    "forget",
    "lock_path",
    "place",
    "process_start",
    "running",
    "unreadable",
]

_RECORD = "guest.json"
#: QEMU ends on SIGTERM at once, even with the guest frozen; SIGKILL follows when it does not.
_TERM_S = 5.0
_KILL_S = 10.0


class UnreadableRecordError(LmkError):
    """A guest's record is of another version of the toolkit, or damaged."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a guest is made of.

    :ivar zram_mb: size of the zram swap in MB; None is half of `ram_mb`, 0 is no swap.
    :ivar disk_mb: size of the disk ``/dev/vda``, which reads as zeros with the latency of
        flash; 0 is no disk.
    :ivar own_time: the guest's clock goes by the instructions that it executes, whatever else
        this machine does meanwhile. Only without KVM; its CPUs share one of the machine's.
    :ivar adbd_user: ``root``, or ``shell`` for a device whose adbd cannot be root.
    :ivar kernel_arguments: added to the kernel command line; they win over what
        every guest gets (``psi=0``, ``cgroup_disable=pressure``,
        ``sysctl.kernel.kptr_restrict=2``).
    :ivar debian: Debian packages of a root file system at ``/debian``; none: there is none.
    :ivar init: ``busybox``; or ``systemd``: the Debian root is the guest's own, and its systemd
        is pid 1.
    :ivar system: folders with files of its system (:mod:`lmk.virtual.system`).
    :ivar data: image of a file system that is its /data; empty: /data ends with the guest.
    """

    ram_mb: int = 800
    cpus: int = 2
    zram_mb: int | None = None
    adbd_user: str = "root"
    kernel_arguments: tuple[str, ...] = ()
    disk_mb: int = 0
    own_time: bool = False
    debian: tuple[str, ...] = ()
    init: str = "busybox"
    system: tuple[str, ...] = ()
    data: str = ""

    @property
    def swap_mb(self) -> int:
        """Size of the swap in MB that `zram_mb` comes to."""
        return self.ram_mb // 2 if self.zram_mb is None else self.zram_mb


@dataclass(frozen=True, slots=True)
class Guest:
    """A virtual device that runs, detached from the process that started it.

    :ivar name: its full name, which is also its serial: ``virtual:7.3``.
    :ivar port: loopback port of its adbd.
    :ivar pid: of QEMU, on the host.
    :ivar kernel: the kernel's release, as ``uname -r`` says it.
    :ivar abi: as Android names it: ``x86_64``, ``arm64-v8a``.
    :ivar accelerator: ``kvm`` or ``tcg``.
    :ivar owner: pid and start time of the process it must not outlive: the one that
        boots it, and after that the one it was booted for unless it is detached.
    :ivar booted: its adbd has answered.
    """

    name: str
    port: int
    pid: int
    start_time: int
    host_boot: str
    kernel: str
    abi: str
    accelerator: str
    options: Options
    owner: tuple[int, int] | None = None
    booted: bool = False

    @property
    def directory(self) -> Path:
        """Where its record and its logs are; gone after :meth:`down`."""
        return place(self.name)

    @property
    def console_log(self) -> Path:
        """What the guest wrote to its console."""
        return self.directory / "console.log"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of its adbd."""
        return "127.0.0.1", self.port

    def alive(self) -> bool:
        """True while its QEMU runs."""
        return self.host_boot == boot_id() and process_start(self.pid) == self.start_time

    def down(self) -> None:
        """End it and remove its record and logs. Nothing happens when it is gone already.

        :raises lmk.errors.LmkError: the process could not be ended.
        """
        with lock(lock_path(self.name)):
            self._end()

    def _end(self) -> None:
        if self.alive():
            _end_process(self.pid, self.start_time)
        current = _read(self.directory)
        # The name may belong to a newer guest by now.
        if current is None or (current.pid, current.start_time) == (self.pid, self.start_time):
            _remove(self.directory)

    def record(self) -> None:
        """Write what others need to find it."""
        partial = self.directory / f"{_RECORD}.new"
        partial.write_text(json.dumps(asdict(self), indent=1) + "\n")
        partial.replace(self.directory / _RECORD)


def place(name: str) -> Path:
    """The directory of the guest `name`; a colon would end a path in some variables."""
    return cache_root() / "guests" / name.replace(":", "-")


def lock_path(name: str) -> Path:
    """The lock that whoever boots or ends `name` holds."""
    return cache_root() / "guests" / f".{place(name).name}.lock"


def running() -> list[Guest]:
    """All guests that run, by name. What dead ones left behind is removed on the way.

    Those whose record cannot be read are left out: :func:`unreadable` has them.
    """
    found = []
    for directory in _directories():
        with contextlib.suppress(UnreadableRecordError):
            found.append(find_record(directory))
    return [guest for guest in found if guest is not None and guest.booted]


def unreadable() -> list[str]:
    """What is wrong with each record that cannot be read: of another version, or damaged."""
    wrong = []
    for directory in _directories():
        try:
            _read(directory)
        except UnreadableRecordError as error:
            wrong.append(str(error))
    return wrong


def _directories() -> list[Path]:
    folder = cache_root() / "guests"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def find_record(directory: Path, *, locked: bool = False) -> Guest | None:
    """The live guest recorded in `directory`; a record of a dead one is removed.

    One whose owner died is ended: nobody waits for it, and nobody would ever take it down.

    :param locked: the caller holds the lock of its name.
    """
    guest = _read(directory)
    if guest is None or _counts(guest):
        return guest
    with contextlib.nullcontext() if locked else lock(lock_path(guest.name)):
        guest = _read(directory)
        if guest is None or _counts(guest):
            return guest
        guest._end()
    return None


def _counts(guest: Guest) -> bool:
    owned = guest.owner is None or process_start(guest.owner[0]) == guest.owner[1]
    return guest.alive() and owned


def forget(name: str) -> None:
    """Remove the logs that a boot of `name` left when it failed."""
    directory = place(name)
    if directory.is_dir():
        with lock(lock_path(name)):
            if _read(directory) is None:
                _remove(directory)


def _read(directory: Path) -> Guest | None:
    try:
        fields = json.loads((directory / _RECORD).read_text())
        options = fields["options"]
        for several in ("kernel_arguments", "debian", "system"):
            options[several] = tuple(options.get(several, ()))
        fields["options"] = Options(**options)
        fields["owner"] = tuple(fields["owner"]) if fields["owner"] else None
        return Guest(**fields)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UnreadableRecordError(
            f"the record of a guest in {directory} is of another version or damaged: "
            "end its QEMU and remove the directory",
            detail=str(error),
        ) from error


def _remove(directory: Path) -> None:
    if directory.is_dir():
        remove_tree(directory)
    (directory.parent / f".{directory.name}.lock").unlink(missing_ok=True)


def process_start(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot (proc_pid_stat(5), field 22)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in field 2 may hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _end_process(pid: int, start_time: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # The descriptor holds the process; now it cannot become another one.
        if process_start(pid) != start_time:
            return
        for number, patience in ((signal.SIGTERM, _TERM_S), (signal.SIGKILL, _KILL_S)):
            signal.pidfd_send_signal(descriptor, number)
            if select.select([descriptor], [], [], patience)[0]:
                # Ours to reap when this process started it.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
                return
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)
    raise LmkError(f"QEMU (process {pid}) did not end")
