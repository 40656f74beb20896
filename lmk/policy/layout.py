# SPDX-License-Identifier: Apache-2.0
"""The structs of ``bpf/include/lmk/model.h`` and ``bpf/policy/`` as ctypes sees them.

A test compiles ``offsetof`` of every member and compares. The view of a policy is not
listed here: it is made from the protobuf descriptor by the rule of ``tools/generate``.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_int32, c_uint8, c_uint32, c_uint64

from google.protobuf.descriptor import FieldDescriptor

from lmk.proto.policy_pb2 import AppRule, Policy, UidRange

__all__ = [
    "AppRuleStruct",
    "HistoryStruct",
    "PendingStruct",
    "PolicyStruct",
    "ProcessStruct",
    "PsiDeltaStruct",
    "SampleStruct",
    "UidRangeStruct",
    "VerdictStruct",
    "WindowStruct",
]

#: policy_view.h: LMK_UID_RANGES, LMK_APP_RULES; abi.h: LMK_COMM.
UID_RANGES = 8
APP_RULES = 16
COMM_BYTES = 16


class SampleStruct(ctypes.Structure):
    """``struct lmk_sample``."""

    _fields_ = [  # ctypes wants a list
        *((name, c_uint64) for name in (
            "time_ns", "total_kb", "free_kb", "available_kb", "wmark_min_kb", "wmark_low_kb",
            "wmark_high_kb", "swap_total_kb", "swap_free_kb", "file_kb", "anon_kb", "shmem_kb",
            "slab_reclaimable_kb", "psi_some_total_us", "psi_full_total_us",
            "psi_some_window_us", "psi_full_window_us", "psi_some_counted_us",
            "psi_full_counted_us", "refault_file", "refault_anon",
            "cma_free_kb", "inactive_file_kb", "anon_lru_kb", "dirty_kb", "protection_kb",
            "pgscan_kswapd", "pgscan_direct", "pgrefill", "reclaim_foreground_us",
            "reclaim_background_us", "reclaim_longest_us",
        )),
        *((name, c_uint32) for name in (
            "zones_below", "full_avg10_pct100", "page_kb", "compression_pct",
            "direct_reclaimers",
        )),
        ("kswapd_awake", c_uint8),
        ("pad", c_uint8 * 3),
        ("known", c_uint32),
        ("pad2", c_uint32),
    ]  # fmt: skip


class HistoryStruct(ctypes.Structure):
    """``struct lmk_history``."""

    _fields_ = [
        *((name, c_uint64) for name in (
            "thrashing_since_ns", "refault_base", "lru_base_kb", "refault_last",
            "pgscan_kswapd_last", "pgscan_direct_last", "pgrefill_last", "partial_event_ns",
            "complete_event_ns", "poll_until_ns", "poll_next_ns", "budget_ns", "budget_at_ns",
            "some_base_us", "full_base_us", "loss_since_ns", "loss_base_kb", "loss_kb_per_s",
        )),
        *((name, c_uint32) for name in (
            "thrashing_before", "thrashing_pct", "thrashing_max_pct", "thrashing_limit_pct",
            "primed", "killed", "cycle_after_kill", "check_filecache", "last_level",
            "reclaiming", "refaulted", "stall_rebased",
        )),
    ]  # fmt: skip


class ProcessStruct(ctypes.Structure):
    """``struct lmk_process``."""

    _fields_ = [
        *((name, c_uint64) for name in (
            "start_ns", "mm", "anon_kb", "file_kb", "shmem_kb", "swap_kb", "pgtables_kb",
            "min_flt", "maj_flt", "adj_since_ns",
        )),
        ("pid", c_int32),
        ("tid", c_int32),
        ("uid", c_uint32),
        ("adj", c_int32),
        ("threads", c_uint32),
        ("flags", c_uint32),
        ("rule", c_uint32),
        ("pad", c_uint32),
        ("comm", c_char * COMM_BYTES),
    ]  # fmt: skip


class VerdictStruct(ctypes.Structure):
    """``struct lmk_verdict``."""

    _fields_ = [
        ("reason", c_uint32),
        ("floor", c_int32),
        ("breached", c_uint32),
        ("level", c_uint32),
        *((name, c_uint64) for name in (
            "free_kb", "free_limit_kb", "loss_ahead_kb", "available_limit_kb", "swap_free_kb",
            "swap_limit_kb", "some_us", "full_us", "some_limit_us", "full_limit_us",
            "reclaim_limit_us", "filecache_limit_kb",
        )),
        *((name, c_uint32) for name in (
            "thrashing_pct", "thrashing_limit_pct", "thrashing_max_pct", "swap_util_pct",
            "swap_util_limit_pct", "idle",
        )),
    ]  # fmt: skip


class PendingStruct(ctypes.Structure):
    """``struct lmk_pending``."""

    _fields_ = [
        *((name, c_uint64) for name in (
            "kill_id", "start_ns", "mm", "signalled_ns", "last_signal_ns", "exited_ns",
            "memory_back_ns", "footprint_kb",
        )),
        ("pid", c_int32),
        ("attempts", c_uint32),
        ("released", c_uint32),
        ("pad", c_uint32),
    ]  # fmt: skip


class WindowStruct(ctypes.Structure):
    """``struct lmk_window``."""

    _fields_ = [
        ("start_ns", c_uint64),
        ("start_value", c_uint64),
        ("prev_growth", c_uint64),
    ]


class PsiDeltaStruct(ctypes.Structure):
    """``struct lmk_psi_delta``."""

    _fields_ = [
        ("some", c_uint64),
        ("full", c_uint64),
        ("nonidle", c_uint64),
    ]


class UidRangeStruct(ctypes.Structure):
    """``struct lmk_uid_range``."""

    _fields_ = [
        ("first", c_uint32),
        ("last", c_uint32),
    ]


def _scalar(kind: int) -> type:
    return c_int32 if kind == FieldDescriptor.TYPE_SINT32 else c_uint32


#: What a rule that leaves these out counts as having (tools/generate).
_RULE_DEFAULTS = {"floor_score": 1000, "weight_pct": 100}


def _rule_fields() -> list[FieldDescriptor]:
    """What a rule does, without whom it is for."""
    return [
        field
        for field in AppRule.DESCRIPTOR.fields
        if field.containing_oneof is None or field.containing_oneof.name != "match"
    ]


class AppRuleStruct(ctypes.Structure):
    """``struct lmk_app_rule``."""

    _fields_ = [
        ("uids", UidRangeStruct),
        *((field.name, _scalar(field.type)) for field in _rule_fields()),
    ]


_LISTS: dict[str, tuple[type[ctypes.Structure], int]] = {
    "only_uids": (UidRangeStruct, UID_RANGES),
    "protected_uids": (UidRangeStruct, UID_RANGES),
    "rules": (AppRuleStruct, APP_RULES),
}


def _policy_members() -> list[tuple[str, type]]:
    members: list[tuple[str, type]] = []
    for field in Policy.DESCRIPTOR.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            continue  # the name stays with the agent
        if field.is_repeated:
            entry, most = _LISTS[field.name]
            members.append((field.name, entry * most))
            members.append((f"{field.name}_count", c_uint32))
        elif field.message_type is not None:
            members += [
                (f"{field.name}_{member.name}", _scalar(member.type))
                for member in field.message_type.fields
            ]
        else:
            members.append((field.name, _scalar(field.type)))
    return members


class PolicyStruct(ctypes.Structure):
    """``struct lmk_policy``."""

    _fields_ = [*_policy_members(), ("rules_generation", c_uint32), ("rules_kinds", c_uint32)]

    @classmethod
    def of(cls, policy: Policy) -> PolicyStruct:
        """The view of a complete policy, as ``lmk_policy_from_pb()`` makes it.

        :raises ValueError: a list is longer than the handlers hold.
        """
        view = cls()
        for field in Policy.DESCRIPTOR.fields:
            if field.is_repeated:
                entries = getattr(policy, field.name)
                if len(entries) > _LISTS[field.name][1]:
                    raise ValueError(f"{field.name}: more than {_LISTS[field.name][1]} entries")
                for index, entry in enumerate(entries):
                    _fill_entry(getattr(view, field.name)[index], entry)
                setattr(view, f"{field.name}_count", len(entries))
            elif field.message_type is not None:
                group = getattr(policy, field.name)
                for member in field.message_type.fields:
                    setattr(view, f"{field.name}_{member.name}", int(getattr(group, member.name)))
            elif field.name != "name":
                setattr(view, field.name, int(getattr(policy, field.name)))
        return view


def _fill_entry(struct: ctypes.Structure, entry: UidRange | AppRule) -> None:
    if isinstance(entry, UidRange):
        struct.first, struct.last = entry.first, entry.last
        return
    by_uid = entry.HasField("uids")
    struct.uids.first = entry.uids.first if by_uid else 1
    struct.uids.last = entry.uids.last if by_uid else 0
    stated = {field.name: value for field, value in entry.ListFields()}
    for field in _rule_fields():
        default = _RULE_DEFAULTS.get(field.name, 0)
        setattr(struct, field.name, int(stated.get(field.name, default)))
