# SPDX-License-Identifier: Apache-2.0
"""A status as a page, as a line, and what changed since the one before."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lmk.proto.control_pb2 import Counter, LmkdSocket, ProgramCost, Status
from lmk.proto.policy_pb2 import Kills, Policy
from lmk.proto.record_pb2 import Carrier, Hello, KillPath, Process, Reason, Sample, Signal
from lmk.report.costs import costs, cpu_pct
from lmk.report.overview import Overview
from lmk.report.signals import reading

SECOND = 1_000_000_000


def status() -> Status:
    return Status(
        hello=Hello(
            device_name="phone",
            abi="aarch64",
            kernel_release="7.3.0",
            kill_path=KillPath.KILL_PATH_IN_KERNEL,
            carrier=Carrier.CARRIER_TASK_WORK,
            policy_name="ours",
            boot_id="b",
            run=1,
            boottime_ns=100 * SECOND,
        ),
        policy=Policy(name="ours", kills=Kills(max_per_minute=6)),
        sample=Sample(
            mem_total_kb=800_000,
            mem_free_kb=30_000,
            watermark_min_kb=20_000,
            watermark_low_kb=40_000,
            watermark_high_kb=60_000,
            swap_total_kb=400_000,
            swap_free_kb=100_000,
            kswapd_awake=True,
        ),
        signals=[
            Signal(kind=Signal.FREE_KB, value=30_000, limit=40_000, breached=True),
            Signal(kind=Signal.SOME_STALL_US, value=25_000, limit=100_000),
            Signal(kind=Signal.THRASHING_PCT, value=90, limit=100),
        ],
        candidates=[
            Process(
                pid=7, uid=10007, oom_score_adj=950, name="com.x[b]", anon_kb=9000, swap_kb=900
            ),
            Process(pid=8, uid=10008, oom_score_adj=200, name="\x1b[31mevil", anon_kb=5000),
        ],
        counters=[
            Counter(name="outcome.calm", value=40),
            Counter(name="outcome.killed", value=3),
            Counter(name="outcome.pending", value=12),
            Counter(name="outcome.no_victim", value=0),
            Counter(name="refused.below_floor", value=31),
            Counter(name="verdict.low_mem", value=2),
            Counter(name="verdict.partial_stall", value=1),
            Counter(name="ticks", value=50),
            Counter(name="tick_ns", value=5_000_000),
        ],
        programs=[
            ProgramCost(name="lmk_call", runs=10, run_time_ns=20_000_000),
            ProgramCost(name="lmk_on_exit"),
        ],
        lease_left_ms=65_000,
        budget_left=4,
    )


def page(
    now: Status, before: Status | None = None, width: int = 120, *, brief: bool = False
) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(Overview(now, before).page(width, brief=brief))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("brief", [False, True])
def test_a_page_has_signals_limits_candidates_counts_cost_budget_and_lease(brief: bool) -> None:
    text = page(status(), brief=brief)
    rows = {line.split()[0]: line for line in text.splitlines()}
    assert "29 MB" in rows["free"]
    assert "39 MB" in rows["free"]
    assert rows["free"].rstrip().endswith("below")
    assert "25.0 ms" in rows["some"]
    assert "25%" in rows["some"]
    assert "swap 293 MB of 391 MB used (75 %)" in text
    assert "watermarks 20 MB, 39 MB, 59 MB" in text
    assert "cached" in rows["com.x[b]"]
    assert "9900 kB" in rows["com.x[b]"]
    assert "\x1b" not in text
    assert rows["verdicts"].split(maxsplit=1)[1] == "killed 3, watermark 2, some stall 1"
    assert rows["refused"].split(maxsplit=1)[1] == "pending 12"
    assert "below floor 31" in rows["passed"]
    assert "4 of 6 kills a minute left" in text
    assert "0:01:05 left" in text
    assert "2000.0 us" in rows["lmk_call"]
    assert "lmk_on_exit" not in text


def test_candidates_stand_in_the_order_in_which_they_would_die() -> None:
    text = page(status())
    assert text.index("com.x[b]") < text.index("evil")


def test_shadow_is_said_and_a_closed_gate_names_whom_it_waits_for() -> None:
    now = status()
    now.pending_pid = 77
    assert "pid 77 to give its memory back" in page(now)
    now.hello.dry_run = True
    text = page(now)
    assert "shadow: nobody is killed" in text
    assert "pid 77, which it would have killed" in text


@pytest.mark.parametrize("width", [30, 44, 60, 80, 120])
def test_a_narrow_terminal_loses_columns_and_no_row_is_wider_than_it(width: int) -> None:
    text = page(status(), width=width, brief=True)
    assert max(map(len, text.splitlines())) <= width
    for word in ("free", "some stall", "com.x[b]", "950"):
        assert word in text


def test_what_grew_since_the_status_before_is_marked() -> None:
    now = status()
    now.counters[2].value = 15
    text = page(now, status())
    assert "pending 15 (+3)" in text
    assert "killed 3," in text
    # After a restart of the agent nothing is compared; the counters may be new ones.
    now.hello.run = 2
    assert "(+" not in page(now, status())


def test_without_handlers_there_is_a_page_all_the_same() -> None:
    bare = Status(hello=Hello(device_name="d", kill_path=KillPath.KILL_PATH_NONE))
    text = page(bare)
    assert "no limit on kills" in text
    assert "none: until detach or reboot" in text
    assert len(Overview.heading()) == len(Overview(bare).line())


def test_every_counter_of_a_verdict_has_the_words_of_its_reason() -> None:
    for name in Reason.keys():  # noqa: SIM118
        now = status()
        del now.counters[:]
        now.counters.add(name=f"verdict.{name.removeprefix('REASON_').lower()}", value=1)
        assert "_" not in page(now).partition("verdicts")[2].splitlines()[0]


def test_a_line_stands_under_its_heading() -> None:
    now = status()
    now.hello.boottime_ns += SECOND
    now.counters[-1].value += 10_000_000
    line = Overview(now, status()).line()
    cells = dict(
        zip(
            Overview.heading().split(),
            line.replace(" MB", "MB").replace(" ms", "ms").replace(" %", "%").split(),
            strict=True,
        )
    )
    assert cells["FREE"] == "29MB"
    assert cells["SWAP"] == "75%"
    assert cells["AVAIL"] == "-"
    assert cells["SOME"] == "25.0ms"
    assert cells["FULL"] == "-"
    assert cells["KILLS"] == "3"
    assert cells["REFUSED"] == "12"
    assert cells["BUDGET"] == "4"
    assert cells["CPU"] == "1.00%"
    assert cells["LEASE"] == "0:01:05"


def test_costs_are_callbacks_and_what_the_kernel_counted() -> None:
    assert [(cost.name, cost.runs) for cost in costs(status())] == [
        ("lmk_call", 10),
        ("timer callbacks", 50),
    ]


def test_the_share_of_a_cpu_counts_programs_from_when_they_were_counted() -> None:
    before, now = status(), status()
    before.programs[0].ClearField("runs")
    before.programs[0].ClearField("run_time_ns")
    now.hello.boottime_ns += 2 * SECOND
    assert cpu_pct(before, now) == pytest.approx(1.0)
    assert cpu_pct(now, now) is None
    now.hello.boot_id = "another"
    assert cpu_pct(before, now) is None


@pytest.mark.parametrize(
    ("kind", "value", "limit", "share"),
    [
        (Signal.FREE_KB, 80, 40, 0.5),
        (Signal.FREE_KB, 20, 40, 2.0),
        (Signal.FREE_KB, 0, 40, float("inf")),
        (Signal.SOME_STALL_US, 50, 100, 0.5),
        (Signal.SOME_STALL_US, 50, 0, None),
    ],
)
def test_a_signal_says_how_near_its_limit_it_is(
    kind: Signal.Kind.ValueType, value: int, limit: int, share: float | None
) -> None:
    assert reading(Signal(kind=kind, value=value, limit=limit)).share == share


def test_lmkds_socket_is_shown_where_it_is_served() -> None:
    now = status()
    assert "lmkd " not in page(now)
    now.lmkd_socket.CopyFrom(LmkdSocket(clients=1, processes=31, packets=420, kills_told=3))
    row = next(line for line in page(now).splitlines() if line.startswith("lmkd "))
    assert row.split(None, 1)[1].rstrip() == (
        "1 clients, 31 processes registered, 420 packets, 3 kills told"
    )
    now.lmkd_socket.kills_told_later = 2
    now.lmkd_socket.clients_deaf = 1
    now.lmkd_socket.refused.add(name="kernel_thread", value=4)
    now.lmkd_socket.refused.add(name="gone", value=0)
    words = " ".join(page(now).split())
    assert "5 kills told (2 later); amiss: kernel thread 4, 1 clients that did not read" in words


def test_an_lmkd_that_does_not_answer_is_shown() -> None:
    now = status()
    now.lmkd_silent = True
    row = next(line for line in page(now).splitlines() if line.startswith("lmkd "))
    assert "was started and does not answer" in row
