# SPDX-License-Identifier: Apache-2.0
"""The examples for engineers and labs do what they say, on the device under test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import lmk
from lmk.attachment import gather_as_root
from lmk.device.interface import Device
from lmk.workload import Eater

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_engineers_example_prints_the_kill_and_detaches_at_ctrl_c(
    device: Device, device_serial: str, tmp_path: Path
) -> None:
    policy = tmp_path / "ours.textpb"
    policy.write_text("only_uids { first: 19000 last: 19009 }")
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / "watch.py", device_serial, policy],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "is attached" in process.stdout.readline()
        with Eater(device, 60_000, adj=900, uid=19001, floor_mb=0, name="greedy") as eater:
            assert any(state.phase == "killed" for state in eater)
        line = process.stdout.readline()
        assert "(adj 900): " in line
        assert line.endswith(" kB back\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert gather_as_root(device)[1].session is None
    finally:
        process.kill()
        process.wait()
        lmk.detach(device)


def test_the_labs_example_passes(device: Device, device_serial: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "-c", os.devnull, EXAMPLES / "test_neighbour.py"],
        env={**os.environ, "ANDROID_SERIAL": device_serial},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )  # fmt: skip
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 passed" in done.stdout
    finally:
        lmk.detach(device)
