# SPDX-License-Identifier: Apache-2.0
"""A guest that is built like a phone: an lmkd that its init starts with every boot.

What it takes are files of its system (:mod:`lmk.virtual.system`): the program and its ``.rc``
file. Another folder may add what ``lmk package --init-rc`` wrote.
"""

from __future__ import annotations

from pathlib import Path

from lmk.cache import cache_root, content_key, publish
from lmk.errors import UsageError
from lmk.virtual.stand_in import stand_in

__all__ = ["STAND_IN", "lmkd_system", "write_phone"]

#: In place of a file: this project's own stand-in for lmkd, which kills nobody.
STAND_IN = "stand-in"
_STAND_IN_COMMAND = "/system/bin/lmkd --log /run/lmkd.log"
#: As AOSP's lmkd.rc, but for who it runs as and what a guest has no use for.
_RC = """\
service lmkd {command}
    class core
    user root
    group root system readproc
    critical
    socket lmkd seqpacket+passcred 0660 system system
"""


def lmkd_system(lmkd: str | Path, abi: str) -> Path:
    """A folder for :func:`lmk.virtual.up`'s `system`, that has `lmkd` as the service ``lmkd``.

    It lies in the cache, the same for the same program.

    :param lmkd: :data:`STAND_IN`, or a file: a static program of `abi`, run without arguments.
    :param abi: as uname(2) names it.
    :raises lmk.errors.UsageError: no such file. Raises like :func:`stand_in` too.
    """
    if lmkd == STAND_IN:
        program, command = stand_in("lmkd", abi), _STAND_IN_COMMAND
    else:
        program, command = _read(Path(lmkd)), "/system/bin/lmkd"
    key = content_key(program, _RC, command)
    return publish(cache_root() / "phones" / key, lambda folder: _write(folder, program, command))


def write_phone(folder: Path, abi: str, properties: dict[str, str] | None = None) -> Path:
    """Write the system of a phone into `folder`, which is made: the stand-in, build.prop.

    :param abi: as uname(2) names it.
    :param properties: of build.prop.

    Raises like :func:`stand_in`.
    """
    _write(folder, stand_in("lmkd", abi), _STAND_IN_COMMAND)
    lines = [f"{name}={value}\n" for name, value in (properties or {}).items()]
    (folder / "system/build.prop").write_text("".join(lines))
    return folder


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}; an lmkd is a static program's file, or "
            f"`{STAND_IN}` for this project's own"
        ) from error


def _write(folder: Path, program: bytes, command: str) -> None:
    places = (
        ("system/bin/lmkd", program, 0o755),
        ("system/etc/init/lmkd.rc", _RC.format(command=command).encode(), 0o644),
    )
    for name, content, mode in places:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    # A guest takes the modes of folders too, and shells of others than root go through these.
    for path in (folder / "system").rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    (folder / "system").chmod(0o755)
