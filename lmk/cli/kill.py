# SPDX-License-Identifier: Apache-2.0
"""``lmk kill``."""

from __future__ import annotations

import json

import click

from lmk.attachment import connect_session
from lmk.cli.options import device_options, say
from lmk.device.resolve import connect
from lmk.errors import CheckFailed

__all__ = ["kill"]

_WHY_NOT = {
    "dry_run": "a dry run: nobody was killed",
    "pending": "the last victim is still giving memory back",
    "no_victim": "nobody at that oom_score_adj or above may die",
    "budget": "the policy's kills for this minute are used up",
}


@click.command()
@device_options
@click.option(
    "--floor",
    type=click.IntRange(-1000, 1000),
    required=True,
    metavar="ADJ",
    help="Nobody below this oom_score_adj dies.",
)
@click.option(
    "--reason",
    type=click.IntRange(0, 999),
    default=0,
    show_default=True,
    help="Your own number for it; the report has 1000 + this.",
)
@click.option("--json", "as_json", is_flag=True, help="The answer as one JSON object.")
def kill(serial: str | None, transport: str | None, floor: int, reason: int, as_json: bool) -> None:
    """Have the handlers kill one process now, the next in the policy's order.

    The policy's limits are not looked at; everything that protects a process is: the
    never-kill rules, a kill under way, the budget, a dry run. Exit 6 when nobody was killed.
    """
    with connect(serial, transport=transport) as device:
        answer = connect_session(device).request_kill(floor, reason=reason)
        name = device.serial
    if as_json:
        found = {"outcome": answer.outcome, "kill_id": answer.kill_id, "pid": answer.victim_pid}
        click.echo(json.dumps(found))
    if answer.outcome != "killed":
        why = _WHY_NOT.get(answer.outcome, answer.outcome.replace("_", " "))
        raise CheckFailed(f"{name}: {why}")
    say(f"{name}: killed process {answer.victim_pid} (kill {answer.kill_id})")
