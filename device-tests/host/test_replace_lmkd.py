# SPDX-License-Identifier: Apache-2.0
"""Replacing lmkd: what is refused before a device is touched, and what doctor makes of a look."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from agent_process import Agent
from click.testing import CliRunner

import lmk
from lmk.cli import cli
from lmk.control import parse_session_file
from lmk.device.lmkd import LOOK, parse_look
from lmk.device.local import LocalDevice
from lmk.device.probe import Answer, Probe
from lmk.errors import UsageError
from lmk.virtual.services import Service

pytest_plugins = ("agent_plugin",)

PHONE = (
    "uid=0\ngetprop=1\nsetprop=1\nstate=running\nsdk=36\nbuild=BP2A.250605.031\nenforcing=1\n"
    "context=u:r:su:s0\ncritical=1\n"
)


def test_a_userdebug_phone_can_have_it_replaced() -> None:
    found = parse_look(PHONE)
    assert found["possible"]
    assert found["missing"] == []
    assert "never kill it by hand" in found["notes"][0]


@pytest.mark.parametrize(
    ("without", "put", "missing"),
    [
        ("uid=0", "uid=2000", "root"),
        ("state=running", "state=", "an init with a service lmkd"),
        ("getprop=1\n", "", "an init with a service lmkd"),
        ("setprop=1\n", "", "setprop"),
        ("u:r:su:s0", "u:r:shell:s0", "a domain that may stop services"),
        ("u:r:su:s0", "", "a domain that may stop services"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(without: str, put: str, missing: str) -> None:
    assert without in PHONE
    found = parse_look(PHONE.replace(without, put))
    assert not found["possible"]
    ((what, probe, enables),) = found["missing"]
    assert what == missing
    assert probe
    assert enables


def test_a_permanent_install_is_said() -> None:
    found = parse_look(PHONE.replace("su:s0", "lmk:s0") + "lmk=running\n")
    assert found["possible"], "its own domain may stop services"
    assert any("installed here for good" in note for note in found["notes"])
    assert not any("for good" in note for note in parse_look(PHONE)["notes"])


def test_an_lmkd_that_was_started_and_does_not_answer_is_said() -> None:
    (_, note) = parse_look(PHONE + "silent=1\n")["notes"]
    assert "does not answer" in note


def test_selinux_that_does_not_enforce_is_in_nobodys_way() -> None:
    shell = PHONE.replace("u:r:su:s0", "u:r:shell:s0").replace("enforcing=1", "enforcing=0")
    assert parse_look(shell)["possible"]


def test_a_board_without_android_misses_init() -> None:
    found = parse_look("uid=0\nstate=\nenforcing=\ncontext=\n")
    assert [what for what, _, _ in found["missing"]] == ["an init with a service lmkd"]


class BetweenReleases(LocalDevice):
    """Its build does not say which packet its ActivityManager takes."""

    def properties(self) -> dict[str, str]:
        return {"ro.build.version.sdk": "35", "ro.build.id": "VENDOR.1"}


class OfNoLevel(LocalDevice):
    """A build of its own kind, with an lmkd."""

    def properties(self) -> dict[str, str]:
        return {"ro.build.version.sdk": "Baklava", "init.svc.lmkd": "running"}


@pytest.mark.parametrize(
    ("device", "read"),
    [(BetweenReleases, "'VENDOR.1'"), (OfNoLevel, "ro.build.version.sdk is 'Baklava'")],
)
def test_a_length_that_nobody_can_know_is_asked_for(device: type[LocalDevice], read: str) -> None:
    with pytest.raises(
        UsageError, match=rf"{re.escape(read)}.*--prockill-bytes 12 or 16.*12 up to"
    ):
        lmk.attach(device(), replace_lmkd=True)


def test_a_look_takes_a_level_as_it_is(tmp_path: Path) -> None:
    """No shell makes files of this folder, or one line of several words, out of it."""
    getprop = tmp_path / "getprop"
    getprop.write_text("#!/bin/sh\n[ $1 = ro.build.version.sdk ] && echo '*  getprop'\nexit 0\n")
    getprop.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", LOOK], cwd=tmp_path, env={"PATH": path}, capture_output=True, check=True
    )
    assert b"\nsdk=*  getprop\n" in done.stdout
    assert "is '*  getprop'" in parse_look(done.stdout.decode())["prockill_why"]


def doctor_says_of_prockill(look: str) -> Answer:
    found = Probe(
        {
            "root": "adbd",
            "kernel": "",
            "abi": "",
            "transport": "",
            "security": {"bpf_load": True, "selinux": "", "cfi": False, "kptr_restrict": 0},
            "callbacks": True,
            "btf": True,
            "psi": {"on": True, "probe": "", "enables": ""},
            "cgroup": {"layout": "v2", "memory_controller": True},
            "facts": [],
            "config": {"source": ""},
            "lmkd": {"running": True, "pid": 1, "probe": ""},
            "carriers": {},
            "replace_lmkd": parse_look(look),
        }
    )
    (answer,) = [answer for answer in found.answers() if answer.name == "LMK_PROCKILL"]
    return answer


def test_doctor_shows_which_prockill_is_sent() -> None:
    assert "16 bytes" in doctor_says_of_prockill(PHONE).detail
    older = PHONE.replace("sdk=36", "sdk=34")
    assert "12 bytes" in doctor_says_of_prockill(older).detail


def test_doctor_asks_for_the_option_where_the_build_does_not_say() -> None:
    between = doctor_says_of_prockill(PHONE.replace("sdk=36", "sdk=35").replace("BP2A", "VENDOR"))
    assert "--prockill-bytes" in between.detail
    assert "VENDOR" in between.probe


def test_doctor_asks_for_it_where_the_level_is_none() -> None:
    nonsense = PHONE.replace("sdk=36", "sdk=Baklava")
    assert parse_look(nonsense)["prockill_bytes"] is None
    said = doctor_says_of_prockill(nonsense)
    assert "ro.build.version.sdk is 'Baklava'" in said.detail
    assert "--prockill-bytes 12 or 16" in said.detail


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prockill-bytes", "16"], "--prockill-bytes is for --replace-lmkd"),
        (["--replace-lmkd", "--prockill-bytes", "13"], "'13' is not one of"),
    ],
)
def test_prockill_bytes_is_an_option_of_replacing(options: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["attach", "-s", "local", *options])
    assert done.exit_code == 2
    assert said in done.output


def test_shadow_in_lmkds_place_is_a_contradiction() -> None:
    done = CliRunner().invoke(cli, ["attach", "-s", "local", "--shadow", "--replace-lmkd"])
    assert done.exit_code == 2
    assert "contradict" in done.output


def test_a_policy_in_dry_run_does_not_replace_lmkd() -> None:
    policy = lmk.policy.load("default")
    policy.dry_run = True
    with pytest.raises(UsageError, match="nobody who kills"):
        lmk.attach(LocalDevice(), policy, replace_lmkd=True)


def test_serving_the_spool_replaces_nobody(binary: Path, tmp_path: Path) -> None:
    agent = Agent(binary, tmp_path / "lmk")
    assert "no handlers" in agent.run("serve", "--replace-lmkd", code=2)["error"]


def test_a_session_file_says_whether_lmkd_is_replaced(binary: Path, tmp_path: Path) -> None:
    agent = Agent(binary, tmp_path / "lmk")
    agent.serve()
    try:
        text = (agent.directory / "session").read_text()
    finally:
        agent.end()
    assert not parse_session_file(text, "/d").lmkd_replaced
    assert parse_session_file(text.replace("lmkd=kept", "lmkd=replaced"), "/d").lmkd_replaced


def test_a_note_of_an_earlier_boot_starts_no_lmkd(binary: Path, tmp_path: Path) -> None:
    """A reboot has started it already; and there is no init here that could."""
    agent = Agent(binary, tmp_path / "lmk")
    agent.directory.mkdir(mode=0o700)
    note = agent.directory / "lmkd-stopped"
    note.write_text("5b2e1b8c-3f0a-4f2a-9d52-0f7a4a6f1c11")
    assert agent.stop() == {"stopped": "nothing"}
    assert not note.exists()


def test_a_service_file_says_what_init_needs() -> None:
    service = Service("lmkd", ("/system/bin/lmkd", "--log", "/x"), "lmkd", critical=True)
    assert service.text == (
        "service lmkd /system/bin/lmkd --log /x\n    user root\n    group root\n"
        "    socket lmkd seqpacket+passcred 0660 system system\n    critical\n"
    )
