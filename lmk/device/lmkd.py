# SPDX-License-Identifier: Apache-2.0
"""Can lmkd be replaced on a device (``lmk attach --replace-lmkd``)? Asked, not tried."""

from __future__ import annotations

from typing import Any

from lmk.android import killed_form

__all__ = ["LOOK", "parse_look"]

# One round trip, as whoever would do it; every line KEY=VALUE. `critical` is init's word.
LOOK = r"""
echo uid=$(id -u)
for p in getprop setprop; do [ -x /system/bin/$p ] && echo $p=1; done
echo state=$(getprop init.svc.lmkd 2>/dev/null)
echo "sdk=$(getprop ro.build.version.sdk 2>/dev/null)"
echo "build=$(getprop ro.build.id 2>/dev/null)"
echo lmk=$(getprop init.svc.lmk 2>/dev/null)
for d in /data/lmk /run/lmk; do
    [ "$(head -n 1 $d/lmkd-silent 2>/dev/null)" = "$(cat /proc/sys/kernel/random/boot_id)" ] &&
        echo silent=1
done
echo enforcing=$(cat /sys/fs/selinux/enforce 2>/dev/null)
echo context=$(tr -d '\000' < /proc/self/attr/current 2>/dev/null)
for f in /system/etc/init/lmkd.rc /run/services/lmkd.rc; do
    grep -qw '^ *critical' $f 2>/dev/null && echo critical=1
done
exit 0
"""

#: Domains that may set ctl.*: adb root of a userdebug build, what rooted phones have, and that
#: of `lmk package --init-rc`.
_FREE_DOMAINS = (":su:", ":magisk:", ":ksu:", ":lmk:")


def parse_look(text: str) -> dict[str, Any]:
    """What :data:`LOOK` printed: ``possible``, ``missing`` (what, probe, what to do), ``notes``,
    ``prockill_bytes`` (None: it has to be said) and ``prockill_why``."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    missing: list[tuple[str, str, str]] = []
    notes: list[str] = []
    if values.get("uid") != "0":
        missing.append(("root", "id -u", "adb root, a userdebug build, or a working su"))
    if "getprop" not in values or not values.get("state"):
        missing.append(
            (
                "an init with a service lmkd",
                "getprop init.svc.lmkd",
                "where no lmkd runs there is none to replace: attach without --replace-lmkd",
            )
        )
    elif "setprop" not in values:
        missing.append(
            ("setprop", "/system/bin/setprop", "init stops a service by a ctl.stop property")
        )
    context = values.get("context", "")
    if values.get("enforcing") == "1" and not any(part in context for part in _FREE_DOMAINS):
        missing.append(
            (
                "a domain that may stop services",
                f"SELinux is enforcing, and root is {context or 'of no known domain'}",
                "adb root of a userdebug build (u:r:su:s0), or a policy that lets that domain set "
                "ctl.stop and ctl.start of lmkd and make /dev/socket/lmkd",
            )
        )
    if "critical" in values:
        notes.append(
            "lmkd is a critical service: stopped by ctl.stop it may be; killed four times in four "
            "minutes it has init reboot, so never kill it by hand"
        )
    if "silent" in values:
        notes.append(
            "it was started and does not answer on its socket: lmk, which was to give the device "
            "back to it, goes on killing until it does"
        )
    if values.get("lmk") == "running":
        notes.append(
            "lmk is installed here for good, and has replaced it (service lmk; "
            "setprop persist.lmk.enabled 0 gives it back)"
        )
    form = killed_form(
        {
            "ro.build.version.sdk": values.get("sdk", ""),
            "ro.build.id": values.get("build", ""),
        }
    )
    return {
        "possible": not missing,
        "state": values.get("state", ""),
        "missing": missing,
        "notes": notes,
        "prockill_bytes": form.length,
        "prockill_why": form.why,
    }
