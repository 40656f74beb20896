# SPDX-License-Identifier: Apache-2.0
"""Sessions with a device that answers what a test wants: each fault is one clear error."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from lmk import attachment, control, install, progress
from lmk.build import Bundle, BundleFile
from lmk.control import SessionFile, check_hello, parse_session_file
from lmk.device.interface import CommandResult, Device
from lmk.device.root import Root, find_root
from lmk.device.service import ServiceRefusedError
from lmk.errors import (
    LmkError,
    ProtocolError,
    TransientError,
    UnsupportedError,
    UsageError,
)
from lmk.install import gather, start_agent
from lmk.policy import preset
from lmk.proto.control_pb2 import ControlReply, ControlRequest, Done, Error, GetStatus
from lmk.proto.record_pb2 import Hello, Record
from lmk.report import encode_record, parse_position
from lmk.report.wire import encode_varint
from lmk.session import Session

TOKEN = bytes(range(16))
SESSION = f"""record_socket=lmk-records-1
control_socket=lmk-control-1
token={TOKEN.hex()}
build_id={"ab" * 32}
boot_id=boot-1
run=3
agent_pid=12
later_key=of a newer agent
kill_path=in_kernel
"""
FACTS = "uid=0\nabi=x86_64\nkernel=7.3\nbtf=1\nboot=boot-1\nname=dev\ndir=/data/lmk\n"


class ScriptedDevice:
    """A device whose shell and sockets answer what they are told to."""

    serial = "scripted"

    def __init__(self, *answers: str | CommandResult, transport: str = "direct") -> None:
        self.transport = transport
        self.answers = list(answers)
        self.commands: list[str] = []
        self.pushed: list[str] = []
        self.reply = b""

    def run(self, command: str, **_options: Any) -> CommandResult:
        self.commands.append(command)
        answer = self.answers.pop(0) if self.answers else ""
        return answer if isinstance(answer, CommandResult) else result(answer)

    def push(self, _source: bytes, remote: str, **_options: Any) -> None:
        self.pushed.append(remote)

    def open(self, _service: str, **_options: Any) -> ScriptedStream:
        return ScriptedStream(self.reply)


class ScriptedStream:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, **_options: Any) -> bytes:
        taken, self._data = self._data[:3], self._data[3:]
        return taken

    def write(self, data: bytes) -> None:
        """Take the request."""

    def close(self) -> None:
        """Nothing to do."""

    def __enter__(self) -> ScriptedStream:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing to do."""


def result(stdout: str = "", stderr: str = "", code: int = 0) -> CommandResult:
    return CommandResult(code, stdout.encode(), stderr.encode())


def root_on(*answers: str | CommandResult) -> tuple[ScriptedDevice, Root]:
    device = ScriptedDevice(*answers)
    return device, Root(cast(Device, device), "{}")


def as_device(device: ScriptedDevice) -> Device:
    return cast(Device, device)


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
    lines = "".join(f"session={line}\n" for line in SESSION.splitlines())
    device, root = root_on(f"{FACTS}owner=0 directory\nhave=lmk-agent abc  -\npinned=1\n{lines}")
    facts = gather(root)
    assert len(device.commands) == 1
    assert (facts.abi, facts.btf, facts.pinned) == ("x86_64", True, True)
    assert facts.have == {"lmk-agent": "abc"}
    assert facts.session is not None
    assert facts.session.token == TOKEN


def test_a_session_of_an_earlier_boot_is_none() -> None:
    lines = "".join(f"session={line}\n" for line in SESSION.splitlines())
    _device, root = root_on(FACTS.replace("boot=boot-1", "boot=boot-2") + lines)
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


def do_install(device: ScriptedDevice, root: Root, facts: install.Facts) -> list[str]:
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


# -- the agent's words -------------------------------------------------------------------------


def session_file() -> SessionFile:
    return parse_session_file(SESSION, "/data/lmk")


def proved(**changes: Any) -> Hello:
    proof = hashlib.sha256(b"lmk-hello" + TOKEN).digest()[:16]
    return Hello(**{"protocol_version": 1, "build_id": "ab" * 32, "token_proof": proof, **changes})


def test_a_hello_with_the_right_proof_is_taken() -> None:
    check_hello(proved(), session_file(), "ab" * 32)


def test_a_squatter_who_does_not_know_the_token_is_found_out() -> None:
    with pytest.raises(ProtocolError, match="does not know the session's token"):
        check_hello(proved(token_proof=b"x" * 16), session_file())


def test_another_protocol_version_and_another_build_are_said_with_the_cure() -> None:
    with pytest.raises(ProtocolError, match=r"protocol 2, this lmk 1: `lmk attach`"):
        check_hello(proved(protocol_version=2), session_file())
    with pytest.raises(ProtocolError, match=r"build abab.*, this lmk's is cdcd.*`lmk attach`"):
        check_hello(proved(), session_file(), "cd" * 32)


