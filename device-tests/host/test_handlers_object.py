# SPDX-License-Identifier: Apache-2.0
"""What the two objects of handlers call, read from the objects themselves."""

from __future__ import annotations

import pytest
from bpf_object import Calls, read_calls

from lmk import build

#: enum bpf_func_id, of helpers that call back into BPF, or arm something that does.
CALLBACK_HELPERS = {
    "for_each_map_elem": 164,
    "timer_init": 169,
    "timer_set_callback": 170,
    "timer_start": 171,
    "timer_cancel": 172,
    "find_vma": 180,
    "loop": 181,
    "user_ringbuf_drain": 209,
}
#: The last helper that 6.1 knows: user_ringbuf_drain.
LAST_HELPER_OF_6_1 = 209
#: In names of kernel functions that call back.
CALLBACK_WORDS = ("wq", "task_work", "timer", "callback", "rbtree")


@pytest.fixture(scope="module")
def bundle() -> build.Bundle:
    return build.build(["x86_64"])


def calls_of(bundle: build.Bundle, name: str) -> Calls:
    return read_calls(bundle.file("x86_64", name).content)


def test_the_assisted_handlers_are_never_called_back(bundle: build.Bundle) -> None:
    calls = calls_of(bundle, "assisted.bpf.o")
    assert calls.helpers.isdisjoint(CALLBACK_HELPERS.values())
    assert calls.callbacks == [], "the address of a BPF function is taken"
    assert [name for name in calls.kfuncs if any(word in name for word in CALLBACK_WORDS)] == []


def test_the_assisted_handlers_need_nothing_that_6_1_lacks(bundle: build.Bundle) -> None:
    calls = calls_of(bundle, "assisted.bpf.o")
    assert calls.helpers, "nothing was read"
    assert max(calls.helpers) <= LAST_HELPER_OF_6_1
    assert calls.kfuncs, "the walk in place is there where the kernel has it"
    assert [name for name, weak in calls.kfuncs.items() if not weak] == []


def test_the_reader_sees_callbacks_where_there_are_some(bundle: build.Bundle) -> None:
    calls = calls_of(bundle, "lmk.bpf.o")
    assert CALLBACK_HELPERS["timer_set_callback"] in calls.helpers
    assert "bpf_wq_set_callback" in calls.kfuncs
    assert "bpf_task_work_schedule_signal_impl" in calls.kfuncs
    assert len(calls.callbacks) >= 3, "timer, work queue, task work"


def test_kfuncs_with_two_names_are_weak_in_both(bundle: build.Bundle) -> None:
    kfuncs = calls_of(bundle, "lmk.bpf.o").kfuncs
    for name in ("bpf_wq_set_callback", "bpf_task_work_schedule_signal"):
        assert kfuncs[name]
        assert kfuncs[f"{name}_impl"]
