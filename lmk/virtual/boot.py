# SPDX-License-Identifier: Apache-2.0
"""Boots a guest and waits until its adbd answers."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lmk import progress
from lmk.cache import lock, remove_tree
from lmk.errors import LmkError, TransientError, UsageError
from lmk.virtual import data_disk, debian_root, image, systemd_root
from lmk.virtual import system as system_files
from lmk.virtual.guest import Guest, Options, find_record, lock_path, place, process_start
from lmk.virtual.kernels import Kernel, parse
from lmk.virtual.qemu import Qemu, boot_id, command_line, put_first

__all__ = ["BootError", "up"]

#: 4 to 9 s were measured under TCG on two idle cores; a busy machine takes many times that.
_BOOT_S = 180.0
#: A port that was free can be taken before QEMU binds it.
_PORT_TRIES = 5
_MIN_RAM_MB = 256
_CONSOLE_TAIL_LINES = 40


class BootError(TransientError):
    """A guest did not come up; the message says at which step, `detail` ends with its console."""


def up(
    name: str = "virtual",
    *,
    ram_mb: int = 800,
    cpus: int = 2,
    zram_mb: int | None = None,
    adbd_user: str = "root",
    kernel_arguments: tuple[str, ...] | list[str] = (),
    disk_mb: int = 0,
    own_time: bool = False,
    debian: tuple[str, ...] | list[str] = (),
    init: str = "busybox",
    system: Sequence[str | Path] = (),
    data: str | Path | None = None,
    first: bool = False,
    detached: bool = True,
) -> Guest:
    """Boot the guest `name`, or return it when it is up with the same options.

    :param name: ``virtual[:KERNEL][#INSTANCE]``, see :func:`lmk.virtual.parse`.
    :param ram_mb: memory in MB.
    :param zram_mb: swap in MB; None is half of `ram_mb`, 0 is none.
    :param adbd_user: ``root`` or ``shell``.
    :param kernel_arguments: added to the kernel command line, winning over the defaults.
    :param disk_mb: size of ``/dev/vda``, which reads as zeros with the latency of flash.
    :param own_time: its clock goes by the instructions that it executes: slower than this
        machine's, and free of what else that does.
    :param debian: Debian packages for a root file system at ``/debian``
        (:mod:`lmk.virtual.debian_root`).
    :param init: ``busybox``, or ``systemd``: Debian's, whose root with `debian` is then the guest's
        own (:mod:`lmk.virtual.systemd_root`).
    :param system: folders laid out as its root, whose files are part of its system
        (:mod:`lmk.virtual.system`); they are read now.
    :param data: a file that holds its /data, so that it outlasts the guest; made when it is not
        there (:mod:`lmk.virtual.data_disk`).
    :param first: its CPUs come before other work of this machine, where that may be asked for.
    :param detached: it runs until :meth:`Guest.down`; False ends it with the calling
        thread (so with the process, however that ends).
    :raises lmk.errors.UsageError: no such name or option, or it is up with other options.
    :raises BootError: QEMU ended, or the guest's adbd did not answer.

    Raises like :func:`lmk.debian.fetch` too.
    """
    full_name, kernel = parse(name)
    options = Options(
        ram_mb,
        cpus,
        zram_mb,
        adbd_user,
        tuple(kernel_arguments),
        disk_mb,
        own_time,
        tuple(debian),
        init,
        tuple(str(Path(folder).absolute()) for folder in system),
        str(Path(data).absolute()) if data is not None else "",
    )
    _check(options)
    existing = _existing(full_name, options)
    if existing is not None:
        return existing
    with progress.steps(f"Booting {full_name}"):
        booted = image.build(kernel)
        disk = _disk(options, kernel)
        if options.data:
            data_disk.make(Path(options.data))
        qemu = Qemu.fetch(kernel.abi)
        accelerator = "tcg" if own_time else qemu.accelerator(booted)
        with lock(lock_path(full_name)):
            # Another process may have booted it while this one downloaded.
            existing = _existing(full_name, options, locked=True)
            if existing is None:
                return _boot(
                    full_name, kernel, booted, disk, qemu, accelerator, options, first, detached
                )
        return existing


def _disk(options: Options, kernel: Kernel) -> Path | None:
    if options.init == "systemd":
        return systemd_root.build(options.debian, kernel.abi)
    return debian_root.build(options.debian, kernel.abi) if options.debian else None


def _existing(name: str, options: Options, *, locked: bool = False) -> Guest | None:
    guest = find_record(place(name), locked=locked)
    if guest is None or not guest.booted:
        return None
    if guest.options != options:
        raise UsageError(
            f"{name} is up with other options: `lmk virtual down {name}` first, "
            f"or boot {name}{'-2' if '#' in name else '#2'} beside it"
        )
    return guest


def _check(options: Options) -> None:
    if options.ram_mb < _MIN_RAM_MB:
        raise UsageError(f"a guest needs at least {_MIN_RAM_MB} MB of RAM, not {options.ram_mb}")
    if not 1 <= options.cpus <= 64:
        raise UsageError(f"a guest has 1..64 CPUs, not {options.cpus}")
    if options.zram_mb is not None and not 0 <= options.zram_mb <= 8 * options.ram_mb:
        raise UsageError(f"zram can be 0..{8 * options.ram_mb} MB, not {options.zram_mb}")
    if options.disk_mb < 0:
        raise UsageError(f"a disk cannot have {options.disk_mb} MB")
    if options.adbd_user not in ("root", "shell"):
        raise UsageError(f"adbd runs as root or shell, not {options.adbd_user!r}")
    if options.init not in ("busybox", "systemd"):
        raise UsageError(f"a guest's init is busybox or systemd, not {options.init!r}")
    system_files.check(options.system, options.init)
    for argument in options.kernel_arguments:
        if not argument or any(not " " < character <= "~" for character in argument):
            raise UsageError(f"{argument!r} is not one kernel argument")


def _boot(
    name: str,
    kernel: Kernel,
    booted: image.Image,
    disk: Path | None,
    qemu: Qemu,
    accelerator: str,
    options: Options,
    first: bool,
    detached: bool,
) -> Guest:
    """Start QEMU and wait for adbd; the caller holds the lock of the name."""
    directory = place(name)
    for _ in range(_PORT_TRIES):
        if directory.exists():
            remove_tree(directory)
        directory.mkdir(parents=True)
        port = _free_port()
        own = booted
        if options.system:
            own = replace(booted, initramfs=_with_system(booted, kernel, options, directory))
        command = command_line(
            qemu,
            own,
            accelerator=accelerator,
            console=directory / "console.log",
            ram_mb=options.ram_mb,
            cpus=options.cpus,
            arguments=[
                f"lmk.name={name}",
                f"lmk.abi={kernel.abi.android}",
                f"lmk.zram_mb={options.swap_mb}",
                f"lmk.adbd_user={options.adbd_user}",
                f"lmk.debian={int(disk is not None)}",
                f"lmk.init={options.init}",
                f"lmk.data={int(bool(options.data))}",
                *(["rdinit=/etc/pid1"] if options.init == "systemd" else []),
                *options.kernel_arguments,
            ],
            port=port,
            disk_mb=options.disk_mb,
            own_time=options.own_time,
            disk=disk,
            data=Path(options.data) if options.data else None,
        )
        if not detached:
            # The kernel ends it with the thread that starts it, after SIGKILL too.
            command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        with (directory / "qemu.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=qemu.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                # Its own session: the terminal's Ctrl-C and hang-up are not for it.
                start_new_session=True,
            )
        if first:
            put_first(process.pid)
        try:
            guest = Guest(
                name=name,
                port=port,
                pid=process.pid,
                start_time=process_start(process.pid) or 0,
                host_boot=boot_id(),
                kernel=booted.release,
                abi=kernel.abi.android,
                accelerator=accelerator,
                options=options,
                owner=(os.getpid(), process_start(os.getpid()) or 0),
            )
            guest.record()
            with progress.steps(f"Booting {name}") as task:
                task.step(f"boot Linux {booted.release} ({kernel.abi.machine}, {accelerator})")
                answered = _wait(guest, process)
                if answered:
                    guest = replace(guest, owner=None if detached else guest.owner, booted=True)
                    guest.record()
                    task.done(f"adbd answers on 127.0.0.1:{port}")
                    return guest
        except BaseException:
            # Ctrl-C included: no QEMU stays behind. The logs stay, as they say why.
            process.kill()
            process.wait()
            (directory / "guest.json").unlink(missing_ok=True)
            raise
    raise BootError(f"{name}: every port that was free was taken before QEMU could bind it")


def _with_system(booted: image.Image, kernel: Kernel, options: Options, directory: Path) -> Path:
    """The guest's own archive: that of all guests of its kernel, and its system's behind it."""
    path = directory / "initramfs"
    with path.open("wb") as out, booted.initramfs.open("rb") as base:
        shutil.copyfileobj(base, out)
        system_files.write(options.system, options.init, kernel.abi, out)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(guest: Guest, process: subprocess.Popen[bytes]) -> bool:
    """Wait until adbd answers; False when only the port was lost to another program.

    :raises BootError: with the step that was reached.
    """
    end = time.monotonic() + _BOOT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            log = (guest.directory / "qemu.log").read_text(errors="replace")
            if "host forwarding rule" in log:
                return False
            raise _failure(guest, _reached(guest, f"QEMU ended ({process.returncode})"), log)
        if _adbd_answers(guest.port, min(2.0, end - time.monotonic())):
            return True
        # QEMU accepts and closes while nobody listens in the guest.
        time.sleep(0.1)
    raise _failure(guest, _reached(guest, f"adbd did not answer in {_BOOT_S:.0f} s"), "")


def _reached(guest: Guest, what: str) -> str:
    """How far the guest came, by the lines its init writes."""
    console = _console(guest)
    failed = [line for line in console.splitlines() if "guest set-up failed at" in line]
    if failed:
        return failed[-1].removeprefix("lmk: ")
    if "lmk: ready" in console:
        return f"{what} after the guest was set up, in adbd"
    if "lmk: setting up" in console:
        return f"{what} in the guest's init"
    if console:
        return f"{what} in the kernel"
    return f"{what} before the kernel wrote anything"


def _console(guest: Guest) -> str:
    path = guest.console_log
    return path.read_text(errors="replace") if path.exists() else ""


def _failure(guest: Guest, step: str, qemu_log: str) -> LmkError:
    tail = "\n".join(_console(guest).splitlines()[-_CONSOLE_TAIL_LINES:])
    said = qemu_log.strip().splitlines()
    reason = f": {said[-1]}" if said and not tail else ""
    return BootError(
        f"{guest.name} did not come up: {step}{reason}; its console is in {guest.console_log}",
        detail=f"{qemu_log}\n{tail}".strip(),
        serial=guest.name,
    )


def _adbd_answers(port: int, timeout_s: float) -> bool:
    """One handshake: CNXN goes out, CNXN or AUTH comes back.

    A bare connect would prove nothing: QEMU itself accepts on the forwarded
    port. Six little-endian words: command, version, limit of a payload, its
    length, its checksum, the command inverted (AOSP packages/modules/adb/protocol.txt).
    """
    banner = b"host::\0"
    command = int.from_bytes(b"CNXN", "little")
    words = (command, 0x01000001, 4096, len(banner), sum(banner), command ^ 0xFFFFFFFF)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as link:
            link.sendall(struct.pack("<6I", *words) + banner)
            answer = link.recv(4, socket.MSG_WAITALL)
    except OSError:
        return False
    return answer in (b"CNXN", b"AUTH")
