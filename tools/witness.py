#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""witness: who was sent SIGKILL, who exited, who was held up in reclaim. For boards with Python.

An ad-hoc tracer that shares nothing with lmk: a BCC program on tracepoints. What it needs is
Python 3, BCC from the distribution (Debian: `apt-get install python3-bpfcc`; the `bcc` of PyPI is
something else), a kernel of 5.8 or newer with tracefs, and root. No kernel headers: the program
reads no kernel structure, only what tracepoints say.

JSON lines on standard output; times are CLOCK_BOOTTIME nanoseconds, as in kill reports:

  ready    it sees everything from now on
  signal   a SIGKILL: to whom (pid), by whom (sender: the task that ran), code (0 kill(2), 128 the
           kernel: BPF and the OOM killer too), result (0 queued, 1 ignored, 2 pending already)
  exit     a process has ended; sigkill: "taken" (it died of one), "queued" (it was exiting before
           it could take it), "none"
  counts   every --interval-s: all so far; signals: every SIGKILL; unnamed: as many of them have no
           signal event, only their exit tells (the CPU was in the exit of another process when an
           interrupt sent it); reclaim.stalls are completed direct reclaims; lost: events that the
           ring had no room for; missed, by program: times that the kernel did not run it because
           its CPU was in another one (or in this one)
  end      the last counts, and who was held up in reclaim for longest

Ends with --duration-s, SIGINT, SIGTERM or, with --until-eof, the end of its standard input.
Exit codes: 0 every SIGKILL and every exit was seen, 1 some were lost or missed, 3 it cannot trace
here.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Of the ring that events wait in, in pages: 1 MB, 12,000 events while nobody reads.
RING_PAGES = 256
#: Processes at the end of the list of who was held up.
TOP = 20

#: What BCC includes of a kernel's source, and as much of it as is needed.
HEADERS = {
    "include/linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n",
    # Of a kernel that has all that is used; nothing else goes by it.
    "include/linux/version.h": """
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 8, 0)
""",
    "include/linux/types.h": """
#ifndef WITNESS_TYPES
#define WITNESS_TYPES
typedef signed char __s8, s8;
typedef unsigned char __u8, u8;
typedef short __s16, s16;
typedef unsigned short __u16, u16, __be16, __le16, __sum16;
typedef int __s32, s32, pid_t;
typedef unsigned int __u32, u32, __be32, __le32, __wsum;
typedef long long __s64, s64;
typedef unsigned long long __u64, u64, __be64, __le64, __aligned_u64;
typedef unsigned long size_t, uintptr_t;
typedef _Bool bool;
#define __always_inline inline __attribute__((always_inline))
#endif
""",
    "include/linux/bpf_common.h": "",
    "include/linux/log2.h": "",
    "include/asm/page.h": f"#define PAGE_SIZE {os.sysconf('SC_PAGE_SIZE')}\n",
    "include/uapi/linux/bpf.h": "",
    "include/uapi/linux/if_packet.h": "",
    "include/uapi/linux/ptrace.h": "",
}

