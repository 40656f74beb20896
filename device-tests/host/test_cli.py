# SPDX-License-Identifier: Apache-2.0
"""The lmk command: what goes where, and which exit code a mistake gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from fake_agent import heartbeat, hello, kill, lost

from lmk import cli as cli_module
from lmk import errors
from lmk.cli import cli
from lmk.errors import ExitCode
from lmk.proto.record_pb2 import Record
from lmk.report import encode_record


def lmk(
    *arguments: str, stdin: bytes = b"", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """The installed command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "import lmk.cli; lmk.cli.main()", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "ANDROID_SERIAL": "", **(environment or {})},
    )


def capture(path: Path, *records: Record) -> Path:
    path.write_bytes(b"".join(map(encode_record, records)))
    return path


def assert_one_clear_error(done: subprocess.CompletedProcess[bytes], code: ExitCode) -> str:
    """One line on standard error that begins with lmk's name, no traceback, nothing as data."""
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line.startswith("lmk: error: ")]
    assert len(lines) == 1, said
    return lines[0]


# -- help --------------------------------------------------------------------------------------


def test_every_command_is_in_the_help_and_has_help_of_its_own() -> None:
    listed = {name for commands in cli_module._SECTIONS.values() for name in commands}
    assert listed == set(cli_module._COMMANDS)
    for name in listed:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert command.name == name
        assert command.help


def test_the_help_documents_every_exit_code() -> None:
    text = lmk("--help").stdout.decode()
    for code in ExitCode:
        assert f"{int(code)}  " in text


def test_help_and_version_need_no_device_and_end_with_0() -> None:
    assert lmk("-h").returncode == 0
    assert lmk("--version").stdout.startswith(b"lmk, version ")
    assert lmk("attach", "--help").returncode == 0


# -- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["attach", "--nonsense"],
        ["attach", "--lease", "15"],
        ["stream", "--format", "xml"],
        ["stream", "--from", "x:y"],
        ["stream", "--from", "0"],
        ["build", "--abi", "riscv64"],
        ["policy", "check"],
    ],
)
def test_wrong_arguments_end_with_2_and_no_traceback(arguments: list[str]) -> None:
    done = lmk(*arguments)
    assert done.returncode == ExitCode.USAGE
    assert b"Traceback" not in done.stderr
    assert b"rror" in done.stderr


def test_a_time_without_unit_is_refused_with_an_example() -> None:
    assert b"15m" in lmk("attach", "--lease", "15").stderr


@pytest.mark.parametrize("command", ["attach", "status", "top", "stream", "detach", "doctor"])
def test_a_device_that_is_not_there_is_one_clear_error(command: str, tmp_path: Path) -> None:
    done = lmk(command, "-s", "virtual#nobody", environment={"LMK_CACHE": str(tmp_path)})
    said = assert_one_clear_error(done, ExitCode.USAGE)
    assert "lmk virtual up" in said
    assert done.stdout == b""


def test_no_device_at_all_says_how_to_get_one(tmp_path: Path) -> None:
    nowhere = {"LMK_CACHE": str(tmp_path), "ANDROID_ADB_SERVER_PORT": "1"}
    done = lmk("status", environment=nowhere)
    assert "lmk virtual up" in assert_one_clear_error(done, ExitCode.USAGE)


def test_the_serial_may_stand_before_the_command_or_in_the_environment(tmp_path: Path) -> None:
    cache = {"LMK_CACHE": str(tmp_path)}
    before = lmk("-s", "virtual#before", "status", environment=cache)
    inside = lmk("status", environment={**cache, "ANDROID_SERIAL": "virtual#inside"})
    assert "virtual#before" in assert_one_clear_error(before, ExitCode.USAGE)
    assert "virtual#inside" in assert_one_clear_error(inside, ExitCode.USAGE)


def test_a_serial_is_refused_where_no_device_is_worked_on(tmp_path: Path) -> None:
    done = lmk("-s", "virtual#x", "virtual", "up", environment={"LMK_CACHE": str(tmp_path)})
    assert "lmk virtual up NAME" in assert_one_clear_error(done, ExitCode.USAGE)
    assert list(tmp_path.iterdir()) == []


