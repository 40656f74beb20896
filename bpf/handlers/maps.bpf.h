/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Maps and knobs of every kill path. The loader pins all maps, so that the handlers go on when the
 * agent dies.
 */
#ifndef LMK_MAPS_BPF_H
#define LMK_MAPS_BPF_H

#include "object.bpf.h"
#include "lmk/abi.h"
#include "policy/pace.h"
#include "policy/rank.h"
#include "policy/window.h"

#define LMK_MS 1000000ULL
/* /proc/PID/stat gives start times in ticks of USER_HZ, 100 on every ABI served. */
#define TICK_NS (10 * LMK_MS)

/* Set by the loader before loading. */
const volatile __u32 page_kb = 4;
const volatile __u32 node_count = 1;	/* possible NUMA nodes */
const volatile __u32 psi_on = 1;	/* built in, and not switched off at boot */
const volatile __u32 count_reclaim = 1; /* both tracepoints of direct reclaim are there */
const volatile __u32 use_timer = 1;	/* 0 where a callback into BPF may panic (kCFI) */
const volatile __u32 use_workqueue = 1;
const volatile __u32 use_task_work = 1;
/* ___GFP_DIRECT_RECLAIM_BIT: an enum since 6.9, 10 in every kernel from 5.10 to 7.3. */
const volatile __u32 gfp_direct_reclaim_bit = 10;

/*
 * state.policy_slot is in force. Nobody writes into that one: the next policy is written into the
 * other, which is put in force under the claim (put_in_force()), so that a decision works with one
 * policy from its beginning to its end.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LMK_POLICY_SLOTS);
	__type(key, __u32);
	__type(value, struct lmk_policy);
} policy SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lmk_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LMK_PROTECTED_MAX);
	__type(key, __s32);
	__type(value, struct lmk_protected);
} protected SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LMK_REGISTERED_MAX);
	__type(key, __s32);
	__type(value, struct lmk_registered);
} registered SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} registered_count SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LMK_RULES_MAX);
	__type(key, struct lmk_rule_key);
	__type(value, struct lmk_rule_entry);
} rules SEC(".maps");

/* Processes whose name the agent is to look at. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024);
} renamed SEC(".maps");

/* Processes that the agent may move to swap. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024);
} cached SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lmk_agent_thread);
} agent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lmk_carriers);
} carriers SEC(".maps");

/* A mapped ring counts twice in VmRSS, so it is small: 180 kill events. */
#define EVENTS_BYTES (256 * 1024)

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EVENTS_BYTES);
} events SEC(".maps");

/*
 * When a process got the oom_score_adj it has: lmkd's order among equals, without its socket. Old
 * entries make room: a process that is not in it counts from its start.
 */
struct adj_since {
	__u64 start_ns; /* identity of the pid */
	__u64 since_ns;
	__s32 adj;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, __s32);
	__type(value, struct adj_since);
} adj_times SEC(".maps");

/*
 * One run: who holds the claim (judge.bpf.h) owns this, so that a run needs no stack. The
 * event in it is what is sent to the agent when a process was killed.
 */
#define KEEP (LMK_CANDIDATES + 1)

/* An address space that may not be freed: one of its users may not die. */
#define BARRED_MAX 16

struct run {
	struct lmk_kill_event event;
	struct lmk_process probe;   /* the process under examination */
	struct lmk_process slot[8]; /* KEEP are used */
	__u32 order[8];		    /* slots, best victim first */
	__u32 look;		    /* enum lmk_look */
	struct lmk_facts facts;
	__u32 kept;
	__u32 barred;
	__u64 barred_mm[BARRED_MAX];
	__s32 sharer_tid[LMK_SHARERS_MAX];
	__u32 sharers;
	__u32 refusals[LMK_REFUSE_MAX];
	__u32 rule_processes[LMK_APP_RULES];
};

struct run run;

