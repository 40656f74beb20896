# SPDX-License-Identifier: Apache-2.0
"""Memory stall that goes on and on, on a device with memory to spare.

A process in a memory cgroup of its own whose ``memory.high`` is below what it touches:
the kernel makes it reclaim and wait, which PSI counts for the whole system, while all
others have all the memory they want.
"""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from lmk.device.interface import Device
from lmk.device.root import find_root
from lmk.errors import TransientError, UnsupportedError
from lmk.workload.eater import Eater

__all__ = ["Stall"]

_CGROUPS = "/sys/fs/cgroup"
_SIZE_MB, _HIGH_MB = 24, 12
_PATIENCE_S = 30.0


class Stall:
    """Stalls the device's PSI while the block runs.

    :raises lmk.errors.UnsupportedError: no cgroup v2 with the memory controller, or no swap
        that the process could be reclaimed to.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._root = find_root(device)
        self._group = f"{_CGROUPS}/lmk-stall-{secrets.token_hex(4)}"
        self._eater: Eater | None = None

    def __enter__(self) -> Self:
        made = self._root.run(
            f"mkdir {self._group} && echo $(({_HIGH_MB} << 20)) > {self._group}/memory.high"
        )
        if made.exit_code:
            self._remove()
            raise UnsupportedError(
                f"{self._device.serial}: no memory cgroup to stall in "
                f"(cgroup v2 with the memory controller at {_CGROUPS} is needed)",
                detail=made.error_text,
                serial=self._device.serial,
            )
        try:
            # Root, so that a limit to the uids of others spares it.
            self._eater = Eater(
                self._device,
                _SIZE_MB,
                rate_mb_per_s=4,
                adj=-1000,
                floor_mb=0,
                touch=True,
                name="lmk-stall",
            )
            begun = self._eater.next(timedelta(seconds=10))
            if begun is None:
                raise TransientError(f"{self._device.serial}: the stalling process has gone")
            self._root.run(f"echo {begun.pid} > {self._group}/cgroup.procs")
            self._await_stall()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _await_stall(self) -> None:
        before = self._stall_us()
        end = time.monotonic() + _PATIENCE_S
        while self._stall_us() - before < 2000:
            if time.monotonic() > end:
                raise UnsupportedError(
                    f"{self._device.serial}: memory.high stalls nothing here (no swap?)",
                    serial=self._device.serial,
                )
            time.sleep(0.2)

    def _stall_us(self) -> int:
        first = self._device.read_file("/proc/pressure/memory").split(b"\n")[0]
        return int(first.rpartition(b"total=")[2])

    def _end(self) -> None:
        if self._eater is not None:
            self._eater.close()
        self._remove()

    def _remove(self) -> None:
        # The eater ends by itself once its stream has closed; its group can go after that.
        self._root.run(
            f"for i in 1 2 3 4 5 6 7 8 9 10; do rmdir {self._group} 2>/dev/null && break; "
            "sleep 0.2; done"
        )