def test_verbose_may_stand_after_every_command() -> None:
    for command in (("virtual", "list"), ("virtual", "up"), ("build",), ("report",), ("devices",)):
        assert lmk(*command, "-v", "--help").returncode == ExitCode.OK


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("attach", "--lease", "999999999999h"), "longer than 366 days"),
        (("attach", "--lease", "abc"), "not a time with its unit"),
        (("attach", "--lease", "5m", "--persist"), "contradict"),
        (("attach", "--policy", ""), "neither a file nor a preset"),
        (("stream", "--from", "9" * 30), "not a place in a stream"),
        (("pressure", "--size", "999999G"), "not within 1M and 1024G"),
        (("pressure", "--size", "0M"), "not within"),
    ],
)
def test_values_nobody_can_mean_are_refused_in_one_line(
    arguments: tuple[str, ...], words: str
) -> None:
    done = lmk(*arguments, "-s", "tcp:127.0.0.1:1")
    assert words in assert_one_clear_error(done, ExitCode.USAGE)


def test_an_offline_device_is_worth_another_try() -> None:
    done = lmk("status", "-s", "tcp:127.0.0.1:1")
    assert "127.0.0.1:1" in assert_one_clear_error(done, ExitCode.TRANSIENT)


def test_a_wrong_policy_ends_attach_before_the_device_is_asked(tmp_path: Path) -> None:
    policy = tmp_path / "bad.textpb"
    policy.write_text("low_mem { stall: 7 }")
    done = lmk("policy", "push", str(policy), "-s", "tcp:127.0.0.1:1")
    assert "bad.textpb:1:11: " in assert_one_clear_error(done, ExitCode.USAGE)
    done = lmk("attach", "--policy", str(policy), "-s", "tcp:127.0.0.1:1")
    assert "bad.textpb:1:11: " in assert_one_clear_error(done, ExitCode.USAGE)


def test_a_foreign_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "foreign").write_bytes(b"no zip")
    done = lmk("attach", "--bundle", str(tmp_path / "foreign"), "-s", "tcp:127.0.0.1:1")
    assert "is not an lmk bundle" in assert_one_clear_error(done, ExitCode.PROTOCOL)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LmkError, 1),
        (errors.UsageError, 2),
        (errors.UnsupportedError, 3),
        (errors.TransientError, 4),
        (errors.ProtocolError, 5),
        (errors.CheckFailed, 6),
        (KeyboardInterrupt, 130),
        (ZeroDivisionError, 1),
    ],
)
def test_every_kind_of_error_has_its_exit_code_and_one_line(
    error: type[BaseException],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise error("what went wrong")

    monkeypatch.setattr(cli, "get_command", lambda *_: click.Command("fail", callback=fail))
    with pytest.raises(SystemExit) as ended:
        cli_module.main(["fail"])
    assert ended.value.code == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) == 1


def test_the_long_story_is_shown_with_v_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise errors.UnsupportedError("the kernel refuses it", detail="R1 type=scalar expected=fp")

    monkeypatch.setattr(cli, "get_command", lambda *_: click.Command("fail", callback=fail))
    for arguments, told in ((["fail"], False), (["-v", "fail"], True)):
        with pytest.raises(SystemExit):
            cli_module.main(arguments)
        assert ("R1 type=scalar" in capsys.readouterr().err) == told


def test_what_a_device_says_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise errors.UsageError("process \x1b[2Jevil\r\nlmk: all is well")

    monkeypatch.setattr(cli, "get_command", lambda *_: click.Command("fail", callback=fail))
    with pytest.raises(SystemExit):
        cli_module.main(["fail"])
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert len(said.splitlines()) == 1


# -- policy ------------------------------------------------------------------------------------


def test_a_shown_preset_passes_the_check() -> None:
    shown = lmk("policy", "show", "default")
    assert shown.returncode == 0
    checked = lmk("policy", "check", "-", stdin=shown.stdout)
    assert (checked.returncode, checked.stdout) == (0, b"")


def test_a_check_that_finds_something_ends_with_6_and_lists_it(tmp_path: Path) -> None:
    policy = tmp_path / "p.textpb"
    policy.write_text("scarcity { available_below_pct: 120 }\ntiming { retry_ms: 9999 }\n")
    done = lmk("policy", "check", str(policy))
    assert_one_clear_error(done, ExitCode.CHECK_FAILED)
    lines = done.stdout.decode().splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{policy}:1:12", f"{policy}:2:10"]


def test_without_arguments_the_presets_are_listed() -> None:
    assert b"default" in lmk("policy", "show").stdout.splitlines()


# -- captures ----------------------------------------------------------------------------------


