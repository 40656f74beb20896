# SPDX-License-Identifier: Apache-2.0
"""Record what lmkd would read, every tenth of a second, from a device under pressure.

::

    lmk virtual up virtual#samples --ram-mb 512 --zram-mb 256
    lmk pressure -s virtual#samples --size 900M --rate 25M/s --adj 0 --no-floor --touch &
    python device-tests/samples/record.py virtual#samples 40 > device-tests/samples/burst.csv

One line for each sample; columns as in ``COLUMNS``: milliseconds since boot, KiB, pages,
microseconds, percent; the watermarks with protection, summed over the zones as lmkd does.
"""

from __future__ import annotations

import re
import sys
from datetime import timedelta

from lmk.device.resolve import connect

MEMINFO = (
    "MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree", "Active(anon)",
    "Inactive(anon)", "Active(file)", "Inactive(file)", "Dirty", "Shmem",
)  # fmt: skip
VMSTAT = (
    "workingset_refault_anon", "workingset_refault_file", "pgscan_kswapd", "pgscan_direct",
    "pgrefill",
)  # fmt: skip
COLUMNS = (
    "ms", *MEMINFO, *VMSTAT, "some_us", "full_us", "full_avg10", "min_kb", "low_kb", "high_kb"
)  # fmt: skip
_LOOP = (
    "for i in $(seq {count}); do cat /proc/uptime /proc/meminfo /proc/vmstat "
    "/proc/pressure/memory /proc/zoneinfo; echo =; usleep 100000; done"
)


def main() -> None:
    """Record to stdout."""
    serial, seconds = sys.argv[1], int(sys.argv[2])
    print(",".join(COLUMNS))
    patience = timedelta(seconds=60 + 20 * seconds)
    with connect(serial) as device:
        loop = device.run(_LOOP.format(count=seconds * 10), timeout=patience)
    for block in loop.text.split("=\n"):
        if block.strip():
            print(",".join(_row(block)))


def _row(block: str) -> list[str]:
    uptime = float(block.split(None, 1)[0])
    numbers = dict(re.findall(r"^([\w()]+):? +(\d+)", block, re.M))
    stall = dict(re.findall(r"^(some|full).*total=(\d+)", block, re.M))
    avg10 = re.search(r"^full avg10=([\d.]+)", block, re.M)
    return [
        str(round(uptime * 1000)),
        *(numbers.get(name, "0") for name in (*MEMINFO, *VMSTAT)),
        stall["some"],
        stall["full"],
        avg10[1] if avg10 else "0",
        *map(str, _watermarks_kb(block)),
    ]


def _watermarks_kb(block: str) -> list[int]:
    """min, low, high over all zones, each with its zone's largest protection, as lmkd."""
    sums = [0, 0, 0]
    for zone in block.split("Node ")[1:]:
        if int(re.findall(r"^ +present +(\d+)", zone, re.M)[0]) == 0:
            continue
        protection = max(map(int, re.findall(r"protection: \((.*)\)", zone)[0].split(",")))
        for index, name in enumerate(("min", "low", "high")):
            mark = int(re.findall(rf"^ +{name} +(\d+)$", zone, re.M)[0])
            sums[index] += 4 * (mark + protection)
    return sums


if __name__ == "__main__":
    main()
