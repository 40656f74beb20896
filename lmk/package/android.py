# SPDX-License-Identifier: Apache-2.0
"""A permanent install on Android: files for a system image, or a module for Magisk.

Both start the agent once the device has booted, in lmkd's place (``--replace-lmkd``) and with no
lease. lmkd's own service stays as it is, and starts with every boot: init is asked to stop it
when the handlers decide, and to start it before they go. So a device whose agent is gone, or
does not start, has lmkd as ever.
"""

from __future__ import annotations

from lmk.android import KILLED_LENGTHS
from lmk.build import Bundle
from lmk.errors import UsageError
from lmk.package.files import Packaged, fill, programs
from lmk.policy import Policy

__all__ = ["init_rc", "magisk"]

#: Not /system/etc/bpf: Android's bpfloader loads every object there by itself.
_PLACE = "/system/etc/lmk"
_AGENT = "/system/bin/lmk-agent"
_LOADER = "/system/bin/lmk-loader"
_MODULE = "/data/adb/modules/lmk"
_SYSTEM_FILE = "u:object_r:system_file:s0"
#: android_filesystem_config.h.
_IDS = {"root": 0, "shell": 2000}


def init_rc(bundle: Bundle, abi: str, policy: Policy, prockill_bytes: int) -> list[Packaged]:
    """Files for /system, the service in ``lmk.rc``, and the SELinux policy as source.

    :param prockill_bytes: which LMK_PROCKILL the device's ActivityManager takes, 12 or 16.
    :raises lmk.errors.UsageError: another number; a policy that is a dry run.
    :raises lmk.errors.UnsupportedError: the bundle has nothing for that ABI.
    """
    values = _values(bundle, abi, policy, prockill_bytes)
    places = {"lmk-agent": _AGENT, "lmk-loader": _LOADER}
    labels = {"lmk-agent": "u:object_r:lmk_exec:s0", "lmk-loader": "u:object_r:lmk_exec:s0"}
    files = []
    for name, (content, mode) in programs(bundle, abi, policy).items():
        place = places.get(name, f"{_PLACE}/{name}")
        owner = "root:shell" if name in places else "root:root"
        label = labels.get(name, _SYSTEM_FILE)
        files.append(Packaged(place[1:], content, mode, place, owner, label))
    rc = "/system/etc/init/lmk.rc"
    files.append(Packaged(rc[1:], fill("lmk.rc", values), 0o644, rc, "root:root", _SYSTEM_FILE))
    return [
        Packaged("README", fill("init-rc-readme", values)),
        Packaged("fs_config", _fs_config(files)),
        Packaged("sepolicy/lmk.te", fill("lmk.te", values)),
        Packaged("sepolicy/file_contexts", fill("file_contexts", values)),
        *files,
    ]


def _fs_config(files: list[Packaged]) -> bytes:
    """Who owns what, in the form that AOSP's image builders take (``canned_fs_config``)."""
    lines = []
    for file in files:
        user, group = (_IDS[name] for name in file.owner.split(":"))
        lines.append(f"{file.path} {user} {group} {file.mode:04o}\n")
    return "".join(lines).encode()


def magisk(bundle: Bundle, abi: str, policy: Policy, prockill_bytes: int) -> list[Packaged]:
    """The folder of a module for Magisk, to lie at /data/adb/modules/lmk. As :func:`init_rc`."""
    values = _values(bundle, abi, policy, prockill_bytes)
    module = [
        ("module.prop", fill("module.prop", values), 0o644),
        ("service.sh", fill("service.sh", values), 0o755),
        ("uninstall.sh", fill("uninstall.sh", values), 0o755),
        ("sepolicy.rule", fill("sepolicy.rule", values), 0o644),
        *((name, content, mode) for name, (content, mode) in programs(bundle, abi, policy).items()),
    ]
    return [
        Packaged("README", fill("magisk-readme", values)),
        *(
            Packaged(f"lmk/{name}", content, mode, f"{_MODULE}/{name}")
            for name, content, mode in module
        ),
    ]


def _values(bundle: Bundle, abi: str, policy: Policy, prockill_bytes: int) -> dict[str, str]:
    if prockill_bytes not in KILLED_LENGTHS:
        raise UsageError(f"LMK_PROCKILL of {prockill_bytes} bytes: there are 12 and 16")
    return {
        "ABI": abi,
        "BUILD_ID": bundle.build_id(abi),
        "POLICY": policy.name or "(no name)",
        "PROCKILL_BYTES": str(prockill_bytes),
        "AGENT": _AGENT,
        "LOADER": _LOADER,
        "PLACE": _PLACE,
        "STATE": "/data/lmk",
        "MODULE": _MODULE,
    }
