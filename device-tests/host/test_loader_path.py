# SPDX-License-Identifier: Apache-2.0
"""Which kill path `lmk-loader` picks, and whether callbacks may be armed: by faked kernels.

A kernel is what it shows: BTF, configuration and symbol table below a directory.
"""

from __future__ import annotations

import gzip
import json
import platform
import struct
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lmk import build

#: What 6.1 has of what the handlers use.
OLD_KFUNCS = ("bpf_iter_task",)
NEW_KFUNCS = (
    *OLD_KFUNCS,
    "bpf_send_signal_task",
    "bpf_iter_task_new",
    "bpf_iter_num_new",
    "bpf_task_acquire",
    "bpf_task_from_pid",
    "bpf_rcu_read_lock",
    "bpf_preempt_disable",
)
HELPERS = ("ringbuf_output", "ktime_get_boot_ns", "per_cpu_ptr", "timer_init")
TRACEPOINTS = ("sched_process_exit", "exit_mmap")
ARM64_SYMBOLS = ("vfs_read", "runqueues")


def btf(kfuncs: Iterable[str], variables: Iterable[str] = ("runqueues",)) -> bytes:
    """The BTF of a kernel with these functions (include/uapi/linux/btf.h)."""
    strings = bytearray(b"\0")

    def name(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text) - 1

    types = struct.pack("<IIII", name("int"), 1 << 24, 4, 32)
    types += struct.pack("<III", 0, 13 << 24, 1)
    for function in kfuncs:
        types += struct.pack("<III", name(function), 12 << 24, 2)
    for variable in variables:
        types += struct.pack("<IIII", name(variable), 14 << 24, 1, 1)
    for tracepoint in TRACEPOINTS:
        types += struct.pack("<III", name(f"btf_trace_{tracepoint}"), 8 << 24, 1)
    types += struct.pack("<III", name("bpf_func_id"), 6 << 24 | len(HELPERS), 4)
    for number, helper in enumerate(HELPERS):
        types += struct.pack("<Ii", name(f"BPF_FUNC_{helper}"), number)
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + bytes(strings)


@dataclass
class Kernel:
    """What a kernel shows of itself.

    :ivar config: options that are `y`; None: it does not show its configuration.
    :ivar symbols: names in /proc/kallsyms; None: it cannot be read.
    """

    kfuncs: tuple[str, ...] = NEW_KFUNCS
    config: tuple[str, ...] | None = ("CONFIG_BPF_SYSCALL", "CONFIG_KALLSYMS_ALL")
    symbols: tuple[str, ...] | None = ARM64_SYMBOLS
    hidden: bool = False
    has_btf: bool = True
    variables: tuple[str, ...] = field(default=("runqueues",))


@dataclass
class Choice:
    """What the loader said."""

    kill_path: str
    callbacks: bool
    why: str


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    machine = platform.machine()
    path = tmp_path_factory.mktemp("loader") / "lmk-loader"
    path.write_bytes(build.build([machine]).file(machine, "lmk-loader").content)
    path.chmod(0o755)
    return path


@pytest.fixture
def choose(loader: Path, tmp_path: Path) -> Callable[[Kernel], Choice]:
    def choose(kernel: Kernel) -> Choice:
        proc = tmp_path / "proc"
        proc.mkdir()
        if kernel.has_btf:
            place = tmp_path / "sys/kernel/btf"
            place.mkdir(parents=True)
            (place / "vmlinux").write_bytes(btf(kernel.kfuncs, kernel.variables))
        if kernel.config is not None:
            with gzip.open(proc / "config.gz", "wt") as config:
                config.writelines(f"{option}=y\n" for option in kernel.config)
        if kernel.symbols is not None:
            address = "0" * 16 if kernel.hidden else "ffffffc008000000"
            lines = [f"{address} T {symbol}\n" for symbol in kernel.symbols]
            (proc / "kallsyms").write_text("".join(lines))
        done = subprocess.run(
            [loader, "path", "--root", tmp_path], capture_output=True, text=True, check=True
        )
        return Choice(**json.loads(done.stdout))

    return choose


Choose = Callable[[Kernel], Choice]


