# SPDX-License-Identifier: Apache-2.0
"""What differs between two policies, in words."""

from __future__ import annotations

from dataclasses import dataclass

from lmk.policy.fields import WORDS, flat, value_words
from lmk.proto.policy_pb2 import Policy

__all__ = ["Difference", "differences"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that two policies fill differently.

    :ivar field: its path: ``stall.psi_partial_stall_ms``.
    :ivar words: what it is.
    :ivar before: value in the first policy, with its unit.
    :ivar after: the same of the second.
    """

    field: str
    words: str
    before: str
    after: str


def differences(first: Policy, second: Policy) -> list[Difference]:
    """Where two complete policies differ, in the order of the definition; names aside.

    Of the rules for apps those that only one of them has are shown, or all where nothing but
    their order differs.
    """
    found = []
    for (field, before), (_, after) in zip(flat(first), flat(second), strict=True):
        if before == after or field == "name":
            continue
        if field == "rules":
            before, after = _only_in_one(before, after)
        found.append(
            Difference(field, WORDS[field], value_words(field, before), value_words(field, after))
        )
    return found


def _only_in_one(before: object, after: object) -> tuple[object, object]:
    assert isinstance(before, tuple)
    assert isinstance(after, tuple)
    gone = tuple(rule for rule in before if rule not in after)
    new = tuple(rule for rule in after if rule not in before)
    return (gone, new) if gone or new else (before, after)
