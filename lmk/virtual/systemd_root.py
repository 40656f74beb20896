# SPDX-License-Identifier: Apache-2.0
"""A Debian root that a guest boots into: systemd as pid 1, and nothing that a test does not need.

Packages as in :mod:`lmk.virtual.debian_root`, read-only, with adbd as a unit and busybox for a
shell. Maintainer scripts are not run, so no unit is enabled: ``systemctl start`` in the guest, or
``systemd.wants=UNIT`` on the kernel command line. The users that packages declare (sysusers.d) are
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from lmk import debian
from lmk.virtual import debian_root
from lmk.virtual.kernels import Abi

__all__ = ["build"]

#: Raise when what :func:`_finish` does changes; the files are in the key by themselves.
_LAYOUT = "systemd root 3"
_ADBD_SUITE = "bookworm-backports"
_FILES = {
    "systemd/adbd.service": "etc/systemd/system/adbd.service",
    "systemd/default.target": "etc/systemd/system/default.target",
    "adbd": "etc/adbd",
}
_LINKS = {
    # The guest's rc fills it; before it stands what Debian has.
    "system/bin": "/run/applets",
    "bin/sh": "busybox",
    "var/run": "/run",
    "etc/mtab": "/proc/mounts",
}
#: base-files makes them elsewhere; nohang.service has to find them.
_FOLDERS = ("boot", "home", "root")
#: The guest's rc has done it, or nobody is there to need it.
_MASKED = (
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "getty.target",
    "kmod-static-nodes.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-initctl.socket",
    "systemd-journal-flush.service",
    "systemd-journald-audit.socket",
    "systemd-logind.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-repart.service",
    "systemd-sysctl.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-tmpfiles-setup.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-update-utmp.service",
)
#: Ids of those who declare none, downwards.
_FIRST_ID = 998


def build(packages: Sequence[str], abi: Abi) -> Path:
    """The image of such a root with `packages` besides; from the cache when it is there.

    Raises like :func:`lmk.debian.fetch`.
    """
    arch = abi.debian
    suite = debian_root.SUITE
    own = debian.closure(["systemd", "busybox-static", *packages], suite, arch)
    debs = debian.fetch(own, suite, arch)
    adbd = [name for name in debian.closure(["adbd"], _ADBD_SUITE, arch) if name not in own]
    debs += debian.fetch(adbd, _ADBD_SUITE, arch)
    layout: list[str | bytes] = [_LAYOUT, repr((_FILES, _LINKS, _FOLDERS, _MASKED))]
    layout += [_rootfs(name) for name in _SHARED]
    return debian_root.image(debs, layout, _finish)


_SHARED = (*_FILES, "passwd", "group")


def _rootfs(name: str) -> bytes:
    return (resources.files("lmk.virtual") / "rootfs" / name).read_bytes()


def _finish(tree: Path) -> None:
    for name, place in _FILES.items():
        path = tree / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_rootfs(name))
        path.chmod(0o755 if name == "adbd" else 0o644)
    for unit in _MASKED:
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for place, target in _LINKS.items():
        path = tree / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    for folder in _FOLDERS:
        (tree / folder).mkdir(exist_ok=True)
    # Empty: systemd takes one for this boot.
    (tree / "etc/machine-id").write_text("")
    users, groups = _declared(tree)
    (tree / "etc/passwd").write_bytes(_rootfs("passwd") + users.encode())
    (tree / "etc/group").write_bytes(_rootfs("group") + groups.encode())


def _declared(tree: Path) -> tuple[str, str]:
    """Lines of passwd and group for whom sysusers.d(5) names, but those the guest has itself."""
    taken = {line.split(":")[0] for line in _rootfs("passwd").decode().splitlines()}
    users, groups = [], []
    number = _FIRST_ID
    for file in sorted((tree / "usr/lib/sysusers.d").glob("*.conf")):
        for line in file.read_text().splitlines():
            kind, name, wanted = (*line.split(), "", "", "")[:3]
            if kind not in ("u", "g") or name in taken:
                continue
            taken.add(name)
            own = wanted.partition(":")[0]
            if not own.isdecimal():
                own, number = str(number), number - 1
            groups.append(f"{name}:x:{own}:\n")
            if kind == "u":
                users.append(f"{name}:x:{own}:{own}:{name}:/:/usr/sbin/nologin\n")
    return "".join(users), "".join(groups)
