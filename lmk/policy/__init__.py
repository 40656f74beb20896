# SPDX-License-Identifier: Apache-2.0
"""Policies: read, check, complete and write them; and the decision core on this machine.

::

    policy = lmk.policy.load("my.textpb")       # complete, checked
    for finding in lmk.policy.check(text): ...

The definition of every knob is ``proto/lmk/v1/policy.proto``. :mod:`lmk.policy.core`
runs the very code that decides in the kernel.
"""

from lmk.policy.check import Finding, check_policy
from lmk.policy.differences import Difference, differences
from lmk.policy.fields import stopped_killer
from lmk.policy.text import check, dump, load, parse, preset, presets, read
from lmk.proto.policy_pb2 import Policy

__all__ = [
    "Difference",
    "Finding",
    "Policy",
    "check",
    "check_policy",
    "differences",
    "dump",
    "load",
    "parse",
    "preset",
    "presets",
    "read",
    "stopped_killer",
]