PROGRAM = """
#define SIGKILL 9

enum kind { SIGNAL = 1, EXIT = 2 };
enum sigkill { NONE, QUEUED, TAKEN };

struct event {
	u64 time_ns;
	u32 kind, pid;
	u32 uid;	/* of the sender; of who exits */
	u32 sender;
	s32 code, result;
	u32 sigkill;
	char comm[16];	/* to whom; who exits */
	char sender_comm[16];
};

struct held {
	u64 count, total_ns, max_ns;
	u32 uid;
	char comm[16];
};

struct totals {
	u64 signals, named, exits, lost, stalls, stall_ns, stall_max_ns;
};

BPF_RINGBUF_OUTPUT(events, RING_PAGES);
BPF_TABLE("lru_hash", u64, u32, killed, 4096);	   /* by task: enum sigkill */
BPF_TABLE("lru_hash", u32, u64, reclaiming, 8192); /* by thread: since when */
BPF_TABLE("lru_hash", u32, struct held, held, 4096);
BPF_ARRAY(totals, struct totals, 1);

static struct totals *all(void)
{
	int first = 0;

	return totals.lookup(&first);
}

static void tell(struct event *event)
{
	struct totals *sum = all();

	if (events.ringbuf_output(event, sizeof(*event), 0) && sum)
		__sync_fetch_and_add(&sum->lost, 1);
}

/*
 * That a SIGKILL is sent is seen here, and always: signals are sent with interrupts off, so that
 * nothing comes in the middle of this and is missed. Whom it is sent to, by name, only the program
 * after it can say, without the kernel's structures; and a program on a classic tracepoint keeps
 * every other such program of its CPU from running: an interrupt that sends a signal in the middle
 * of sched_process_exit's finds it taken.
 */
RAW_TRACEPOINT_PROBE(signal_generate)
{
	struct totals *sum = all();
	u64 task = ctx->args[2];
	int result = ctx->args[4];
	u32 queued = QUEUED;

	if ((int)ctx->args[0] != SIGKILL)
		return 0;
	if (!result)
		killed.update(&task, &queued);
	if (sum)
		__sync_fetch_and_add(&sum->signals, 1);
	return 0;
}

TRACEPOINT_PROBE(signal, signal_generate)
{
	struct event event = {.kind = SIGNAL};
	struct totals *sum = all();

	if (args->sig != SIGKILL)
		return 0;
	event.time_ns = bpf_ktime_get_boot_ns();
	event.pid = args->pid;
	event.sender = bpf_get_current_pid_tgid() >> 32;
	event.uid = bpf_get_current_uid_gid();
	event.code = args->code;
	event.result = args->result;
	__builtin_memcpy(event.comm, args->comm, sizeof(event.comm));
	bpf_get_current_comm(event.sender_comm, sizeof(event.sender_comm));
	if (sum)
		__sync_fetch_and_add(&sum->named, 1);
	tell(&event);
	return 0;
}

TRACEPOINT_PROBE(signal, signal_deliver)
{
	u64 task = bpf_get_current_task();
	u32 taken = TAKEN;

	/* Threads that another one's exit ends see a SIGKILL that nobody sent. */
	if (args->sig == SIGKILL && killed.lookup(&task))
		killed.update(&task, &taken);
	return 0;
}

TRACEPOINT_PROBE(sched, sched_process_exit)
{
	u64 both = bpf_get_current_pid_tgid(), task = bpf_get_current_task();
	struct event event = {.kind = EXIT};
	struct totals *sum = all();
	u32 tid = both, *state;

	reclaiming.delete(&tid);
	state = killed.lookup(&task);
	if (state)
		event.sigkill = *state;
	killed.delete(&task);
	event.pid = both >> 32;
	if (tid != event.pid)
		return 0;
	event.time_ns = bpf_ktime_get_boot_ns();
	event.uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	if (sum)
		__sync_fetch_and_add(&sum->exits, 1);
	tell(&event);
	return 0;
}

/*
 * Raw as well: these run often, and would keep the classic ones from running. (A raw one may be
 * preempted, from 7.x on, and then misses whoever comes next on its CPU: for exits, of which many
 * come at once, that is worse.)
 */
RAW_TRACEPOINT_PROBE(mm_vmscan_direct_reclaim_begin)
{
	u32 tid = bpf_get_current_pid_tgid();
	u64 now_ns = bpf_ktime_get_boot_ns();

	reclaiming.update(&tid, &now_ns);
	return 0;
}

RAW_TRACEPOINT_PROBE(mm_vmscan_direct_reclaim_end)
{
	u64 both = bpf_get_current_pid_tgid(), *since_ns, took_ns;
	u32 tid = both, pid = both >> 32;
	struct totals *sum = all();
	struct held none = {}, *mine;

	since_ns = reclaiming.lookup(&tid);
	if (!since_ns || !sum)
		return 0;
	took_ns = bpf_ktime_get_boot_ns() - *since_ns;
	reclaiming.delete(&tid);
	__sync_fetch_and_add(&sum->stalls, 1);
	__sync_fetch_and_add(&sum->stall_ns, took_ns);
	if (took_ns > sum->stall_max_ns)
		sum->stall_max_ns = took_ns;
	mine = held.lookup_or_try_init(&pid, &none);
	if (!mine)
		return 0;
	__sync_fetch_and_add(&mine->count, 1);
	__sync_fetch_and_add(&mine->total_ns, took_ns);
	if (took_ns > mine->max_ns)
		mine->max_ns = took_ns;
	mine->uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(mine->comm, sizeof(mine->comm));
	return 0;
}
"""

#: Programs of which no run may be missed; a stall more or less is no matter.
ESSENTIAL = ("signal_generate", "signal:signal_deliver", "sched:sched_process_exit")
SIGKILL_WORDS = ("none", "queued", "taken")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="witness.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--duration-s", type=float, metavar="S", help="end after that long")
    parser.add_argument(
        "--interval-s", type=float, default=10.0, metavar="S", help="between counts (default 10)"
    )
    parser.add_argument(
        "--killed-only", action="store_true", help="no exits of processes that got no SIGKILL"
    )
    parser.add_argument("--until-eof", action="store_true", help="end with standard input")
    return parser.parse_args(arguments)


def say(event: str, time_ns: int | None = None, **more: Any) -> None:
    if time_ns is None:
        time_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    print(json.dumps({"event": event, "time_ns": time_ns, **more}), flush=True)


