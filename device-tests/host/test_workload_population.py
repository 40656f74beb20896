# SPDX-License-Identifier: Apache-2.0
"""``lmk-population``, run on this machine: its processes, and what it records of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from running import DEADLINE_S, Running, await_gone, gone, rss_kb

pytest_plugins = ("programs_plugin",)

_UID = os.getuid()


@pytest.fixture
def population(run: Callable[..., Running]) -> Callable[..., Running]:
    def start(*rows: str) -> Running:
        running = run("lmk-population")
        running.tell(*rows, "go")
        return running

    return start


def test_processes_look_like_their_rows(population: Callable[..., Running]) -> None:
    apps = population(f"com.example.mail {_UID} 910 4096 1 50 0", f"svc {_UID} 500 1024 1 50 100")
    started = [apps.until("start") for _ in range(2)]
    assert apps.until("ready")["alive"] == 2
    for event, name, adj, size_kb in zip(
        started, ("com.example.mail", "svc"), (910, 500), (4096, 1024), strict=True
    ):
        proc = Path(f"/proc/{event['pid']}")
        assert (proc / "cmdline").read_bytes().rstrip(b"\0") == name.encode()
        assert (proc / "comm").read_text() == name[-15:] + "\n"
        assert int((proc / "oom_score_adj").read_text()) == adj == event["adj"]
        assert proc.stat().st_uid == _UID == event["uid"]
        assert size_kb <= rss_kb(event["pid"]) < size_kb + 2048
        assert (
            int((proc / "stat").read_text().rpartition(")")[2].split()[19])
            == (event["start_ticks"])
        )


@pytest.mark.skipif(_UID != 0, reason="only root can give processes uids of their own")
def test_copies_have_uids_of_their_own(population: Callable[..., Running]) -> None:
    apps = population("com.example.cached 99010 950 256 3 50 0")
    events = [apps.until("start") for _ in range(3)]
    apps.until("ready")
    assert [event["name"] for event in events] == [f"com.example.cached{n}" for n in (1, 2, 3)]
    assert [Path(f"/proc/{event['pid']}").stat().st_uid for event in events] == [
        99010,
        99011,
        99012,
    ]


def test_record_has_the_order_of_deaths_even_when_read_late(
    population: Callable[..., Running],
) -> None:
    apps = population(f"a {_UID} 900 256 4 50 0")
    pids = [apps.until("start")["pid"] for _ in range(4)]
    apps.until("ready")
    os.kill(apps.process.pid, signal.SIGSTOP)
    order = [pids[2], pids[0], pids[3], pids[1]]
    for pid in order:
        os.kill(pid, signal.SIGKILL)
        await_gone(pid)
    os.kill(apps.process.pid, signal.SIGCONT)
    deaths = [apps.until("exit") for _ in order]
    assert [death["pid"] for death in deaths] == order
    assert all(death["signal"] == signal.SIGKILL and not death["quitting"] for death in deaths)
    assert [death["time_ns"] for death in deaths] == sorted(death["time_ns"] for death in deaths)


def test_death_is_timed_on_the_boot_clock(population: Callable[..., Running]) -> None:
    apps = population(f"a {_UID} 900 256 1 50 0")
    pid = apps.until("start")["pid"]
    apps.until("ready")
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    os.kill(pid, signal.SIGKILL)
    died = apps.until("exit")["time_ns"]
    assert before <= died <= time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_refill_starts_what_died_and_nothing_else(population: Callable[..., Running]) -> None:
    apps = population(f"a {_UID} 900 256 3 50 0")
    first = [apps.until("start") for _ in range(3)]
    apps.until("ready")
    os.kill(first[1]["pid"], signal.SIGKILL)
    apps.until("exit")
    apps.tell("refill")
    again = apps.until("start")
    assert again["name"] == first[1]["name"]
    assert (again["pid"], again["start_ticks"]) != (first[1]["pid"], first[1]["start_ticks"])
    ready = apps.until("ready")
    assert (ready["alive"], ready["dead"]) == (3, 0)


def test_grown_process_gives_back_what_it_grew_by(population: Callable[..., Running]) -> None:
    apps = population(f"fg {_UID} 0 2048 1 50 1000")
    pid = apps.until("start")["pid"]
    apps.until("ready")
    apps.tell("grow fg 16 200")
    assert apps.until("sized")["kb"] == 18 * 1024
    assert rss_kb(pid) >= 18 * 1024
    apps.tell("shrink fg")
    assert apps.until("sized")["kb"] == 2048
    assert rss_kb(pid) < 4096


def test_quit_ends_all_by_their_own_exit(population: Callable[..., Running]) -> None:
    apps = population(f"a {_UID} 900 256 3 50 0")
    apps.until("ready")
    apps.tell("quit")
    rest = apps.rest()
    assert [event["event"] for event in rest] == ["exit"] * 3 + ["end"]
    assert all(event["signal"] == 0 and event["quitting"] for event in rest[:3])
    assert apps.process.wait(DEADLINE_S) == 0


def test_all_end_when_the_input_closes(population: Callable[..., Running]) -> None:
    apps = population(f"a {_UID} 900 256 2 50 0")
    pids = [apps.until("start")["pid"] for _ in range(2)]
    apps.until("ready")
    assert apps.process.stdin is not None
    apps.process.stdin.close()
    assert apps.rest()[-1]["event"] == "end"
    assert all(gone(pid) for pid in pids)


def test_children_die_with_their_parent(population: Callable[..., Running]) -> None:
    apps = population(f"a {_UID} 900 256 2 50 0")
    pids = [apps.until("start")["pid"] for _ in range(2)]
    apps.until("ready")
    apps.process.kill()
    for pid in pids:
        await_gone(pid)


@pytest.mark.parametrize(
    "row",
    [
        "a 0 1001 256 1 50 0",
        "a 0 900 256 1 50",
        "a 0 900 256 1 50 0 0",
        "a 0 900 256 0 50 0",
        "a 0 900 256 4097 50 0",
        'a"b 0 900 256 1 50 0',
    ],
)
def test_bad_row_is_refused(population: Callable[..., Running], row: str) -> None:
    apps = population(row)
    assert apps.until("error")["message"].startswith("bad row")
    assert apps.process.wait(DEADLINE_S) == 2


def test_unknown_command_is_an_error_and_nothing_else(
    population: Callable[..., Running],
) -> None:
    apps = population(f"a {_UID} 900 256 1 50 0")
    apps.until("ready")
    apps.tell("grow b 1 0", "explode", "grow a x 0", "list")
    messages = [apps.until("error")["message"] for _ in range(3)]
    assert [message.split()[0] for message in messages] == ["no", "unknown", "want:"]
    assert apps.until("listed")["count"] == 1


def test_order_to_a_dead_process_is_answered_with_gone(
    population: Callable[..., Running],
) -> None:
    apps = population(f"a {_UID} 900 256 2 50 0")
    pid = apps.until("start")["pid"]
    apps.until("ready")
    os.kill(pid, signal.SIGKILL)
    apps.until("exit")
    apps.tell("grow a1 1 0", "shrink a1", "adj a1 950", "exit a1", "grow a2 1 0")
    assert [apps.until("gone")["name"] for _ in range(4)] == ["a1"] * 4
    assert apps.until("sized")["name"] == "a2"


def test_spawned_process_is_what_it_was_asked_to_be(population: Callable[..., Running]) -> None:
    apps = population(f"a {_UID} 900 256 1 50 0")
    apps.until("ready")
    apps.tell(f"spawn com.example.late {_UID} 700 2048 50 0")
    pid = apps.until("start", name="com.example.late")["pid"]
    proc = Path(f"/proc/{pid}")
    apps.until("became", pid=pid)
    assert int((proc / "oom_score_adj").read_text()) == 700
    assert (proc / "cmdline").read_bytes().rstrip(b"\0") == b"com.example.late"
    assert apps.until("sized", pid=pid)["kb"] == 2048


def test_process_is_not_there_before_it_says_so(population: Callable[..., Running]) -> None:
    apps = population(f"a {_UID} 910 256 3 50 0")
    order = []
    apps.until("hello")
    while (event := apps.hear()) is not None and event["event"] != "ready":
        order.append((event["name"], event["event"]))
    assert order == [(f"a{n}", event) for n in (1, 2, 3) for event in ("start", "became")]


def test_place_of_a_spawned_process_is_used_again(population: Callable[..., Running]) -> None:
    apps = population(f"a {_UID} 900 256 1 50 0")
    apps.until("ready")
    for number in range(70):
        apps.tell(f"spawn b{number} {_UID} 900 64 50 0", f"exit b{number}")
        apps.until("exit", name=f"b{number}")
    # Who has just died is still known by name: an order to it may be on its way.
    apps.tell("adj b69 950", "list")
    assert apps.until("gone")["name"] == "b69"
    assert apps.until("listed")["count"] == 1 + 64


def test_change_of_adj_waits_until_the_process_is_what_its_row_says(
    population: Callable[..., Running],
) -> None:
    apps = population(f"a {_UID} 900 256 1 50 0")
    apps.until("ready")
    apps.tell(f"spawn b {_UID} 700 2048 50 0", "adj b 950")
    order = [apps.until(event, name="b")["event"] for event in ("start", "became", "adj")]
    assert order == ["start", "became", "adj"]
    pid = apps.until("sized", name="b")["pid"]
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) == 950


def test_refill_leaves_spawned_processes_dead(population: Callable[..., Running]) -> None:
    apps = population(f"a {_UID} 900 256 1 50 0")
    apps.until("ready")
    apps.tell(f"spawn b {_UID} 900 64 50 0", "exit b", "exit a")
    ended = {apps.until("exit")["name"] for _ in range(2)}
    assert ended == {"a", "b"}
    apps.tell("refill")
    assert apps.until("start")["name"] == "a"
    assert (apps.until("ready")["dead"]) == 1


def test_second_process_of_a_name_is_refused(population: Callable[..., Running]) -> None:
    apps = population(f"a {_UID} 900 256 1 50 0")
    apps.until("ready")
    apps.tell(f"spawn a {_UID} 900 64 50 0")
    assert "cannot start a" in apps.until("error")["message"]


def test_change_of_adj_is_made_and_recorded_with_its_bounds(
    population: Callable[..., Running],
) -> None:
    apps = population(f"a {_UID} 0 256 1 50 0")
    pid = apps.until("start")["pid"]
    apps.until("ready")
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    apps.tell("adj a 950")
    changed = apps.until("adj")
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) == 950
    assert (changed["was"], changed["adj"]) == (0, 950)
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert before <= changed["since_ns"] <= changed["time_ns"] <= after
    os.kill(pid, signal.SIGKILL)
    assert apps.until("exit")["adj"] == 950


def test_process_told_to_exit_says_so_first_and_is_no_kill(
    population: Callable[..., Running],
) -> None:
    apps = population(f"a {_UID} 900 256 2 50 0")
    apps.until("ready")
    apps.tell("exit a1")
    leaving = apps.until("leaving")
    ended = apps.until("exit")
    assert leaving["name"] == ended["name"] == "a1"
    assert leaving["time_ns"] <= ended["time_ns"]
    assert (ended["signal"], ended["quitting"]) == (0, False)


def test_watch_says_what_proc_says(population: Callable[..., Running]) -> None:
    apps = population(f"a {_UID} 900 256 1 50 0")
    apps.until("ready")
    apps.tell("watch 20")
    lines = [apps.until("vitals") for _ in range(3)]
    assert [line["time_ns"] for line in lines] == sorted(line["time_ns"] for line in lines)
    proc = dict(
        line.replace(":", "").split()[:2] for line in Path("/proc/meminfo").read_text().splitlines()
    )
    vmstat = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    assert abs(lines[-1]["available_kb"] - int(proc["MemAvailable"])) < 512 * 1024
    assert lines[-1]["swap_free_kb"] == int(proc["SwapFree"])
    assert lines[-1]["oom_kills"] == int(vmstat["oom_kill"])
    if Path("/proc/pressure/memory").exists():
        assert lines[-1]["some_us"] >= lines[-1]["full_us"] >= 0


def test_processes_killed_as_they_start_are_recorded_all_the_same(
    population: Callable[..., Running],
) -> None:
    apps = population(f"a {_UID} 900 64 40 50 0")
    started: list[int] = []
    ended: list[int] = []
    while len(ended) < 40:
        event = apps.hear()
        assert event is not None
        assert event["event"] != "error", event
        if event["event"] == "start":
            started.append(event["pid"])
            os.kill(event["pid"], signal.SIGKILL)
        elif event["event"] == "exit":
            ended.append(event["pid"])
    assert sorted(started) == sorted(ended)
