# SPDX-License-Identifier: Apache-2.0
"""What is on a device: kernel, root, files of ours, a session, what one has stopped."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lmk.control import SessionFile, parse_session_file
from lmk.device.root import Root
from lmk.errors import ProtocolError, UnsupportedError

__all__ = ["Facts", "gather"]

# One round trip. POSIX shell of toybox, busybox and mksh alike; every line KEY=VALUE.
_GATHER = r"""
echo uid=$(id -u); echo abi=$(uname -m); echo kernel=$(uname -r)
[ -e /sys/kernel/btf/vmlinux ] && echo btf=1
echo boot=$(cat /proc/sys/kernel/random/boot_id)
n=$(getprop ro.serialno 2>/dev/null); echo name=${n:-$(uname -n)}
[ -d /data/local/tmp ] && echo tmp=/data/local/tmp
[ "$(id -u)" = 0 ] || exit 0
[ -d /sys/fs/bpf/lmk ] && echo pinned=1
d=/data/lmk; [ -d /data ] || d=/run/lmk
echo dir=$d
if [ -L $d ] || [ -e $d ]; then
    echo owner=$(stat -c '%u %F' $d)
    [ "$(stat -c '%u %F' $d)" = "0 directory" ] || exit 0
    chmod 0700 $d && cd $d || exit 0
    for f in lmk-agent lmk-loader lmk.bpf.o assisted.bpf.o lmk-eater lmk-population; do
        [ -f $f ] && echo have=$f $(sha256sum < $f)
    done
    [ -f lmkd-stopped ] && echo stopped=$(cat lmkd-stopped)
    [ -f lmkd-silent ] && echo silent=$(cat lmkd-silent)
    [ -f units-stopped ] && echo units=$(head -n 1 units-stopped)
    [ -f session ] && while read -r line; do
        echo "session=$line"
        case $line in
        agent_pid=*|guardian_pid=*) [ -d /proc/${line#*=} ] && echo serves=${line#*=} ;;
        esac
    done < session
fi
exit 0
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one look at a device found; the rest only as root.

    :ivar name: what the device calls itself: its serial number, else its host name.
    :ivar pinned: handlers, or what is left of them, are in the BPF file system.
    :ivar lmkd_stopped: a session has stopped lmkd, and nobody has started it again yet.
    :ivar lmkd_silent: it has been started, and has not answered on its socket yet: what lmk has
        there goes on killing in its place.
    :ivar units_stopped: the same of the systemd units of another killer.
    :ivar served: agent or guardian of the session in `session` are alive.
    :ivar have: SHA-256 of the files that are installed, by name.
    """

    serial: str
    uid: int
    abi: str
    kernel: str
    btf: bool
    name: str = ""
    directory: str = ""
    temporary: str = "/tmp"
    owner: str = ""
    pinned: bool = False
    lmkd_stopped: bool = False
    lmkd_silent: bool = False
    units_stopped: bool = False
    served: bool = False
    have: dict[str, str] = field(default_factory=dict)
    session: SessionFile | None = None

    def require_btf(self) -> None:
        """:raises lmk.errors.UnsupportedError: the kernel has no BTF."""
        if not self.btf:
            raise UnsupportedError(
                f"{self.serial}: kernel {self.kernel} has no BTF (/sys/kernel/btf/vmlinux is "
                "missing), which the handlers need: a kernel with CONFIG_DEBUG_INFO_BTF=y has it",
                serial=self.serial,
            )


def gather(root: Root) -> Facts:
    """Look at the device, in one round trip.

    :raises lmk.errors.TransientError: the link broke.
    :raises lmk.errors.ProtocolError: the session file there is damaged.
    """
    serial = root.device.serial
    result = root.run(_GATHER)
    values: dict[str, str] = {}
    have: dict[str, str] = {}
    session: list[str] = []
    for line in result.text.splitlines():
        key, _, value = line.partition("=")
        if key == "have":
            name, _, digest = value.partition(" ")
            have[name] = digest.split(" ")[0]
        elif key == "session":
            session.append(value)
        else:
            values[key] = value
    if not values.get("uid", "").isdecimal() or "abi" not in values:
        raise ProtocolError(
            f"{serial}: the device's shell gave no answer to `id -u; uname -m`",
            detail=result.text + result.error_text,
            serial=serial,
        )
    directory = values.get("dir", "")
    file = parse_session_file("\n".join(session), directory) if session else None
    if file is not None and file.boot_id != values.get("boot"):
        file = None  # the disk kept it over a reboot, which ended the session
    return Facts(
        serial=serial,
        uid=int(values["uid"]),
        abi=values["abi"],
        kernel=values.get("kernel", ""),
        btf="btf" in values,
        name=re.sub(r"[^A-Za-z0-9._:#-]+", "-", values.get("name", ""))[:63],
        directory=directory,
        temporary=values.get("tmp", "/tmp"),
        owner=values.get("owner", ""),
        pinned="pinned" in values,
        lmkd_stopped=values.get("stopped") in ("", values.get("boot")),
        lmkd_silent=values.get("silent") in ("", values.get("boot")),
        units_stopped=values.get("units") in ("", values.get("boot")),
        served="serves" in values,
        have=have,
        session=file,
    )
