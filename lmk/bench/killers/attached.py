# SPDX-License-Identifier: Apache-2.0
"""lmk as one of the killers: any policy, with one field set to a value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf import text_format

import lmk
from lmk.bench.agent import BpfStatistics, bpf_cost
from lmk.bench.killers.rivals import Cost, Running
from lmk.bench.killers.spec import Spec
from lmk.build import Bundle
from lmk.device.interface import Device
from lmk.device.root import Root, find_root
from lmk.errors import UsageError
from lmk.policy import Policy, check_policy, load
from lmk.proto.record_pb2 import Hello

__all__ = ["attached", "policy_of"]


def policy_of(spec: Spec) -> Policy:
    """The policy of a killer ``lmk:POLICY@FIELD=VALUE``; FIELD is a path: ``low_swap.enabled``.

    :raises lmk.errors.UsageError: no such policy or field, or no value that it may have.
    """
    policy = Policy()
    policy.CopyFrom(load(spec.policy))
    if spec.value is None:
        return policy
    text = f"{spec.field.rpartition('.')[2]}: {spec.value}"
    for message in reversed(spec.field.split(".")[:-1]):
        text = f"{message} {{ {text} }}"
    stated = Policy()
    try:
        text_format.Parse(text, stated)
    except text_format.ParseError as error:
        raise UsageError(f"{spec.name}: {spec.field}={spec.value}: {error}") from error
    policy.MergeFrom(stated)
    policy.name = spec.name.encode()[:63].decode("utf-8", "ignore")
    findings = check_policy(policy)
    if findings:
        raise UsageError(f"{spec.name}: {str(findings[0]).strip()}")
    return policy


@contextmanager
def attached(
    device: Device, policy: Policy, bundle: Bundle | None, greeted: list[Hello]
) -> Iterator[Running]:
    """A session under `policy`, with the kernel's statistics of BPF programs switched on.

    :param greeted: gets the agent's Hello.
    """
    root = find_root(device)
    with lmk.attach(device, policy, bundle=bundle) as session, BpfStatistics(root):
        greeted.append(session.hello)

        def cost() -> Cost:
            status = session.status()
            pids = (status.agent_pid, status.guardian_pid)
            cpu_ns, rss_kb = _processes(root, pids)
            return Cost(cpu_ns, bpf_cost(device, status).run_ns, rss_kb)

        yield cost


def _processes(root: Root, pids: tuple[int, ...]) -> tuple[int, int]:
    """Time on a CPU of all threads in ns, and VmRSS in KiB."""
    schedstats = " ".join(f"/proc/{pid}/task/*/schedstat" for pid in pids)
    statuses = " ".join(f"/proc/{pid}/status" for pid in pids)
    cpu_ns = rss_kb = 0
    for line in root.run(f"cat {schedstats} {statuses}").text.splitlines():
        words = line.split()
        if words[:1] == ["VmRSS:"]:
            rss_kb += int(words[1])
        elif len(words) == 3 and all(word.isdecimal() for word in words):
            cpu_ns += int(words[0])
    return cpu_ns, rss_kb