def test_a_capture_is_shown_as_a_table_with_every_record_once(tmp_path: Path) -> None:
    one = capture(tmp_path / "one.pb", hello(1, 3), kill(1, name="com.example.one"), heartbeat())
    two = capture(tmp_path / "two.pb", hello(1, 3), kill(1), kill(2, name="com.example.two"))
    done = lmk("report", str(one), str(two))
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0
    assert lines[0].startswith("TIME")
    assert [line.split()[1] for line in lines[1:]] == ["com.example.one", "com.example.two"]


def test_jsonl_has_numbers_as_numbers_and_leaves_out_what_was_not_measured(tmp_path: Path) -> None:
    path = capture(tmp_path / "one.pb", hello(1, 3), kill(1))
    lines = lmk("report", "--format", "jsonl", str(path)).stdout.splitlines()
    record = json.loads(lines[1])
    assert record["kill"]["kill_id"] == 1
    assert record["kill"]["victim"]["uid"] == 0
    assert record["kill"]["reason"] == "REASON_NONE"
    assert "freed_kb" not in record["kill"]
    assert "signalled_ns" not in record["kill"]["times"] if "times" in record["kill"] else True


def test_converting_captures_to_a_capture_drops_duplicates(tmp_path: Path) -> None:
    path = capture(tmp_path / "one.pb", hello(1, 3), kill(1))
    done = lmk("report", "--format", "pb", str(path), str(path))
    both = b"".join(map(encode_record, [hello(1, 3), kill(1), hello(1, 3)]))
    assert done.stdout == both


def test_a_truncated_capture_ends_with_5_after_what_is_whole(tmp_path: Path) -> None:
    path = capture(tmp_path / "one.pb", hello(1, 3), kill(1), kill(2))
    path.write_bytes(path.read_bytes()[:-1])
    done = lmk("report", str(path))
    assert "offset" in assert_one_clear_error(done, ExitCode.PROTOCOL)
    assert len(done.stdout.splitlines()) == 2
    assert lmk("report", "--truncated", str(path)).returncode == 0


def test_a_process_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    path = capture(tmp_path / "one.pb", hello(1, 3), kill(1, name="\x1b[31m[bold]\nx"))
    shown = lmk("report", str(path)).stdout
    assert b"\x1b" not in shown
    assert b"[bold]" in shown
    assert len(shown.splitlines()) == 2


def test_losses_are_said_on_standard_error_and_kept_in_jsonl(tmp_path: Path) -> None:
    path = capture(tmp_path / "one.pb", hello(1, 9), kill(1), lost(2, 5), kill(7))
    shown = lmk("report", "--format", "jsonl", str(path))
    assert any(
        json.loads(line).get("lost", {}).get("count") == 5 for line in shown.stdout.splitlines()
    )


# -- pipes and Ctrl-C --------------------------------------------------------------------------


def test_a_reader_that_had_enough_is_no_error(tmp_path: Path) -> None:
    path = capture(tmp_path / "many.pb", hello(1, 3), *(kill(n) for n in range(1, 20_000)))
    process = subprocess.Popen(
        [sys.executable, "-c", "import lmk.cli; lmk.cli.main()", "report", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 0
    assert b"rror" not in said
    assert b"Traceback" not in said


def test_a_full_disk_under_the_output_is_said(tmp_path: Path) -> None:
    records = capture(tmp_path / "one.pb", hello(1, 2), kill(1))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", "import lmk.cli; lmk.cli.main()", "report", str(records)],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    said = done.stderr.decode()
    assert done.returncode == ExitCode.USAGE, said
    assert "cannot write standard output: No space left on device" in said
    assert "bug" not in said


def test_a_locale_without_our_characters_ends_nothing(tmp_path: Path) -> None:
    records = capture(tmp_path / "one.pb", hello(1, 2), kill(1, name="com.example." + "a" * 40))
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert lmk("report", str(records), environment=ascii_only).returncode == ExitCode.OK


def until_asleep(pid: int) -> None:
    """Return once the process waits for something."""
    end = time.monotonic() + 30
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        assert time.monotonic() < end, "it never waits"


def test_ctrl_c_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        # The table would say on standard error whose records these are, now or a moment later.
        [
            sys.executable,
            "-c",
            "import lmk.cli; lmk.cli.main()",
            "report",
            "--format",
            "jsonl",
            str(pipe),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with pipe.open("wb") as feed:  # opens when the command reads
        feed.write(encode_record(hello(1, 3)) + encode_record(kill(1)))
        feed.flush()
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        # A signal just before a read that blocks interrupts nothing: it waits for more by now.
        until_asleep(process.pid)
        process.send_signal(signal.SIGINT)
        _out, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == b"lmk: interrupted\n"
