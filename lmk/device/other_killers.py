# SPDX-License-Identifier: Apache-2.0
"""Who else kills for memory on a Linux without Android, and would a policy stop it? Only asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["LOOK", "UNITS", "parse_look"]

#: By the name of their process: the units that a policy's ``other_killer`` stops, as in the
#: agent (``other_killer.c``).
UNITS = {
    "systemd-oomd": ("systemd-oomd.service",),
    "earlyoom": ("earlyoom.service",),
    "nohang": ("nohang.service", "nohang-desktop.service"),
}

# One round trip, with no process for each that is looked at. `sed` takes the path of the hierarchy
# that systemd keeps: of v2, or of its own in v1.
LOOK = rf"""
for p in /proc/[0-9]*; do
    c=
    {{ read -r c < $p/comm; }} 2>/dev/null
    case $c in {"|".join(UNITS)})
        cgroup=$(sed -n 's/^[0-9]*:\(name=systemd\)*:\//\//p' $p/cgroup | head -n 1)
        echo "process=${{p#/proc/}} $c $cgroup"
    esac
done
boot=$(cat /proc/sys/kernel/random/boot_id)
for f in /data/lmk/units-stopped /run/lmk/units-stopped; do
    [ "$(head -n 1 $f 2>/dev/null)" = "$boot" ] && sed -n '2,$s/^/stopped=/p' $f
done
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null; then
    echo systemd=1
    systemctl show -p Id -p LoadState -p ActiveState -p UnitFileState -p ControlGroup -- \
        {" ".join(unit for units in UNITS.values() for unit in units)} 2>/dev/null |
        sed 's/^/unit=/'
fi
exit 0
"""


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    cgroup: str

    @property
    def owner(self) -> str:
        """The unit that it runs in; empty: none of systemd's."""
        parts = [part for part in self.cgroup.split("/") if part.endswith((".service", ".scope"))]
        return parts[-1] if parts else ""


def parse_look(text: str) -> dict[str, dict[str, Any]]:
    """What :data:`LOOK` printed, by the killer's name.

    ``running``, ``pids``, ``owners`` (the units that the processes run in), ``units`` (those that
    are installed, with systemd's words for them), ``stopped_by`` (the values of ``other_killer``
    that would stop it as it runs now), ``obstacles`` (why one would not, and what to do), and
    ``held``: lmk has stopped it, and starts it when its session ends.
    """
    lines = [line.partition("=") for line in text.splitlines()]
    systemd = any(key == "systemd" for key, _, _ in lines)
    stopped = {value.split(" ")[0] for key, _, value in lines if key == "stopped"}
    units = _units([value for key, _, value in lines if key == "unit"])
    found = {}
    for name, own in UNITS.items():
        words = [value.split(" ", 2) for key, _, value in lines if key == "process"]
        processes = [
            _Process(int(each[0]), each[2] if len(each) > 2 else "")
            for each in words
            if each[0].isdecimal() and each[1:2] == [name]
        ]
        mine = {unit: units[unit] for unit in own if unit in units}
        running = bool(processes) or any(_is_active(unit) for unit in mine.values())
        obstacles = _obstacles(processes, mine, systemd) if running else []
        value = "OTHER_KILLER_" + name.upper().replace("-", "_")
        found[name] = {
            "running": running,
            "pids": [process.pid for process in processes],
            "owners": sorted({process.owner for process in processes if process.owner}),
            "units": {unit: _shown(said) for unit, said in mine.items()},
            "stopped_by": [value, "OTHER_KILLER_ANY"] if running and not obstacles else [],
            "obstacles": obstacles,
            "held": bool(stopped.intersection(own)),
        }
    return found


def _units(lines: list[str]) -> dict[str, dict[str, str]]:
    """What ``systemctl show`` said of those that there are: blocks with an empty line between."""
    blocks: list[dict[str, str]] = [{}]
    for line in lines:
        key, _, value = line.partition("=")
        if key:
            blocks[-1][key] = value
        else:
            blocks.append({})
    return {
        block["Id"]: block for block in blocks if block.get("LoadState", "not-found") != "not-found"
    }


def _is_active(unit: dict[str, str]) -> bool:
    return unit.get("ActiveState") not in (None, "inactive", "failed")


def _shown(unit: dict[str, str]) -> dict[str, str]:
    """Masked or loaded; active or not; enabled or not."""
    keys = {"load": "LoadState", "active": "ActiveState", "enabled": "UnitFileState"}
    return {key: unit.get(name, "") for key, name in keys.items()}


def _obstacles(
    processes: list[_Process], units: dict[str, dict[str, str]], systemd: bool
) -> list[tuple[str, str]]:
    """Why no policy would stop it, and what to do."""
    if not systemd:
        return [("no systemd runs here", "stop it by hand before `lmk attach`")]
    obstacles = [
        (
            f"{name} runs but is masked",
            f"systemctl unmask {name}: else it could not be started again",
        )
        for name, unit in units.items()
        if unit["LoadState"] == "masked" and _is_active(unit)
    ]
    places = {unit.get("ControlGroup") for unit in units.values() if _is_active(unit)}
    for process in processes:
        if process.cgroup in places:
            continue
        by_hand = process.cgroup.startswith("/system.slice/") and process.owner
        obstacles.append(
            (
                f"pid {process.pid} runs in {process.owner or 'no unit'}, which no policy stops",
                f"systemctl stop {process.owner}" if by_hand else f"kill {process.pid}",
            )
        )
    return obstacles