def ask(device: ScriptedDevice) -> ControlReply:
    wanted = ControlRequest(get_status=GetStatus())
    return control.request(as_device(device), session_file(), wanted)


@pytest.fixture
def device() -> ScriptedDevice:
    return ScriptedDevice()


def framed(reply: ControlReply, *, proved: bool = True) -> bytes:
    if proved:
        reply.token_proof = hashlib.sha256(b"lmk-hello" + TOKEN).digest()[:16]
    payload = reply.SerializeToString()
    return encode_varint(len(payload)) + payload


def test_a_reply_in_small_pieces_is_whole(device: ScriptedDevice) -> None:
    device.reply = framed(ControlReply(done=Done()))
    assert ask(device).HasField("done")


def test_a_refused_policy_is_the_users_mistake_and_a_refused_token_is_not(
    device: ScriptedDevice,
) -> None:
    device.reply = framed(ControlReply(error=Error(code=Error.BAD_POLICY, message="stall_ms")))
    with pytest.raises(UsageError, match="refuses the policy: stall_ms"):
        ask(device)
    device.reply = framed(ControlReply(error=Error(code=Error.BAD_TOKEN)), proved=False)
    with pytest.raises(ProtocolError, match="BAD_TOKEN"):
        ask(device)


@pytest.mark.parametrize(
    "reply", [ControlReply(done=Done()), ControlReply(error=Error(code=Error.BAD_POLICY))]
)
def test_a_squatter_cannot_answer_a_request(device: ScriptedDevice, reply: ControlReply) -> None:
    device.reply = framed(reply, proved=False)
    with pytest.raises(ProtocolError, match="does not know the session's token"):
        ask(device)


@pytest.mark.parametrize("cut", range(3))
def test_a_connection_that_ends_before_the_reply_does_is_worth_another_try(
    device: ScriptedDevice, cut: int
) -> None:
    device.reply = framed(ControlReply(done=Done()))[:cut]
    with pytest.raises(TransientError, match="hung up"):
        ask(device)


def test_nonsense_instead_of_a_reply_is_a_protocol_error(device: ScriptedDevice) -> None:
    device.reply = b"\x03\xff\xff\xff"
    with pytest.raises(ProtocolError, match="does not decode"):
        ask(device)
    device.reply = b"\xff\xff\xff\xff\x7f"
    with pytest.raises(ProtocolError, match="announces a reply of"):
        ask(device)


# -- places in a stream ------------------------------------------------------------------------


def test_places_in_a_stream() -> None:
    place = parse_position
    assert (place("start").run, place("start").seq) == (1, 1)
    assert (place("17").run, place("17").seq) == (0, 17)
    assert (place("2:9").run, place("2:9").seq) == (2, 9)
    for wrong in ("", "x", "0", "1:", ":1", "0:1", "-1", "1:2:3", "\u0661"):
        with pytest.raises(UsageError, match="is not a place in a stream"):
            place(wrong)


# -- an agent that is being replaced ---------------------------------------------------------------


class DyingAgent(ScriptedDevice):
    """Its first agent takes connections and hangs up, then is gone; the second has other names."""

    def __init__(self, *answers: str | CommandResult) -> None:
        super().__init__(*answers)
        self.opened: list[str] = []
        hello = Hello(
            protocol_version=1,
            build_id="ab" * 32,
            boot_id="boot-1",
            run=4,
            first_seq=1,
            next_seq=1,
            token_proof=hashlib.sha256(b"lmk-hello" + TOKEN).digest()[:16],
        )
        self.hello = encode_record(Record(time_ns=1, hello=hello))

    def open(self, service: str, **_options: Any) -> ScriptedStream:
        self.opened.append(service)
        if service.endswith("-2"):
            return ScriptedStream(self.hello)
        if self.opened.count(service) > 1:
            raise ServiceRefusedError(f"{service} is refused")
        return ScriptedStream(b"")


def test_an_agent_that_dies_before_its_hello_is_not_waited_for_on_its_own_names() -> None:
    lines = "".join(f"session={line}\n" for line in SESSION.splitlines())
    old = f"{FACTS}owner=0 directory\nserves=1\n{lines}"
    device = DyingAgent(old, old.replace("lmk-records-1", "lmk-records-2"))
    root = Root(as_device(device), "{}")
    file = parse_session_file(SESSION, "/data/lmk")
    session = Session(root, file, None, detach_at_exit=False)
    assert session.hello.run == 4
    # Asked once more, as after a broken link, and then of whoever came after it.
    assert set(device.opened) == {
        "localabstract:lmk-records-1",
        "localabstract:lmk-records-2",
    }
    assert len(device.opened) <= 5
