# SPDX-License-Identifier: Apache-2.0
"""Sessions that something happens to: agents that die, cables that are cut."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from cable import Cable
from killing import kill_9

import lmk
from lmk import attachment, build
from lmk.attachment import gather_as_root
from lmk.build import Bundle
from lmk.device.direct import DirectDevice
from lmk.device.interface import Device
from lmk.errors import UsageError
from lmk.policy import parse
from lmk.proto.record_pb2 import Lifecycle, Record
from lmk.report import Position, SessionOverError
from lmk.session import Session

HARMLESS = parse('name: "harmless" only_uids { first: 4000000 last: 4000000 }')
START = Position(run=1, seq=1)
DEADLINE_S = 90.0


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return build.build()


@pytest.fixture
def attached(device: Device, bundle: Bundle) -> Iterator[Session]:
    """A session, and nothing of it afterwards."""
    lmk.detach(device)
    try:
        yield lmk.attach(device, HARMLESS, bundle=bundle).keep()
    finally:
        lmk.detach(device)


def until(condition: object, what: str) -> None:
    assert callable(condition)
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def test_a_killed_agent_is_restarted_and_the_stream_goes_on_with_every_record(
    attached: Session,
) -> None:
    device = attached.device
    before = attached.status()
    seen: list[Record] = []
    resumed = threading.Event()

    def read() -> None:
        with attached.records(START) as stream:
            for record in stream:
                seen.append(record)
                if record.lifecycle.kind == Lifecycle.RESUMED:
                    resumed.set()
                    return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    kill_9(gather_as_root(device)[0], before.agent_pid)
    assert resumed.wait(DEADLINE_S)
    reader.join(DEADLINE_S)
    after = attached.status()
    assert after.agent_pid != before.agent_pid
    assert after.agent_restarts == 1
    kinds = [record.lifecycle.kind for record in seen if record.seq]
    assert kinds[0] != Lifecycle.RESUMED
    assert Lifecycle.ATTACHED in kinds
    numbers = [(record.run, record.seq) for record in seen if record.seq]
    assert len(numbers) == len(set(numbers))


def test_when_agent_and_guardian_are_dead_the_handlers_stay_and_attach_takes_over(
    attached: Session, bundle: Bundle
) -> None:
    device = attached.device
    status = attached.status()
    kill_9(gather_as_root(device)[0], status.guardian_pid, status.agent_pid)
    assert gather_as_root(device)[1].pinned
    with lmk.attach(device, HARMLESS, bundle=bundle) as again:
        assert again.status().agent_pid not in (0, status.agent_pid)


def test_when_agent_and_guardian_are_dead_detach_removes_what_they_left(
    attached: Session,
) -> None:
    device = attached.device
    status = attached.status()
    kill_9(gather_as_root(device)[0], status.guardian_pid, status.agent_pid)
    assert lmk.detach(device)
    facts = gather_as_root(device)[1]
    assert not facts.pinned
    assert facts.session is None


def test_a_following_stream_ends_by_itself_when_the_device_is_detached(
    attached: Session,
) -> None:
    records: list[Record] = []
    begun = threading.Event()

    def read() -> None:
        with attached.records(START) as stream:
            for record in stream:
                records.append(record)
                begun.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert begun.wait(DEADLINE_S)
    lmk.detach(attached.device)
    reader.join(DEADLINE_S)
    assert not reader.is_alive()
    assert records[-1].lifecycle.kind == Lifecycle.DETACHED


def test_ten_random_cuts_of_the_cable_lose_and_repeat_nothing(
    attached: Session, cable: Cable
) -> None:
    """Resets and black holes at random bytes, while records are made on the other side."""
    chance = random.Random(20)
    breaks: list[str] = []
    seen: list[tuple[int, int]] = []
    end = 0

    def broken(line: str) -> None:
        if "link lost" in line:
            breaks.append(line)
            cable.mend()

    with DirectDevice("127.0.0.1", cable.port) as device:
        far = _through(device)
        stop = threading.Event()
        maker = threading.Thread(target=_make_records, args=(attached, stop), daemon=True)
        maker.start()
        try:
            with far.records(far.start, on_break=broken) as stream:
                for record in stream:
                    if record.seq:
                        seen.append((record.run, record.seq))
                    if record.HasField("hello"):
                        if len(breaks) == 10:
                            end = len(seen) + 20
                            continue
                        how = chance.choice(["reset", "black_hole"])
                        cable.cut_after(chance.randrange(1, 2000), how)
                    if len(breaks) == 10 and len(seen) >= end:
                        break
        finally:
            stop.set()
            maker.join(DEADLINE_S)
    first = far.hello.next_seq
    assert len(breaks) == 10
    assert seen == [(far.hello.run, first + n) for n in range(len(seen))]


def _through(device: Device) -> Session:
    """The session that is there, by way of this connection."""
    root, facts = gather_as_root(device)
    assert facts.session is not None
    return Session(root, facts.session, None, detach_at_exit=False)


def _make_records(attached: Session, stop: threading.Event) -> None:
    """Each change of policy is a record."""
    for number in itertools.count():
        if stop.is_set():
            return
        attached.set_policy(
            parse(f'name: "n{number}" only_uids {{ first: 4000000 last: 4000000 }}')
        )


def test_a_host_that_goes_away_costs_the_device_only_its_lease(
    device: Device, bundle: Bundle
) -> None:
    lmk.detach(device)
    attached = lmk.attach(device, HARMLESS, bundle=bundle, lease=timedelta(seconds=2)).keep()
    with attached.records() as stream:
        reader = threading.Thread(target=lambda: list(stream), daemon=True)
        reader.start()
        # Beyond the lease: a stream that is read keeps it.
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert reader.is_alive()
            time.sleep(0.5)
            assert attachment.gather_as_root(device)[1].session is not None
    reader.join(timeout=10)
    assert not reader.is_alive()
    until(lambda: attachment.gather_as_root(device)[1].session is None, "the lease does not end")


def test_a_session_whose_agent_and_guardian_are_dead_is_said_with_the_cure(
    attached: Session,
) -> None:
    device = attached.device
    status = attached.status()
    kill_9(gather_as_root(device)[0], status.guardian_pid, status.agent_pid)
    until(lambda: not gather_as_root(device)[1].served, "they live on")
    with pytest.raises(UsageError, match=r"are dead.*`lmk attach` takes over, `lmk detach`"):
        lmk.connect_session(device)
    with pytest.raises(SessionOverError, match=r"are dead.*`lmk attach`"):
        next(iter(attached.records()))


@pytest.mark.parametrize("when", ["push", "start"])
def test_an_interrupted_attach_leaves_nothing_attached(
    device: Device, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    lmk.detach(device)
    root, facts = gather_as_root(device)
    root.run(f"rm -f {facts.directory}/lmk-*")
    seen = type(device).run if when == "start" else type(device).push

    def interrupted(self: Device, what: object, *rest: object, **more: object) -> object:
        if when == "start" and "lmk-agent start" in str(what):
            # What goes on over there does not hear of a Ctrl-C here.
            done = seen(self, what, *rest, **more)  # type: ignore[arg-type]
            assert done is not None
            assert done.exit_code == 0
            raise KeyboardInterrupt
        if when == "push":
            raise KeyboardInterrupt
        return seen(self, what, *rest, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(type(device), "run" if when == "start" else "push", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lmk.attach(device, HARMLESS, bundle=bundle)
    facts = gather_as_root(device)[1]
    assert facts.session is None
    assert not facts.pinned
