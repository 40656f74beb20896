# SPDX-License-Identifier: Apache-2.0
"""The lmk command on a device: what a person types, and what a script reads."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmk import build
from lmk.attachment import connect_session, gather_as_root
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.device.resolve import connect
from lmk.proto.record_pb2 import Stream
from lmk.report import kill_reports
from lmk.workload import Eater

POLICY = 'name: "ours" only_uids { first: 19000 last: 19009 }\n'


class Command:
    """`lmk` for one device, in processes of their own."""

    def __init__(self, serial: str) -> None:
        self._environment = {**os.environ, "ANDROID_SERIAL": serial}
        self._start = [sys.executable, "-c", "import lmk.cli; lmk.cli.main()"]

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [*self._start, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._start, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def begin_on(self, terminal: int, *arguments: str) -> subprocess.Popen[bytes]:
        """On a terminal of its own: Ctrl-C typed there reaches it alone."""
        return subprocess.Popen(
            ["setsid", "--ctty", "--wait", *self._start, *arguments],
            env={**self._environment, "TERM": "xterm"},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
        )


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build.build()


@pytest.fixture(scope="module")
def command(
    device_serial: str, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Command]:
    """A device attached by `lmk attach --bundle`, for all tests of this module."""
    lmk_command = Command(device_serial)
    policy = tmp_path_factory.mktemp("policy") / "ours.textpb"
    policy.write_text(POLICY)
    lmk_command.run("detach")
    said = lmk_command.run(
        "attach", "--bundle", str(bundle.path), "--policy", str(policy), "--lease", "10m"
    )
    assert said == ""
    yield lmk_command
    lmk_command.run("detach")
    with connect(device_serial) as device:
        assert gather_as_root(device)[1].session is None


def a_kill(device: Device) -> None:
    """Make the handlers kill a process of ours, and wait until its report is made.

    That is a moment after its end: when its memory is back.
    """
    session = connect_session(device)
    with Eater(device, 60_000, adj=900, uid=19001, floor_mb=0, name="greedy") as eater:
        assert any(state.phase == "killed" for state in eater)
        assert next(session.reports()).victim.uid == 19001


def test_status_is_a_page_for_people_and_an_object_for_scripts(
    command: Command, kill_path: str
) -> None:
    page = command.run("status")
    for word in (f"kill path {kill_path}", "policy    ours", "lease", "available", "some stall"):
        assert word in page
    values = json.loads(command.run("status", "--json"))
    assert values["policy"]["name"] == "ours"
    assert 0 < values["lease_left_ms"] <= 600_000
    assert values["sample"]["mem_total_kb"] > 0
    assert {signal["kind"] for signal in values["signals"]} >= {"FREE_KB", "AVAILABLE_KB"}


def counters(values: dict[str, Any]) -> dict[str, int]:
    return {counter["name"]: counter["value"] for counter in values["counters"]}


def test_status_names_the_next_to_die_in_order_and_counts_nobody_as_refused(
    command: Command, device: Device
) -> None:
    with (
        Eater(device, 20, adj=900, uid=19002, name="com.example.later") as later,
        Eater(device, 12, adj=940, uid=19003, name="com.example.sooner") as sooner,
    ):
        for eater in (later, sooner):
            assert any(state.phase == "grown" for state in eater)
        first = json.loads(command.run("status", "--json"))
        names = [process["name"] for process in first["candidates"]]
        assert names == ["com.example.sooner", "com.example.later"]
        page = command.run("status")
        assert page.index("com.example.sooner") < page.index("com.example.later")
        assert "no limit on kills" in page
        # Looking passes over all the others, which is no verdict.
        refused = {
            name: value for name, value in counters(first).items() if name.startswith("refused.")
        }
        last = counters(json.loads(command.run("status", "--json")))
        assert {name: last[name] for name in refused} == refused


def test_verdicts_are_counted_by_reason_and_the_budget_goes_down(
    command: Command, device: Device, tmp_path: Path
) -> None:
    policy = tmp_path / "budget.textpb"
    policy.write_text(POLICY + "kills { max_per_minute: 1 }\n")
    command.run("policy", "push", str(policy))
    before = counters(json.loads(command.run("status", "--json")))
    a_kill(device)
    values = json.loads(command.run("status", "--json"))
    after = counters(values)
    killed = after["outcome.killed"] - before["outcome.killed"]
    assert killed == 1
    verdicts = [name for name in after if name.startswith("verdict.")]
    assert sum(after[name] - before[name] for name in verdicts) == killed
    # One kill takes the credit of a whole minute.
    assert values["budget_left"] == 0
    assert "0 of 1 kills a minute left" in command.run("status")
    policy.write_text(POLICY)
    command.run("policy", "push", str(policy))


def test_top_gives_an_object_a_refresh_and_has_the_cost_counted(command: Command) -> None:
    text = command.run("top", "--json", "--count", "3", "--interval", "200ms")
    objects = [json.loads(line) for line in text.splitlines()]
    assert len(objects) == 3
    assert "cpu_pct" not in objects[0]
    assert all(one["cpu_pct"] >= 0 for one in objects[1:])
    times = [one["hello"]["boottime_ns"] for one in objects]
    assert times == sorted(set(times))
    # While it asks, the kernel counts: the call that asks is counted itself.
    calls = [
        next(program for program in one["programs"] if program["name"] == "lmk_call")
        for one in objects
    ]
    assert calls[2]["runs"] > calls[1].get("runs", 0)
    assert calls[2]["run_time_ns"] > 0


def test_top_is_lines_in_a_pipe_and_a_page_once(command: Command) -> None:
    lines = command.run("top", "--count", "2", "--interval", "200ms").splitlines()
    assert lines[0].split()[:3] == ["TIME", "FREE", "AVAIL"]
    assert len(lines) == 3
    assert len(set(map(len, lines))) == 1
    assert "SIGNAL" in command.run("top", "--once")
    command.run("top", "--interval", "10ms", code=2)
    command.run("top", "--once", "--count", "2", code=2)


@pytest.mark.parametrize(("columns", "rows"), [(100, 40), (44, 20)])
@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_top_on_a_terminal_ends_with_q_and_with_ctrl_c(
    command: Command, key: bytes, columns: int, rows: int
) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = command.begin_on(theirs, "top", "--interval", "200ms")
    os.close(theirs)
    shown = b""
    pressed = False
    with contextlib.suppress(OSError):  # its end closes the terminal
        while data := os.read(ours, 65536):
            shown += data
            if not pressed and shown.count(b"some stall") >= 3:
                pressed = True
                os.write(ours, key)
    os.close(ours)
    assert process.wait(60) == 0, shown
    assert pressed
    text = shown.decode()
    assert "Traceback" not in text
    # What was there before comes back: the alternate screen is left.
    assert text.index("\x1b[?1049h") < text.rindex("\x1b[?1049l")
    for word in ("SIGNAL", "NOW", "LIMIT", "available", "lease"):
        assert word in text


def test_doctor_ends_with_0_where_there_is_a_kill_path(
    command: Command, bundle: Bundle, kill_path: str
) -> None:
    page = command.run("doctor", "--bundle", str(bundle.path))
    assert f"kill path: {kill_path}" in page
    values = json.loads(command.run("doctor", "--json", "--bundle", str(bundle.path)))
    assert values["kill_path"] == kill_path
    assert values["why"]
    assert values["transport"] == "direct"


def test_a_kill_is_in_the_table_in_jsonl_and_in_a_capture(
    command: Command, device: Device, tmp_path: Path
) -> None:
    a_kill(device)
    table = command.run("stream", "--from", "start", "--no-follow")
    assert table.startswith("TIME")
    assert "greedy" in table
    records = [
        json.loads(line)
        for line in command.run(
            "stream", "--from", "start", "--no-follow", "--format", "jsonl"
        ).splitlines()
    ]
    # Those of earlier sessions on this device may be in the spool too.
    ours = [kill for kill in (record.get("kill") for record in records) if kill is not None]
    *_, kill = [kill for kill in ours if kill["victim"]["uid"] == 19001]
    assert kill["victim"]["oom_score_adj"] == 900
    capture = tmp_path / "capture.pb"
    for _twice in range(2):
        command.run(
            "stream", "--from", "start", "--no-follow", "--format", "pb", "-o", str(capture)
        )
    assert Stream.FromString(capture.read_bytes()).record[0].HasField("hello")
    kills = [record for record in records if "kill" in record]
    assert len(list(kill_reports(capture))) == len(kills)


def test_count_ends_the_stream_and_from_begins_it_at_a_record(command: Command) -> None:
    lines = command.run(
        "stream", "--from", "start", "--count", "1", "--format", "jsonl"
    ).splitlines()
    hello, *lost, record = [json.loads(line) for line in lines]
    run = hello["hello"]["run"]
    # On a device that is in use for long, the oldest records have gone and that is said.
    assert all("lost" in line for line in lost)
    assert record["seq"] > 0
    lines = command.run(
        "stream", "--from", f"{run}:1", "--count", "1", "--format", "jsonl"
    ).splitlines()
    assert [json.loads(line)["run"] for line in lines if json.loads(line)["seq"]] == [run]


def test_ctrl_c_ends_a_stream_with_130_and_whole_lines(command: Command) -> None:
    process = command.begin("stream", "--from", "start", "--format", "jsonl")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    # Not communicate(): it reads past what readline() has buffered.
    out = process.stdout.read()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    assert process.wait(60) == 130
    for line in out.splitlines():
        json.loads(line)


def test_a_policy_is_pushed_and_shown_from_the_device(command: Command, tmp_path: Path) -> None:
    policy = tmp_path / "next.textpb"
    policy.write_text(POLICY.replace("ours", "next"))
    command.run("policy", "push", str(policy))
    serial = command._environment["ANDROID_SERIAL"]
    assert 'name: "next"' in command.run("policy", "show", "-s", serial)
    policy.write_text("timing { retry_ms: 99999 }")
    command.run("policy", "push", str(policy), code=2)
    assert 'name: "next"' in command.run("policy", "show", "-s", serial)
    policy.write_text(POLICY)
    command.run("policy", "push", str(policy))
    assert 'name: "ours"' in command.run("policy", "show", "-s", serial)


def test_a_rule_for_a_package_that_is_not_there_is_said_and_waits(
    command: Command, bundle: Bundle, tmp_path: Path
) -> None:
    policy = tmp_path / "unknown.textpb"
    rules = 'rules { package: "com.example.nobody" protect: true }\n'
    policy.write_text(POLICY + rules)
    attach = ("attach", "--bundle", str(bundle.path), "--policy", str(policy), "--lease", "10m")
    for words in (("policy", "push", str(policy)), attach):
        done = command.begin(*words)
        _, said = done.communicate(timeout=240)
        assert done.returncode == 0
        assert "com.example.nobody is not installed: its rule waits" in said
    policy.write_text(POLICY)
    done = command.begin("policy", "push", str(policy))
    assert "waits" not in done.communicate(timeout=240)[1]


def test_a_truncated_capture_of_this_device_ends_with_5(command: Command, tmp_path: Path) -> None:
    capture = tmp_path / "capture.pb"
    command.run("stream", "--from", "start", "--no-follow", "--format", "pb", "-o", str(capture))
    capture.write_bytes(capture.read_bytes()[:-2])
    command.run("report", str(capture), code=5)


def test_an_attached_device_survives_the_host_that_attached_it(command: Command) -> None:
    """The process that ran `lmk attach` is long gone."""
    assert json.loads(command.run("status", "--json"))["agent_pid"] > 0


def test_costs_that_the_kernel_did_not_count_are_left_out(command: Command) -> None:
    programs = json.loads(command.run("status", "--json"))["programs"]
    assert {program["name"] for program in programs} >= {"lmk_call", "lmk_on_exit"}
    for program in programs:
        assert program.get("runs") != 0
        assert ("runs" in program) == ("run_time_ns" in program)
