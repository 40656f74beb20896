# SPDX-License-Identifier: Apache-2.0
"""What a device can do, as ``lmk-loader probe`` found it, and what the host adds to that.

Nothing is concluded from a version: every "no" names the probe that said so and what would
make it a "yes".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmk.device.interface import CommandResult
from lmk.errors import ProtocolError, UnsupportedError

__all__ = ["Answer", "Probe", "parse_probe"]

_SCHEMA = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """One question put to the device.

    :ivar section: what it is about: ``kernel``, ``kfunc``, ``tracepoint``, ``access`` …
    :ivar yes: whether it is there; None for a fact that is neither good nor bad.
    :ivar needed: without it there is no kill path.
    :ivar detail: what it is for, or its value.
    :ivar probe: how that was found out.
    :ivar enables: what would make it a yes.
    """

    section: str
    name: str
    yes: bool | None
    needed: bool
    detail: str
    probe: str
    enables: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """Everything that is known of one device.

    :ivar values: the loader's JSON with ``serial``, ``transport`` and ``root`` added, and
        ``replace_lmkd`` (:mod:`lmk.device.lmkd`) and ``other_killers``
        (:mod:`lmk.device.other_killers`).
    """

    values: dict[str, Any]

    @property
    def kill_path(self) -> str:
        """``in_kernel``, ``assisted`` or ``none``."""
        return str(self.values["kill_path"])

    @property
    def why(self) -> str:
        """Which probe led to this kill path, and to a timer in BPF or in the agent."""
        return str(self.values["why"])

    @property
    def obstacles(self) -> list[tuple[str, str, str]]:
        """What stands against any kill path: what is missing, which probe, what enables it."""
        return self._against("any")

    @property
    def in_kernel_obstacles(self) -> list[tuple[str, str, str]]:
        """What stands against the in-kernel path alone, as :attr:`obstacles`."""
        return self._against("in_kernel")

    def _against(self, path: str) -> list[tuple[str, str, str]]:
        return [
            (entry["missing"], entry["probe"], entry["enables"])
            for entry in self.values["obstacles"]
            if entry["path"] == path
        ]

    def answers(self) -> Iterator[Answer]:
        """Every question and its answer, in the order in which a person reads them."""
        values = self.values
        root = values["root"]
        yield Answer("device", "kernel", None, False, values["kernel"], "uname(2)")
        yield Answer("device", "ABI", None, False, values["abi"], "uname(2)")
        yield Answer("device", "transport", None, False, values["transport"], "the serial")
        yield Answer(
            "access", "root", bool(root), True, f"by {root}" if root else "", "id -u; su",
            "adb root, a userdebug build, or a working su",
        )  # fmt: skip
        yield from self._security(values["security"])
        yield Answer(
            "kernel", "BTF", values["btf"], True, "types for CO-RE",
            values.get("btf_error") or "/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF=y",
        )  # fmt: skip
        psi = values["psi"]
        yield Answer(
            "kernel", "PSI", psi["on"], False, "stall as a reason to kill", psi["probe"],
            psi["enables"],
        )  # fmt: skip
        cgroup = values["cgroup"]
        layout = cgroup["layout"] + (", memory" if cgroup["memory_controller"] else "")
        yield Answer("kernel", "cgroups", None, False, layout, "statfs /sys/fs/cgroup")
        for fact in values["facts"]:
            yield Answer(
                fact["kind"], fact["name"].replace("|", " or "), fact["present"], fact["needed"],
                fact["for"], fact["probe"], fact["enables"],
            )  # fmt: skip
        config = values["config"]
        for name, value in config.items():
            if name != "source":
                yield Answer("config", name, value, False, "", config["source"], f"{name}=y")
        lmkd = values["lmkd"]
        detail = f"running, pid {lmkd['pid']}" if lmkd["running"] else "not running"
        yield Answer("device", "lmkd", None, False, detail, lmkd["probe"])
        if "replace_lmkd" in values:
            yield self._replaceable(values["replace_lmkd"])
            yield self._killed_form(values["replace_lmkd"])
        if "other_killers" in values:
            yield from self._other_killers(values["other_killers"])
        carriers = ", ".join(name for name, usable in values["carriers"].items() if usable)
        yield Answer("device", "carriers", None, False, carriers, "kfuncs, CFI")

    def _replaceable(self, lmkd: dict[str, Any]) -> Answer:
        notes = "".join(f"; {note}" for note in lmkd["notes"])
        if lmkd["possible"]:
            detail = f"--replace-lmkd; init says: {lmkd['state']}{notes}"
            return Answer("device", "lmkd can be replaced", True, False, detail, "getprop, setprop")
        probes = "; ".join(f"{what}: {probe}" for what, probe, _ in lmkd["missing"])
        enables = "; ".join(enables for _, _, enables in lmkd["missing"])
        detail = f"--replace-lmkd{notes}"
        return Answer("device", "lmkd can be replaced", False, False, detail, probes, enables)

    def _killed_form(self, lmkd: dict[str, Any]) -> Answer:
        length, why = lmkd["prockill_bytes"], lmkd["prockill_why"]
        # With the reason: a narrow terminal shows no probes.
        unknown = f"not known, as {why}: say --prockill-bytes 12 or 16"
        detail = f"--replace-lmkd: {f'{length} bytes' if length else unknown}"
        return Answer("device", "LMK_PROCKILL", None, False, detail, why)

    def _other_killers(self, killers: dict[str, dict[str, Any]]) -> Iterator[Answer]:
        probe = "/proc/*/comm, systemctl show"
        known = {name: each for name, each in killers.items() if each["running"] or each["units"]}
        if not known:
            detail = f"none of {', '.join(killers)} is there"
            yield Answer("device", "other killers", None, False, detail, probe)
        for name, each in known.items():
            yield Answer("device", name, None, False, _killer_words(each), probe)
            if not each["running"]:
                continue
            obstacles = each["obstacles"]
            yield Answer(
                "device", f"{name} can be stopped", not obstacles, False,
                "" if obstacles else f"other_killer: {' or '.join(each['stopped_by'])}",
                "; ".join(what for what, _ in obstacles) or probe,
                "; ".join(enables for _, enables in obstacles),
            )  # fmt: skip

    def _security(self, security: dict[str, Any]) -> Iterator[Answer]:
        yield Answer(
            "access", "load BPF programs", security["bpf_load"], True, "",
            security.get("bpf_load_error") or "bpf(2) with an empty program",
            "root, CONFIG_BPF_SYSCALL, no lockdown",
        )  # fmt: skip
        yield Answer("access", "SELinux", None, False, security["selinux"], "/sys/fs/selinux")
        cfi = "enforced" if security["cfi"] else "not enforced"
        cfi += ": BPF callbacks" if self.values["callbacks"] else ": no BPF callbacks"
        source = self.values["config"]["source"] or "/proc/kallsyms"
        yield Answer("access", "CFI", None, False, cfi, source)
        restrict = str(security["kptr_restrict"])
        yield Answer("access", "kptr_restrict", None, False, restrict, "sysctl")


def _killer_words(killer: dict[str, Any]) -> str:
    """Whether it runs, and the unit that has it."""
    units = ", ".join(
        f"{unit} is {said['active']}, {said['enabled'] or said['load']}"
        for unit, said in killer["units"].items()
    )
    if not killer["running"]:
        return f"stopped by lmk until its session ends; {units}" if killer["held"] else units
    pids = ", ".join(f"pid {pid}" for pid in killer["pids"])
    owners = ", ".join(killer["owners"]) or "no unit"
    return "; ".join(
        ["running" + (f", {pids}, in {owners}" if pids else ""), *filter(None, [units])]
    )


def parse_probe(result: CommandResult, *, serial: str, transport: str, root: str) -> Probe:
    """Read the output of ``lmk-loader probe``.

    :param root: how the probe became root; empty when it did not.
    :raises lmk.errors.UnsupportedError: the loader does not run there at all.
    :raises lmk.errors.ProtocolError: it said something else than this version reads.
    """
    story = result.error_text + result.text
    if result.exit_code in (126, 127):
        raise UnsupportedError(
            f"{serial}: lmk-loader does not run there (exit {result.exit_code}): "
            "is it the device's ABI, and may its files be executed?",
            detail=story,
            serial=serial,
        )
    try:
        values = json.loads(result.text)
        if values["schema"] != _SCHEMA or "kill_path" not in values:
            raise ProtocolError(f"{serial}: lmk-loader probe has schema {values['schema']}")
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(
            f"{serial}: lmk-loader probe (exit {result.exit_code}) did not answer in JSON",
            detail=story,
            serial=serial,
        ) from error
    return Probe({**values, "serial": serial, "transport": transport, "root": root or None})
