# SPDX-License-Identifier: Apache-2.0
"""What doctor makes of a look for earlyoom, systemd-oomd and nohang."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from lmk.build.sources import source_root
from lmk.device.other_killers import LOOK, UNITS, parse_look
from lmk.proto.policy_pb2 import OtherKiller

OOMD, EARLYOOM = "/system.slice/systemd-oomd.service", "/system.slice/earlyoom.service"


def unit(name: str, load: str = "loaded", active: str = "inactive", group: str = "") -> str:
    said = (f"Id={name}", f"LoadState={load}", f"ActiveState={active}", "UnitFileState=enabled")
    return "".join(f"unit={line}\n" for line in (*said, f"ControlGroup={group}", ""))


def test_the_units_are_those_that_the_agent_stops() -> None:
    source = (source_root() / "bpf/agent/other_killer.c").read_text()
    table = source[source.index("killers[] = {") : source.index("};", source.index("killers[]"))]
    rows = [re.findall(r'"([^"]+)"', row) for row in re.split(r"lmk_v1_OtherKiller_", table)[1:]]
    assert {name: tuple(units) for name, *units in rows} == UNITS


def test_one_that_runs_in_its_unit_is_stopped_by_name_or_by_any() -> None:
    look = f"process=41 systemd-oomd {OOMD}\nsystemd=1\n" + unit(
        "systemd-oomd.service", active="active", group=OOMD
    )
    found = parse_look(look)
    oomd = found["systemd-oomd"]
    assert (oomd["running"], oomd["pids"], oomd["owners"]) == (True, [41], ["systemd-oomd.service"])
    assert oomd["units"]["systemd-oomd.service"]["active"] == "active"
    assert oomd["obstacles"] == []
    values = [OtherKiller.Value(value) for value in oomd["stopped_by"]]
    assert values == [OtherKiller.OTHER_KILLER_SYSTEMD_OOMD, OtherKiller.OTHER_KILLER_ANY]
    for other in ("earlyoom", "nohang"):
        assert not found[other]["running"]
        assert found[other]["stopped_by"] == []


def test_one_that_is_installed_and_does_not_run_is_nobody_to_stop() -> None:
    found = parse_look("systemd=1\n" + unit("earlyoom.service"))["earlyoom"]
    assert list(found["units"]) == ["earlyoom.service"]
    assert (found["running"], found["stopped_by"], found["held"]) == (False, [], False)
    assert parse_look("systemd=1\n" + unit("nohang.service", "not-found"))["nohang"]["units"] == {}


def test_what_lmk_has_stopped_is_said() -> None:
    look = f"stopped=earlyoom.service /sys/fs/cgroup{EARLYOOM}\nsystemd=1\n"
    found = parse_look(look + unit("earlyoom.service"))
    assert [name for name, each in found.items() if each["held"]] == ["earlyoom"]


def test_one_that_no_policy_stops_says_why_and_what_to_do() -> None:
    masked = unit("earlyoom.service", "masked", "active", EARLYOOM)
    mine = unit("earlyoom.service", active="active", group=EARLYOOM)
    users = "/user.slice/user-1000.slice/user@1000.service/app.slice/earlyoom.service"
    for look, what, enables in (
        (f"process=9 earlyoom {EARLYOOM}\nsystemd=1\n{masked}", "is masked", "unmask earlyoom"),
        (f"process=9 earlyoom {EARLYOOM}\n", "no systemd", "stop it by hand"),
        (f"process=9 earlyoom /\nsystemd=1\n{mine}", "no unit", "kill 9"),
        ("process=9 earlyoom \nsystemd=1\n", "no unit", "kill 9"),
        ("process=9 earlyoom\nsystemd=1\n", "no unit", "kill 9"),
        (
            f"process=9 earlyoom /system.slice/guard.service\nsystemd=1\n{mine}",
            "guard.service, which no policy stops",
            "systemctl stop guard.service",
        ),
        # One of a user's systemd is another unit of that name.
        (f"process=9 earlyoom {users}\nsystemd=1\n{mine}", "which no policy stops", "kill 9"),
    ):
        found = parse_look(look)["earlyoom"]
        assert found["running"]
        ((said, do),) = found["obstacles"]
        assert what in said
        assert enables in do
        assert found["stopped_by"] == []


def test_a_process_is_found_by_its_name(tmp_path: Path) -> None:
    program = tmp_path / "earlyoom"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "600"]) as process:
        try:
            done = subprocess.run(["sh", "-c", LOOK], capture_output=True, text=True, check=True)
        finally:
            process.kill()
    assert process.pid in parse_look(done.stdout)["earlyoom"]["pids"]