def test_a_kernel_that_signals_from_bpf_kills_in_the_kernel(choose: Choose) -> None:
    choice = choose(Kernel())
    assert (choice.kill_path, choice.callbacks) == ("in_kernel", True)
    assert "no CFI" in choice.why


def test_a_kernel_that_cannot_is_assisted_and_the_reason_says_what_is_missing(
    choose: Choose,
) -> None:
    choice = choose(Kernel(kfuncs=OLD_KFUNCS))
    assert choice.kill_path == "assisted"
    assert "bpf_send_signal_task is missing" in choice.why


@pytest.mark.parametrize("missing", NEW_KFUNCS[1:])
def test_each_kfunc_of_the_in_kernel_path_is_needed(choose: Choose, missing: str) -> None:
    choice = choose(Kernel(kfuncs=tuple(name for name in NEW_KFUNCS if name != missing)))
    assert choice.kill_path == "assisted"
    assert missing in choice.why


def test_without_a_walk_over_processes_there_is_no_path(choose: Choose) -> None:
    choice = choose(Kernel(kfuncs=()))
    assert choice.kill_path == "none"
    assert "bpf_iter_task" in choice.why


def test_without_btf_there_is_no_path(choose: Choose) -> None:
    choice = choose(Kernel(has_btf=False))
    assert (choice.kill_path, choice.why) == ("none", "the kernel has no BTF")


def test_without_addresses_of_variables_the_path_is_assisted(choose: Choose) -> None:
    choice = choose(Kernel(config=("CONFIG_BPF_SYSCALL",)))
    assert choice.kill_path == "assisted"
    assert "runqueues is missing" in choice.why


@pytest.mark.parametrize("option", ["CONFIG_CFI", "CONFIG_CFI_CLANG"])
def test_cfi_without_kcfi_in_the_jit_arms_no_callback(choose: Choose, option: str) -> None:
    choice = choose(Kernel(config=("CONFIG_BPF_SYSCALL", "CONFIG_KALLSYMS_ALL", option)))
    assert (choice.kill_path, choice.callbacks) == ("in_kernel", False)
    assert "timer in the agent" in choice.why
    assert "no sign that the JIT emits kCFI" in choice.why


@pytest.mark.parametrize("hidden", [False, True])
def test_cfi_with_kcfi_in_the_jit_arms_them(choose: Choose, hidden: bool) -> None:
    choice = choose(
        Kernel(
            config=("CONFIG_BPF_SYSCALL", "CONFIG_KALLSYMS_ALL", "CONFIG_CFI"),
            symbols=(*ARM64_SYMBOLS, "cfi_bpf_hash", "cfi_bpf_subprog_hash"),
            hidden=hidden,
        )
    )
    assert (choice.kill_path, choice.callbacks) == ("in_kernel", True)
    assert "cfi_bpf_subprog_hash" in choice.why


def test_a_hash_for_programs_alone_is_none_for_callbacks(choose: Choose) -> None:
    choice = choose(
        Kernel(
            config=("CONFIG_BPF_SYSCALL", "CONFIG_KALLSYMS_ALL", "CONFIG_CFI"),
            symbols=(*ARM64_SYMBOLS, "cfi_bpf_hash"),
        )
    )
    assert not choice.callbacks


@pytest.mark.parametrize(
    "symbol", ["report_cfi_failure", "__cfi_slowpath", "__cfi_slowpath_diag", "__cfi_vfs_read"]
)
def test_without_a_configuration_the_symbols_tell_of_cfi(choose: Choose, symbol: str) -> None:
    choice = choose(Kernel(config=None, symbols=(*ARM64_SYMBOLS, symbol)))
    assert (choice.kill_path, choice.callbacks) == ("in_kernel", False)


def test_without_a_configuration_and_cfi_symbols_callbacks_are_armed(choose: Choose) -> None:
    choice = choose(Kernel(config=None))
    assert (choice.kill_path, choice.callbacks) == ("in_kernel", True)


def test_a_kernel_that_shows_nothing_arms_no_callback(choose: Choose) -> None:
    choice = choose(Kernel(config=None, symbols=None))
    assert not choice.callbacks
    assert choice.kill_path == "assisted", "its variables have no address that is known"
