# SPDX-License-Identifier: Apache-2.0
"""A device that reboots under a stream, and what ``--persist`` means: until then, not beyond."""

from __future__ import annotations

import os
import threading
from datetime import timedelta

import pytest
from cable import Cable

import lmk
from lmk import virtual
from lmk.device.direct import DirectDevice
from lmk.errors import LmkError
from lmk.policy import parse
from lmk.proto.record_pb2 import Record
from lmk.report import SessionOverError

pytestmark = pytest.mark.virtual_only

HARMLESS = parse('name: "harmless" only_uids { first: 4000000 last: 4000000 }')


def test_a_reboot_ends_the_stream_with_the_reason_and_the_session_with_it() -> None:
    """A reboot as the host sees it: the link breaks, and behind it comes up another boot."""
    name = f"virtual#reboot-{os.getpid()}"
    guest = virtual.up(name, detached=False)
    heard: list[Record] = []
    ended: list[LmkError] = []
    attached = threading.Event()
    try:
        with Cable(*guest.address) as cable, DirectDevice("127.0.0.1", cable.port) as device:
            session = lmk.attach(device, HARMLESS, lease=None).keep()
            assert not session.status().HasField("lease_left_ms"), "no lease"

            def stream() -> None:
                try:
                    for record in session.records():
                        heard.append(record)
                        attached.set()  # its Hello, where nothing else came yet
                except LmkError as error:
                    ended.append(error)

            reader = threading.Thread(target=stream)
            reader.start()
            assert attached.wait(60)
            cable.reset()
            guest.down()
            guest = virtual.up(name, detached=False)
            cable.target = guest.address
            cable.mend()
            reader.join(timedelta(minutes=3) / timedelta(seconds=1))
            assert not reader.is_alive()
        assert isinstance(ended[0], SessionOverError)
        assert "nothing is attached any more" in str(ended[0])
        with lmk.connect(guest.name) as rebooted:
            assert rebooted.run("ls -d /sys/fs/bpf/lmk").exit_code != 0, (
                "nothing came back by itself"
            )
            with lmk.attach(rebooted, HARMLESS) as session:
                assert session.status().hello.run == 1
    finally:
        guest.down()
