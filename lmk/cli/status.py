# SPDX-License-Identifier: Apache-2.0
"""``lmk status``: what an attached device sees, and what it would do."""

from __future__ import annotations

import json
from datetime import timedelta

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lmk.cli.options import device_options
from lmk.console import Column, open_console, show_table
from lmk.device.resolve import connect
from lmk.proto.control_pb2 import Status
from lmk.proto.record_pb2 import Carrier, KillPath
from lmk.report.plain import plain
from lmk.report.signals import kb, reading
from lmk.report.text import printable
from lmk.session import connect_session

__all__ = ["status"]

_COST_COLUMNS = (
    Column("COST", least=16),
    Column("RUNS", number=True),
    Column("TIME", number=True),
    Column("EACH", number=True),
)


@click.command()
@device_options
@click.option("--candidates/--no-candidates", default=True, help="Show who would die next.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(serial: str | None, transport: str | None, candidates: bool, as_json: bool) -> None:
    """Show what an attached device sees, and what it would do: signals, candidates, costs."""
    with connect(serial, transport=transport) as device:
        found = connect_session(device).status(candidates=candidates)
    if as_json:
        click.echo(json.dumps(plain(found), indent=1))
    else:
        _show(found)


def _show(found: Status) -> None:
    console = open_console()
    _show_head(found, console)
    _show_signals(found, console)
    if found.candidates:
        table = _table("NEXT TO DIE", "PID", "UID", "ADJ", "ANON", "FILE", "SWAP", "SHMEM")
        for process in found.candidates:
            table.add_row(
                escape(printable(process.name or process.comm)),
                str(process.pid),
                str(process.uid),
                str(process.oom_score_adj),
                kb(process.anon_kb),
                kb(process.file_kb),
                kb(process.swap_kb),
                kb(process.shmem_kb),
            )
        console.print(table)
    _show_costs(found, console)
    counted = [counter for counter in found.counters if counter.value]
    if counted:
        words = "  ".join(f"{counter.name} {counter.value}" for counter in counted)
        console.print(f"[bold]counters[/]  {escape(words)}", soft_wrap=True)


def _show_costs(found: Status, console: Console) -> None:
    """What the handlers cost: their own count of callbacks, and the kernel's of programs."""
    counters = {counter.name: counter.value for counter in found.counters}
    rows = [
        _cost_row(words, counters[runs], counters[ns])
        for words, runs, ns in (
            ("timer callbacks", "ticks", "tick_ns"),
            ("carried over", "deferred", "deferred_ns"),
        )
        if counters.get(runs)
    ]
    rows += [
        _cost_row(program.name, program.runs, program.run_time_ns)
        for program in found.programs
        if program.HasField("runs")
    ]
    if rows:
        show_table(console, _COST_COLUMNS, rows)
    missed = [program for program in found.programs if program.recursion_misses]
    if missed:
        words = "  ".join(f"{program.name} {program.recursion_misses}" for program in missed)
        console.print(f"[bold]skipped runs[/]  {escape(words)}", soft_wrap=True)


def _cost_row(name: str, runs: int, time_ns: int) -> tuple[str, ...]:
    each = f"{time_ns / runs / 1000:.1f} us" if runs else "-"
    return name, str(runs), f"{time_ns / 1e6:.1f} ms", each


def _show_head(found: Status, console: Console) -> None:
    hello = found.hello
    path = KillPath.Name(hello.kill_path).removeprefix("KILL_PATH_").lower()
    carrier = Carrier.Name(hello.carrier).removeprefix("CARRIER_").lower().replace("_", " ")
    lease = "none: until detach or reboot"
    if found.HasField("lease_left_ms"):
        lease = f"{timedelta(seconds=found.lease_left_ms // 1000)!s} left"
    rows = [
        ("device", f"{hello.device_name}, {hello.abi}, kernel {hello.kernel_release}"),
        ("kill path", f"{path}, carried by {carrier}"),
        ("policy", hello.policy_name + (" (dry run: nobody is killed)" if hello.dry_run else "")),
        ("lease", lease),
        ("build", hello.build_id[:16]),
        (
            "agent",
            f"pid {found.agent_pid}, guardian {found.guardian_pid}, "
            f"restarted {found.agent_restarts} times, run {hello.run}",
        ),
        (
            "spool",
            f"records {hello.first_seq}..{hello.next_seq - 1}, {kb(found.spool_bytes // 1024)} "
            f"of {kb(found.spool_limit_bytes // 1024)}"
            if hello.next_seq > hello.first_seq
            else f"empty, of {kb(found.spool_limit_bytes // 1024)}",
        ),
    ]
    if found.pending_pid:
        rows.append(("waits for", f"pid {found.pending_pid} to give its memory back"))
    for name, value in rows:
        console.print(f"[bold]{name:<10}[/]{escape(printable(value))}")


def _show_signals(found: Status, console: Console) -> None:
    if not found.signals:
        return
    table = _table("SIGNAL", "NOW", "LIMIT", "")
    for signal in found.signals:
        now = reading(signal)
        word = ("below" if now.below else "over") if now.breached else ""
        table.add_row(now.name, now.now, now.limit, word)
    console.print(table)


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True, min_width=16)
    for name in others:
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    return table