def load() -> Any:
    """The BCC object, its programs attached."""
    try:
        from bcc import BPF
    except ImportError:
        raise OSError(
            "Python has no bcc: install BCC from the distribution (python3-bpfcc)"
        ) from None
    with tempfile.TemporaryDirectory(prefix="witness-") as source:
        for name, text in HEADERS.items():
            path = Path(source, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        os.environ["BCC_KERNEL_SOURCE"] = source
        try:
            # BCC says what it has against a program on standard error.
            return BPF(text=PROGRAM, cflags=[f"-DRING_PAGES={RING_PAGES}"])
        except Exception as error:  # BCC raises Exception itself
            raise OSError(f"BCC cannot compile or load its program: {error}") from error


def protect() -> None:
    """Nobody's victim, where that is allowed: it has to see the end of the others."""
    try:
        Path("/proc/self/oom_score_adj").write_text("-1000")
    except OSError as error:
        print(f"witness: not protected from the OOM killer: {error.strerror}", file=sys.stderr)


def word(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace")


def tell_events(bpf: Any, killed_only: bool) -> None:
    """Have every event printed as it is taken out of the ring."""

    def on_event(_context: Any, data: Any, _size: int) -> None:
        event = bpf["events"].event(data)
        if event.kind == 1:
            say(
                "signal",
                event.time_ns,
                pid=event.pid,
                comm=word(event.comm),
                code=event.code,
                result=event.result,
                sender={"pid": event.sender, "uid": event.uid, "comm": word(event.sender_comm)},
            )
        elif event.sigkill or not killed_only:
            say(
                "exit",
                event.time_ns,
                pid=event.pid,
                uid=event.uid,
                comm=word(event.comm),
                sigkill=SIGKILL_WORDS[event.sigkill],
            )

    bpf["events"].open_ring_buffer(on_event)


def missed(bpf: Any) -> dict[str, int]:
    """By program, how often the kernel skipped it; as far as this kernel counts that."""
    found = {}
    for name, function in bpf.funcs.items():
        for line in Path(f"/proc/self/fdinfo/{function.fd}").read_text().splitlines():
            if line.startswith("recursion_misses:"):
                # raw_tracepoint__NAME, tracepoint__GROUP__NAME: NAME, GROUP:NAME
                traced = word(name).partition("tracepoint__")[2].replace("__", ":")
                found[traced] = int(line.split()[1])
    return found


def counts(bpf: Any) -> dict[str, Any]:
    sum_ = bpf["totals"][0]
    return {
        "signals": sum_.signals,
        "unnamed": sum_.signals - sum_.named,
        "exits": sum_.exits,
        "lost": sum_.lost,
        "missed": missed(bpf),
        "reclaim": {
            "stalls": sum_.stalls,
            "total_us": sum_.stall_ns // 1000,
            "max_us": sum_.stall_max_ns // 1000,
        },
    }


def held_up(bpf: Any) -> list[dict[str, Any]]:
    """Who was in direct reclaim for longest, all in all."""
    found = sorted(bpf["held"].items(), key=lambda item: -item[1].total_ns)
    return [
        {
            "pid": pid.value,
            "uid": held.uid,
            "comm": word(held.comm),
            "stalls": held.count,
            "total_us": held.total_ns // 1000,
            "max_us": held.max_ns // 1000,
        }
        for pid, held in found[:TOP]
    ]


def watch(bpf: Any, options: argparse.Namespace, over: Callable[[], bool]) -> None:
    begin_s = now_s = time.monotonic()
    counted_s = begin_s
    while not over() and not (options.duration_s and now_s - begin_s >= options.duration_s):
        bpf.ring_buffer_poll(timeout=100)
        if options.until_eof and select.select([0], [], [], 0)[0] and not os.read(0, 4096):
            break
        now_s = time.monotonic()
        if now_s - counted_s >= options.interval_s:
            counted_s = now_s
            say("counts", **counts(bpf))
    bpf.ring_buffer_consume()


def main() -> int:
    options = parse_arguments()
    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: ended.append(number))
    protect()
    try:
        bpf = load()
    except OSError as error:
        print(f"witness: {error}", file=sys.stderr)
        return 3
    tell_events(bpf, options.killed_only)
    say("ready", kernel=os.uname().release, pid=os.getpid())
    try:
        watch(bpf, options, lambda: bool(ended))
        last = counts(bpf)
        say("end", **last, held_up=held_up(bpf))
    except BrokenPipeError:
        # Whoever read has enough; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    unseen = sum(count for name, count in last["missed"].items() if name in ESSENTIAL)
    return 1 if last["lost"] or unseen else 0


if __name__ == "__main__":
    sys.exit(main())