/* Small state; written under the claim unless said otherwise. */
struct {
	__u64 claim; /* time it was taken, 0: free; atomic */
	__u64 gate;  /* kill_id that closes the gate, 0: open; atomic */
	__u64 last_kill_id;
	__u64 last_sample_ns;
	__u64 seen_ns; /* first sample that met the reason, every gate open */
	__u64 gated_since_ns;
	__u64 gated_ns;
	__u64 pressed_ns; /* last sample under pressure */
	__u64 barren_ns;  /* last walk that found nobody, 0: the last one found somebody */
	__s32 barren_floor;
	__u32 seen_reason;
	__u32 under_pressure;
	__u32 interval_ms;		     /* until the next look, as of the last sample */
	__u32 gate_state;		     /* enum lmk_gate, as of the last sample */
	__u32 look_now;			     /* a task woke kswapd: the timer looks anew */
	__u32 running;			     /* between LMK_OP_INIT and LMK_OP_STOP */
	__u32 policy_slot;		     /* in force */
	__s32 direct_reclaimers;	     /* atomic */
	__s32 self_test_pid;		     /* target of the carriers' self-test */
	__u64 handed_over_ns[LMK_DEFER_MAX]; /* work given and not yet run, 0: none; atomic */
	__u64 swap_total_kb;		     /* as the agent passed it */
	__u64 swap_free_kb;
	__u64 swap_ns;
	__u64 compression_ns;
	__u32 compression_pct; /* as the agent passed it */
	__u32 pending_look;    /* enum lmk_look: of an evaluation that was handed over */
	__u64 pending_look_ns; /* since when */
	struct lmk_history history;
	struct lmk_sample last; /* previous sample */
} state;

/* Kills under way and past ones still followed to their end: slot kill_id % KILLS. */
#define KILLS 8
struct lmk_pending kills[KILLS];
/* Kept beside: what lmk_pending, shared with the host, does not need. */
struct kill_note {
	__s32 tid; /* that was signalled */
	__u32 dry_run;
	__u32 given_up; /* its timeout passed */
	__u32 proposed; /* not yet signalled by user space: its end is held back */
	__u32 told;	/* TOLD_*: that the ring has had; atomic */
	__u32 pad;
	__u64 left_kb; /* at memory back */
} kill_notes[KILLS];

enum { TOLD_EXITED = 1, TOLD_MEMORY_BACK = 2 };

/* Who is at `place` in run.order. Behind the barrier no compiler knows that the mask is not needed.
 */
static __always_inline struct lmk_process *kept_at(__u32 place)
{
	barrier_var(place);
	return &run.slot[run.order[place & 7] & 7];
}

/*
 * Under the claim it stays the same. Without the claim it may be another one at the next call, and
 * the caller is in an RCU section: that is what a writer waits for before it uses the slot anew.
 */
static __always_inline const struct lmk_policy *current_policy(void)
{
	__u32 slot = *(volatile __u32 *)&state.policy_slot;

	return bpf_map_lookup_elem(&policy, &slot);
}

static __always_inline struct lmk_counters *current_counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

static __always_inline void count(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

static __always_inline void count_outcome(__u32 outcome)
{
	struct lmk_counters *all = current_counters();

	if (all && outcome < LMK_OUT_MAX)
		count(&all->outcome[outcome]);
}

static __always_inline void count_verdict(__u32 reason)
{
	struct lmk_counters *all = current_counters();
	__u32 slot = reason;

	if (reason >= LMK_REASON_VENDOR)
		slot = LMK_VERDICT_VENDOR;
	else if (reason == LMK_REASON_PARTIAL_STALL)
		slot = LMK_VERDICT_PARTIAL_STALL;
	if (all && slot < LMK_VERDICT_MAX)
		count(&all->verdict[slot]);
}

/* An event that does not fit is counted: the agent reports it as lost. */
static __always_inline void emit(void *event, __u32 type, __u32 size)
{
	struct lmk_event_head *head = event;
	struct lmk_counters *all;

	head->type = type;
	head->size = size;
	head->time_ns = bpf_ktime_get_boot_ns();
	if (!bpf_ringbuf_output(&events, event, size, 0))
		return;
	all = current_counters();
	if (all)
		count(&all->ring_lost);
}

#endif
