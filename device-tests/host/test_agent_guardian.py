# SPDX-License-Identifier: Apache-2.0
"""Agent and guardian: each brings the other back, and together they give the device back."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from agent_process import Agent, RecordClient, is_agent, until

from lmk.control import check_hello, parse_session_file
from lmk.errors import ProtocolError
from lmk.proto.control_pb2 import ControlRequest, Detach, GetStatus
from lmk.proto.record_pb2 import Hello, Lifecycle, Record

pytest_plugins = ("agent_plugin",)


def kill(session: dict[str, str], who: str) -> None:
    os.kill(int(session[who]), signal.SIGKILL)


def kinds(records: list[Record]) -> list[tuple[int, int]]:
    return [(record.run, record.lifecycle.kind) for record in records if record.seq]


def test_a_killed_agent_is_back_within_a_second_with_its_records(agent: Agent) -> None:
    agent.serve()
    old = agent.session
    begin = time.monotonic()
    kill(old, "agent_pid")
    new = agent.session_of_new_agent(old)
    assert time.monotonic() - begin < 1.0
    assert new["guardian_pid"] == old["guardian_pid"]
    assert new["agent_restarts"] == "1"
    assert kinds(agent.records()) == [(1, Lifecycle.ATTACHED), (2, Lifecycle.RESUMED)]
    assert agent.control(ControlRequest(get_status=GetStatus())).status.agent_restarts == 1


def test_a_new_agent_has_new_names_and_a_new_token(agent: Agent) -> None:
    agent.serve()
    old = agent.session
    kill(old, "agent_pid")
    new = agent.session_of_new_agent(old)
    for key in ("record_socket", "control_socket", "token"):
        assert new[key] != old[key]


def test_a_squatter_on_the_old_name_is_found_out_and_in_nobodys_way(agent: Agent) -> None:
    agent.serve()
    old = agent.session
    session = parse_session_file((agent.directory / "session").read_text(), "")
    kill(old, "agent_pid")
    with socket.socket(socket.AF_UNIX) as squatter:

        def squat() -> bool | None:
            try:
                squatter.bind("\0" + old["record_socket"])
            except OSError:
                return None
            return True

        until(squat)
        agent.session_of_new_agent(old)
        assert agent.records()[0].HasField("hello")
    # It may have been told the token by a host that came too early, but not the proof's.
    with pytest.raises(ProtocolError):
        check_hello(Hello(protocol_version=1, token_proof=b"\0" * 16), session)


def test_a_killed_guardian_is_replaced_by_the_agent(agent: Agent) -> None:
    agent.serve()
    old = agent.session
    kill(old, "guardian_pid")

    def replaced() -> dict[str, str] | None:
        new = agent.session
        return new if new["guardian_pid"] != old["guardian_pid"] else None

    new = until(replaced)
    assert new["agent_pid"] == old["agent_pid"]
    assert kinds(agent.records())[-1] == (1, Lifecycle.GUARDIAN_RESTARTED)
    # The new guardian keeps its promise too.
    kill(new, "agent_pid")
    newer = agent.session_of_new_agent(new)
    assert newer["guardian_pid"] == new["guardian_pid"]
    assert agent.stop() == {"stopped": "session"}
    assert not (agent.directory / "session").exists()


def test_both_killed_leave_what_stop_and_start_clear_away(agent: Agent) -> None:
    agent.serve()
    session = agent.session
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for who in ("guardian_pid", "agent_pid"):
            os.kill(int(session[who]), number)
    # (A killed process may still take a connection while it exits.)
    assert agent.stop()["stopped"] in ("leftovers", "session")
    assert agent.stop() == {"stopped": "nothing"}
    assert agent.serve()["run"] == 2


def test_stop_wins_against_the_two_bringing_each_other_back(agent: Agent) -> None:
    agent.serve()
    session = agent.session
    kill(session, "guardian_pid")
    kill(session, "agent_pid")
    # The agent may have started a guardian before it died, and that one an agent.
    assert agent.stop()["stopped"] in ("leftovers", "session")
    assert agent.stop() == {"stopped": "nothing"}


def test_an_agent_that_keeps_dying_is_given_up_with_a_record(agent: Agent) -> None:
    agent.serve()
    for _ in range(3):
        old = agent.session
        kill(old, "agent_pid")
        agent.session_of_new_agent(old)
    kill(agent.session, "agent_pid")
    agent.wait_until_over()
    agent.serve()
    said = kinds(agent.records())
    assert Lifecycle.AGENT_LOST in [kind for _, kind in said]
    assert [kind for _, kind in said].count(Lifecycle.RESUMED) == 3


def test_detach_says_so_and_leaves_no_process(agent: Agent) -> None:
    agent.serve()
    session = agent.session
    with RecordClient(session) as client:
        client.ask(run=1, from_seq=1, follow=True)
        records = iter(client)
        assert next(records).HasField("hello")
        assert agent.control(ControlRequest(detach=Detach())).HasField("done")
        rest = list(records)
    assert rest[-1].lifecycle.kind == Lifecycle.DETACHED
    agent.wait_until_over()
    pids = [int(session[who]) for who in ("agent_pid", "guardian_pid")]
    until(lambda: None if any(is_agent(pid, agent.directory) for pid in pids) else True)


def test_a_lease_that_runs_out_is_recorded_before_the_end(agent: Agent) -> None:
    agent.serve("--lease-ms", "300")
    agent.wait_until_over()
    agent.serve()
    said = kinds(agent.records())
    assert said[:2] == [(1, Lifecycle.ATTACHED), (1, Lifecycle.LEASE_ENDED)]


def test_a_follower_keeps_the_lease_alive(agent: Agent) -> None:
    agent.serve("--lease-ms", "1500")
    with RecordClient(agent.session) as client:
        client.ask(follow=True)
        beats = 0
        for record in client:
            beats += record.HasField("heartbeat")
            if beats == 3:
                break
        assert beats == 3
    agent.wait_until_over()


def test_an_agent_that_hangs_does_not_keep_the_device(agent: Agent) -> None:
    agent.serve("--lease-ms", "200")
    session = agent.session
    os.kill(int(session["agent_pid"]), signal.SIGSTOP)
    # The guardian waits for its grace of 5 s, then takes the matter over.
    agent.wait_until_over()
    assert not is_agent(int(session["agent_pid"]), agent.directory)


def test_no_lease_means_none(agent: Agent) -> None:
    agent.serve("--no-lease")
    status = agent.control(ControlRequest(get_status=GetStatus())).status
    assert not status.HasField("lease_left_ms")


def test_stop_ends_agents_that_do_not_answer(agent: Agent) -> None:
    agent.serve()
    session = agent.session
    os.kill(int(session["guardian_pid"]), signal.SIGSTOP)
    os.kill(int(session["agent_pid"]), signal.SIGSTOP)
    assert agent.stop() == {"stopped": "killed"}
    assert not (agent.directory / "session").exists()


def test_a_directory_that_others_may_write_is_refused(binary: Path, tmp_path: Path) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(0o777)
    agent = Agent(binary, directory)
    assert "only root may write" in agent.run("serve", code=2)["error"]


def test_start_names_what_is_missing(binary: Path, tmp_path: Path) -> None:
    agent = Agent(binary, tmp_path / "lmk")
    assert "--policy" in agent.run("start", code=2)["error"]
    assert "not a number" in agent.run("serve", "--lease-ms", "soon", code=2)["error"]
    assert "unknown" in agent.run("serve", "--colour", "red", code=2)["error"]
