#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For the engineer with one device: push, attach, see who dies and why. Ctrl-C detaches.

examples/watch.py [SERIAL] [PRESET|POLICY FILE]
"""

import contextlib
import sys

import lmk

serial, policy = (*sys.argv[1:], None, None)[:2]
with (
    lmk.connect(serial) as device,
    lmk.attach(device, policy or "default") as session,
    contextlib.suppress(KeyboardInterrupt),
):
    print(f"{device.serial} is attached, kernel {session.hello.kernel_release}", flush=True)
    for report in session.reports():
        victim = report.victim
        print(f"{victim.name} (adj {victim.oom_score_adj}): {report.freed_kb} kB back", flush=True)
