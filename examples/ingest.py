#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For scripts: captures in (lmk stream --format pb -o FILE), a CSV of kills out.

examples/ingest.py CAPTURE... > kills.csv
"""

import csv
import sys

import lmk
from lmk.report.signals import reason_words


def row(kill: lmk.KillReport) -> list[object]:
    """What was not measured stays empty."""
    who, times = kill.victim, kill.times
    back_ms = (times.memory_back_ns - times.signalled_ns) / 1e6 if times.memory_back_ns else ""
    freed_kb = kill.freed_kb if kill.HasField("freed_kb") else ""
    reason = reason_words(kill.reason)
    return [kill.kill_id, who.name, who.uid, who.oom_score_adj, reason, freed_kb, back_ms]


rows = csv.writer(sys.stdout)
rows.writerow(["kill_id", "name", "uid", "adj", "reason", "freed_kb", "signal_to_back_ms"])
try:
    rows.writerows(row(kill) for kill in lmk.kill_reports(*sys.argv[1:]))
except lmk.LmkError as error:
    sys.exit(f"{sys.argv[0]}: {error}")
