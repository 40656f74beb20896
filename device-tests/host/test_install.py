# SPDX-License-Identifier: Apache-2.0
"""What is found on a device, pushed and started there: each fault is one clear error."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from scripted_device import (
    FACTS,
    SESSION,
    TOKEN,
    ScriptedDevice,
    as_device,
    result,
    root_on,
    session_lines,
)

from lmk import attachment, install, progress
from lmk.build import Bundle, BundleFile
from lmk.control import parse_session_file
from lmk.device.root import Root, find_root
from lmk.errors import (
    LmkError,
    ProtocolError,
    TransientError,
    UnsupportedError,
    UsageError,
)
from lmk.facts import Facts, gather
from lmk.install import start_agent
from lmk.policy import preset

# -- root --------------------------------------------------------------------------------------


def test_adbd_as_root_needs_no_su() -> None:
    device = ScriptedDevice("0\n")
    assert find_root(as_device(device)).via == "adbd"
    assert len(device.commands) == 1


def test_the_su_that_gave_uid_0_is_used_with_the_command_quoted() -> None:
    device = ScriptedDevice("2000\n", "1\n", "done")
    root = find_root(as_device(device))
    assert root.via == "su"
    root.run("echo 'a b'")
    assert device.commands[2] == """su -c 'echo '"'"'a b'"'"''"""


def test_no_root_is_a_usage_error_that_says_what_to_do() -> None:
    device = ScriptedDevice("2000\n", "")
    with pytest.raises(UsageError, match=r"adbd runs as uid 2000 and no su works.*adb root"):
        find_root(as_device(device))


def test_on_this_machine_it_is_the_process_that_is_root_or_sudo() -> None:
    device = ScriptedDevice("0\n", transport="local")
    assert find_root(as_device(device)).via == "this process"
    device = ScriptedDevice("1000\n", "3\n", "done", transport="local")
    root = find_root(as_device(device))
    assert root.via == "sudo -n"
    root.run("id -u")
    assert device.commands[2] == "sudo -n sh -c 'id -u'"
    with pytest.raises(UsageError, match=r"this runs as uid 1000.*run it as root"):
        find_root(as_device(ScriptedDevice("1000\n", "", transport="local")))


# -- one look ----------------------------------------------------------------------------------


def test_one_round_trip_tells_all(tmp_path: Path) -> None:
    device, root = root_on(
        f"{FACTS}owner=0 directory\nhave=lmk-agent abc  -\npinned=1\n{session_lines()}"
    )
    facts = gather(root)
    assert len(device.commands) == 1
    assert (facts.abi, facts.btf, facts.pinned) == ("x86_64", True, True)
    assert facts.have == {"lmk-agent": "abc"}
    assert facts.session is not None
    assert facts.session.token == TOKEN


def test_a_session_of_an_earlier_boot_is_none() -> None:
    _device, root = root_on(FACTS.replace("boot=boot-1", "boot=boot-2") + session_lines())
    assert gather(root).session is None


def test_a_name_that_is_no_word_is_made_one() -> None:
    _device, root = root_on(FACTS.replace("name=dev", "name=my phone; rm -rf /"))
    assert gather(root).name == "my-phone-rm--rf-"


def test_a_shell_that_answers_nonsense_is_a_protocol_error() -> None:
    _device, root = root_on("sh: not found\n")
    with pytest.raises(ProtocolError, match="gave no answer"):
        gather(root)


def test_a_kernel_without_btf_is_unsupported_with_what_would_enable_it() -> None:
    device = ScriptedDevice(FACTS.replace("btf=1\n", ""))
    with pytest.raises(UnsupportedError, match=r"no BTF .*CONFIG_DEBUG_INFO_BTF=y"):
        attachment.attach(as_device(device))
    assert device.pushed == []


@pytest.mark.parametrize(
    "text",
    ["", SESSION.replace("token=", "token=zz"), SESSION.replace("run=3", "run=x"),
     SESSION.replace(TOKEN.hex(), "00ff"), "nonsense\n"],
)  # fmt: skip
def test_a_damaged_session_file_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError, match=r"/data/lmk/session on the device is damaged"):
        parse_session_file(text, "/data/lmk")


# -- install -----------------------------------------------------------------------------------


class OneFile:
    """A bundle of one file."""

    path = Path("test.bundle")

    def file(self, _abi: str, name: str) -> BundleFile:
        content = name.encode()
        return BundleFile(name, content, hashlib.sha256(content).hexdigest(), 0o700)


def do_install(device: ScriptedDevice, root: Root, facts: Facts) -> list[str]:
    with progress.steps("test") as task:
        return install.install(root, facts, cast(Bundle, OneFile()), task, names=("lmk-agent",))


def test_only_what_is_missing_is_pushed_and_only_under_a_temporary_name() -> None:
    have = OneFile().file("", "lmk-agent").sha256
    device, root = root_on(f"{FACTS}have=lmk-agent {have}\n")
    assert do_install(device, root, gather(root)) == []
    device, root = root_on(f"{FACTS}tmp=/data/local/tmp\n", "")
    assert do_install(device, root, gather(root)) == ["lmk-agent"]
    (passing,) = device.pushed
    assert passing.startswith("/data/local/tmp/.lmk-agent-")
    assert f"rm -f {passing}" in device.commands[1]


def test_what_arrived_wrong_is_worth_another_try_and_leaves_nothing() -> None:
    device, root = root_on(FACTS, result(stderr="lmk-agent: wrong hash\n", code=1))
    with pytest.raises(TransientError, match="wrong hash"):
        do_install(device, root, gather(root))
    assert device.commands[-1].startswith("rm -f ")


def test_a_folder_of_somebody_else_is_refused_before_anything_is_pushed() -> None:
    device, root = root_on(f"{FACTS}owner=2000 directory\n")
    with pytest.raises(UsageError, match="is not a directory of root's"):
        do_install(device, root, gather(root))
    device, root = root_on(f"{FACTS}owner=0 symbolic link\n")
    with pytest.raises(UsageError, match="symbolic link"):
        do_install(device, root, gather(root))
    assert device.pushed == []


# -- start -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1, LmkError), (2, UsageError), (3, UnsupportedError), (4, TransientError),
     (5, ProtocolError), (127, LmkError)],
)  # fmt: skip
def test_the_agents_exit_code_is_the_kind_of_error_and_its_last_line_the_message(
    code: int, kind: type[LmkError]
) -> None:
    story = "0: (79) r1 = *(u64 *)(r1 +0)\nR1 invalid mem access\nlmk-agent: handlers refused\n"
    _device, root = root_on(FACTS, result(stderr=story, code=code))
    with pytest.raises(kind) as raised:
        start_agent(root, gather(root), "ab" * 32, preset("default"), 1000, "me@here")
    assert type(raised.value) is kind
    assert str(raised.value) == "scripted: the agent does not start: handlers refused"
    assert "R1 invalid mem access" in raised.value.detail


def test_a_lease_under_a_second_is_refused() -> None:
    with pytest.raises(UsageError, match="too short"):
        attachment.attach(as_device(ScriptedDevice(FACTS)), lease=timedelta(milliseconds=999))
