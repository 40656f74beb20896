# SPDX-License-Identifier: Apache-2.0
"""A cable that is out for a whole minute, while the device goes on recording."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from cable import Cable

import lmk
from lmk.attachment import connect_session
from lmk.device.direct import DirectDevice
from lmk.device.interface import Device
from lmk.policy import Policy, load
from lmk.proto.record_pb2 import Record
from lmk.session import Session

_MINUTE_S = 61.0
_DEADLINE_S = 90.0


def dry_policy(name: str) -> Policy:
    """Each one put in force is a record."""
    wanted = load("default")
    wanted.dry_run = True
    wanted.name = name
    return wanted


@pytest.fixture
def attached(device: Device) -> Iterator[Session]:
    lmk.detach(device)
    try:
        yield lmk.attach(device, dry_policy("dry")).keep()
    finally:
        lmk.detach(device)


class Reader:
    """A host that reads the records through a cable of its own."""

    def __init__(self, cable: Cable) -> None:
        self.cable = cable
        self.seen: list[Record] = []
        self.breaks: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with (
            DirectDevice("127.0.0.1", self.cable.port) as far,
            connect_session(far).records(on_break=self.breaks.append) as stream,
        ):
            for record in stream:
                self.seen.append(record)
                if record.lifecycle.text.startswith("policy last"):
                    return

    def await_begin(self) -> None:
        end = time.monotonic() + _DEADLINE_S
        while not self.seen:
            assert time.monotonic() < end, "the stream does not begin"
            time.sleep(0.05)

    def await_last(self) -> None:
        self._thread.join(_DEADLINE_S)
        assert not self._thread.is_alive(), self.breaks


def test_a_cable_cut_for_a_minute_costs_no_record(attached: Session, cable: Cable) -> None:
    with Cable(*cable.target) as second:
        readers = [Reader(cable), Reader(second)]
        for reader in readers:
            reader.await_begin()
        attached.set_policy(dry_policy("first"))
        cable.black_hole()
        second.reset()
        cut = time.monotonic()
        count = 0
        while time.monotonic() - cut < _MINUTE_S:
            count += 1
            attached.set_policy(dry_policy(f"during {count}"))
            time.sleep(1)
        for reader in readers:
            reader.cable.mend()
        attached.set_policy(dry_policy("last"))
        for reader in readers:
            reader.await_last()
    wanted = ["first", *(f"during {number}" for number in range(1, count + 1)), "last"]
    for reader in readers:
        said = [record.lifecycle.text for record in reader.seen if record.seq]
        assert said == [f"policy {name}, dry run" for name in wanted]
        assert not any(record.HasField("lost") for record in reader.seen)
        assert "link is back" in reader.breaks[-1]
