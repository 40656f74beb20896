# SPDX-License-Identifier: Apache-2.0
"""Attach and detach on a real kernel: what is pushed, what runs, what is left."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import lmk
from lmk import attachment, build
from lmk.build import Bundle
from lmk.build.bundle import pack
from lmk.build.sources import source_root
from lmk.device.interface import Device
from lmk.errors import ProtocolError, TransientError, UnsupportedError, UsageError
from lmk.facts import Facts
from lmk.policy import parse, preset
from lmk.proto.record_pb2 import KillPath, Lifecycle, Signal
from lmk.report import SessionOverError, parse_position

#: Nobody on any device: these tests are about sessions, not about kills.
HARMLESS = parse('name: "harmless" only_uids { first: 4000000 last: 4000000 }')
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """One build for the whole module, whatever is edited meanwhile."""
    return build.build()


@pytest.fixture
def clean(device: Device) -> Iterator[Device]:
    """The device with nothing attached, before and after."""
    lmk.detach(device)
    yield device
    lmk.detach(device)


def another_build(bundle: Bundle, path: Path) -> Bundle:
    """The same programs under another build id: a byte after the loader's last is nobody's."""
    programs = {
        abi: {
            file.name: file.content + (b"\0" if file.name == "lmk-loader" else b"")
            for file in bundle.files(abi)
            if not file.name.endswith(".bpf.o")
        }
        for abi in bundle.abis
    }
    handlers = {
        file.name: file.content
        for file in bundle.files(bundle.abis[0])
        if file.name.endswith(".bpf.o")
    }
    path.write_bytes(pack(handlers, programs, "another"))
    return build.open_bundle(path)


def facts_of(device: Device) -> Facts:
    return attachment.gather_as_root(device)[1]


def until(condition: object, what: str) -> None:
    assert callable(condition)
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def processes(device: Device) -> list[str]:
    """Command lines of everything of lmk that runs."""
    found = device.run(
        "for d in /proc/[0-9]*; do c=$(tr '\\0' ' ' < $d/cmdline 2>/dev/null); "
        'case "$c" in lmk-agent*|*/lmk-agent*|*/lmk-loader*) echo "$c";; esac; done'
    )
    return [line for line in found.text.splitlines() if "for d in" not in line]


# -- attach ------------------------------------------------------------------------------------


def test_attach_returns_after_hello_with_handlers_agent_and_guardian_running(
    clean: Device, bundle: Bundle, kill_path: str
) -> None:
    with lmk.attach(clean, HARMLESS, bundle=bundle) as attached:
        hello = attached.hello
        assert hello.kill_path_why
        assert hello.build_id == bundle.build_id(hello.abi)
        assert KillPath.Name(hello.kill_path) == f"KILL_PATH_{kill_path.upper()}"
        assert hello.policy_name == "harmless"
        assert hello.kernel_release == clean.run("uname -r").text.strip()
        assert facts_of(clean).pinned
        status = attached.status(candidates=True)
        assert status.agent_pid
        assert status.guardian_pid
        assert status.policy == HARMLESS
        assert status.sample.mem_total_kb > 0
        assert status.signals
        assert 0 < status.lease_left_ms <= 15 * 60 * 1000


def test_status_tells_the_limits_before_anything_was_evaluated(
    clean: Device, bundle: Bundle
) -> None:
    # As lmkd, it looks at nothing before something stalls.
    with lmk.attach(clean, "lmkd-highperf", bundle=bundle) as attached:
        limits = {signal.kind: signal.limit for signal in attached.status().signals}
    assert limits[Signal.THRASHING_PCT] == preset("lmkd-highperf").thrashing.thrashing_limit_pct


def test_detach_leaves_no_process_no_pin_and_no_session(clean: Device, bundle: Bundle) -> None:
    attached = lmk.attach(clean, HARMLESS, bundle=bundle)
    attached.detach()
    facts = facts_of(clean)
    assert not facts.pinned
    assert facts.session is None
    until(lambda: not processes(clean), "something of lmk goes on")
    assert not lmk.detach(clean)


def test_leaving_the_block_detaches_and_keep_does_not(clean: Device, bundle: Bundle) -> None:
    with lmk.attach(clean, HARMLESS, bundle=bundle):
        pass
    assert facts_of(clean).session is None
    with lmk.attach(clean, HARMLESS, bundle=bundle) as attached:
        attached.keep()
    assert facts_of(clean).session is not None


def test_an_error_in_the_block_detaches_too_and_is_the_one_to_hear_of(
    clean: Device, bundle: Bundle
) -> None:
    with pytest.raises(ZeroDivisionError), lmk.attach(clean, HARMLESS, bundle=bundle):
        raise ZeroDivisionError
    assert facts_of(clean).session is None


def test_a_second_attach_pushes_nothing_and_takes_the_session_over(
    clean: Device, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lmk.attach(clean, HARMLESS, bundle=bundle) as first:
        first.keep()
        monkeypatch.setattr(
            type(clean), "push", lambda *_args, **_more: pytest.fail("something was pushed")
        )
        other = parse('name: "other" only_uids { first: 4000000 last: 4000000 }')
        second = lmk.attach(clean, other, bundle=bundle, lease=timedelta(minutes=1))
        assert second.hello.run == first.hello.run
        status = second.status()
        assert status.policy.name == "other"
        assert status.lease_left_ms <= 60_000


def test_attach_after_detach_pushes_nothing(
    clean: Device, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    lmk.attach(clean, HARMLESS, bundle=bundle).detach()
    monkeypatch.setattr(
        type(clean), "push", lambda *_args, **_more: pytest.fail("something was pushed")
    )
    lmk.attach(clean, HARMLESS, bundle=bundle).detach()


def test_what_lies_on_the_device_is_checked_by_its_content(clean: Device, bundle: Bundle) -> None:
    lmk.attach(clean, HARMLESS, bundle=bundle).detach()
    root, facts = attachment.gather_as_root(clean)
    root.run(f"printf x >> {facts.directory}/lmk-loader; chmod 0777 {facts.directory}")
    with lmk.attach(clean, HARMLESS, bundle=bundle):
        after = facts_of(clean)
        assert after.have["lmk-loader"] == bundle.file(after.abi, "lmk-loader").sha256
        mode = root.run(f"stat -c %a:%u {facts.directory} {facts.directory}/lmk-agent")
        assert mode.text.split() == ["700:0", "700:0"]


def test_nothing_is_left_where_the_shell_user_can_write(clean: Device, bundle: Bundle) -> None:
    _root, facts = attachment.gather_as_root(clean)
    look = f"ls -a {facts.temporary}"
    before = clean.run(look).text
    clean.run(f"rm -rf {facts.directory}/lmk-*")
    with lmk.attach(clean, HARMLESS, bundle=bundle):
        assert clean.run(look).text == before


def test_a_folder_that_somebody_else_made_is_refused(clean: Device, bundle: Bundle) -> None:
    root, facts = attachment.gather_as_root(clean)
    place = facts.directory
    root.run(f"mv {place} {place}.aside; mkdir {place} && chown 2000:2000 {place}")
    try:
        with pytest.raises(UsageError, match="is not a directory of root's"):
            lmk.attach(clean, HARMLESS, bundle=bundle)
    finally:
        root.run(f"rmdir {place}; mv {place}.aside {place}")


# -- the wrong agent ---------------------------------------------------------------------------


def test_an_agent_of_another_build_is_one_clear_error_and_attach_replaces_it(
    clean: Device, bundle: Bundle, tmp_path: Path
) -> None:
    older = another_build(bundle, tmp_path / "older.bundle")
    with lmk.attach(clean, HARMLESS, bundle=older) as old:
        old.keep()
        with pytest.raises(ProtocolError, match=r"the agent is of build .* `lmk attach` replaces"):
            lmk.connect_session(clean, bundle=bundle)
        new = lmk.attach(clean, HARMLESS, bundle=bundle)
        assert new.hello.build_id == bundle.build_id(new.hello.abi)
        assert lmk.connect_session(clean, bundle=bundle).hello.run == new.hello.run


def test_nothing_attached_is_a_usage_error(clean: Device) -> None:
    with pytest.raises(UsageError, match=r"nothing is attached; `lmk attach`"):
        lmk.connect_session(clean)


# -- the kernel says no ------------------------------------------------------------------------


def test_refused_handlers_are_one_line_with_the_verifiers_log_kept(
    clean: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "sources"
    for part in ("bpf", "proto"):
        shutil.copytree(source_root() / part, copy / part)
    broken = 'SEC("syscall") int lmk_broken(void *ctx) { return *(volatile int *)(ctx + 99999); }'
    for path in ("lmk", "assisted"):
        handlers = copy / f"bpf/handlers/{path}.bpf.c"
        handlers.write_text(f"{handlers.read_text()}\n{broken}\n")
    monkeypatch.setattr(build, "source_root", lambda: copy)
    refused = build.build([facts_of(clean).abi])
    with pytest.raises(UnsupportedError) as raised:
        lmk.attach(clean, HARMLESS, bundle=refused)
    assert "\n" not in str(raised.value)
    assert "lmk_broken" in raised.value.detail
    assert "BEGIN PROG LOAD LOG" in raised.value.detail
    assert not facts_of(clean).pinned
    assert not processes(clean)


# -- policy and lease --------------------------------------------------------------------------


def test_a_policy_is_put_in_force_and_a_wrong_one_is_refused_by_the_agent_too(
    clean: Device, bundle: Bundle
) -> None:
    with lmk.attach(clean, HARMLESS, bundle=bundle) as attached:
        other = parse('name: "other" only_uids { first: 4000000 last: 4000000 }')
        attached.set_policy(other)
        assert attached.status().policy == other
        other.stall.psi_partial_stall_ms = 1_000_000
        with pytest.raises(UsageError, match="refuses the policy"):
            attached.set_policy(other)
        assert attached.status().policy.stall.psi_partial_stall_ms != 1_000_000


@pytest.mark.virtual_only
def test_where_no_init_knows_lmkd_it_cannot_be_replaced(clean: Device, bundle: Bundle) -> None:
    with pytest.raises(UnsupportedError, match="init knows no service lmkd"):
        lmk.attach(clean, HARMLESS, bundle=bundle, replace_lmkd=True)
    assert not lmk.detach(clean), "nothing is left"
    (what, _probe, _enables), *_ = attachment.probe(clean).values["replace_lmkd"]["missing"]
    assert what == "an init with a service lmkd"


def test_dry_run_is_said_in_hello_and_status(clean: Device, bundle: Bundle) -> None:
    with lmk.attach(clean, HARMLESS, bundle=bundle, dry_run=True) as attached:
        assert attached.hello.dry_run
        assert attached.status().policy.dry_run


def test_a_lease_that_runs_out_gives_the_device_back_and_says_so(
    clean: Device, bundle: Bundle
) -> None:
    attached = lmk.attach(clean, HARMLESS, bundle=bundle, lease=timedelta(seconds=2)).keep()
    until(lambda: facts_of(clean).session is None, "the lease does not end")
    until(lambda: not facts_of(clean).pinned, "handlers stay after the lease")
    with pytest.raises((SessionOverError, TransientError)):
        attached.status()
    with lmk.attach(clean, HARMLESS, bundle=bundle) as after:
        kinds = [
            record.lifecycle.kind
            for record in after.records(parse_position("start"), follow=False)
            if record.HasField("lifecycle") and record.run == attached.hello.run
        ]
    assert Lifecycle.LEASE_ENDED in kinds


def test_without_a_lease_there_is_none(clean: Device, bundle: Bundle) -> None:
    with lmk.attach(clean, HARMLESS, bundle=bundle, lease=None) as attached:
        assert not attached.status().HasField("lease_left_ms")
        attached.renew(timedelta(seconds=90))
        assert 0 < attached.status().lease_left_ms <= 90_000


# -- doctor ------------------------------------------------------------------------------------


def test_the_probe_finds_the_path_that_attach_then_uses(clean: Device, bundle: Bundle) -> None:
    found = lmk.probe(clean, bundle=bundle)
    with lmk.attach(clean, HARMLESS, bundle=bundle) as attached:
        name = KillPath.Name(attached.hello.kill_path).removeprefix("KILL_PATH_").lower()
        assert name == found.kill_path
    assert found.values["root"]
    assert found.values["transport"] == "direct"
    for answer in found.answers():
        assert answer.probe, answer
        assert answer.yes is not False or answer.enables, answer
