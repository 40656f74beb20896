/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `lmk_call` does in the same way on every kill path: takes what user space measured, answers
 * with sample and verdict, measures a process. SYSCALL programs only.
 */
#ifndef LMK_ANSWER_BPF_H
#define LMK_ANSWER_BPF_H

#include "judge.bpf.h"

static __always_inline void take_swap(const struct lmk_call *call)
{
	if (!call->swap_total_kb && !call->swap_free_kb)
		return;
	state.swap_total_kb = call->swap_total_kb;
	state.swap_free_kb = call->swap_free_kb;
	state.swap_ns = bpf_ktime_get_boot_ns();
	if (call->compression_pct) {
		state.compression_pct = call->compression_pct;
		state.compression_ns = state.swap_ns;
	}
}

/* Both windows must be told anew before each run: their growth is what counts. */
static __always_inline void take_psi(const struct lmk_call *call)
{
	if (!call->tells_psi)
		return;
	if (!told_psi.at_ns) {
		told_psi.some_base_us = call->psi_some_total_us;
		told_psi.full_base_us = call->psi_full_total_us;
	}
	told_psi.some_us = call->psi_some_total_us;
	told_psi.full_us = call->psi_full_total_us;
	told_psi.full_avg10_pct100 = call->psi_full_avg10_pct100;
	told_psi.at_ns = bpf_ktime_get_boot_ns();
}

/* Under the claim: the answer that every program gives. */
static __always_inline void answer(struct lmk_call *call)
{
	const struct lmk_policy *policy = current_policy();
	__u64 id = state.gate;

	call->wants_psi = psi_on && !has_psi_ksyms();
	call->under_pressure = state.under_pressure;
	call->interval_ms = state.interval_ms;
	call->sample = run.event.sample;
	call->verdict = run.event.verdict;
	call->pending_pid = id ? kill_of(id)->pid : 0;
	if (policy)
		call->budget_left =
			lmk_budget_left(policy, &state.history, run.event.sample.time_ns);
}

/* Of a run that has not got the claim yet. */
static __always_inline void begin_answer(struct lmk_call *call)
{
	call->result = 0;
	call->kill_id = 0;
	call->victim_pid = 0;
	call->interval_ms = CLAIMED_INTERVAL_MS;
	call->under_pressure = state.under_pressure;
}

/* Who would be next, and for how many each rule counts: of the last walk. */
static __always_inline void answer_candidates(struct lmk_call *call)
{
	call->n_candidates = run.event.n_candidates;
	__builtin_memcpy(call->rule_processes, run.rule_processes, sizeof(call->rule_processes));
	__builtin_memcpy(call->candidates, run.event.candidates, sizeof(call->candidates));
}

/* Finds what is to be read; 0 or -errno. */
static __always_inline int find_kernel(const struct lmk_policy *policy)
{
	int result;

	/* Not a kill_id of an earlier attachment within this boot. */
	state.last_kill_id = bpf_ktime_get_boot_ns() / LMK_MS;
	state.interval_ms = policy->timing_pressure_interval_ms;
	find_symbols();
	result = find_percpu_offsets();
	return result ? result : find_nodes();
}

/*
 * The policy that user space has written into the other slot, from the next decision on. Under the
 * claim. What was found under the one before is not what this one would find.
 */
static __always_inline void put_in_force(__u32 slot)
{
	*(volatile __u32 *)&state.policy_slot = slot;
	state.pending_look = LMK_LOOK_NONE;
	state.barren_ns = 0;
}

static __always_inline int tell_policy(struct lmk_call *call)
{
	call->policy_slot = state.policy_slot;
	call->running = state.running;
	call->result = 0;
	return 0;
}

/* kills[] index of this process, or KILLS. */
__noinline int kill_index(__s32 pid, __u64 start_ns)
{
	__u32 i;

	lmk_for (i, 0, KILLS) {
		const struct lmk_pending *kill = &kills[i & (KILLS - 1)];

		if (kill->pid == pid && kill->start_ns / TICK_NS == start_ns / TICK_NS)
			return (int)i;
	}
	return KILLS;
}

/*
 * What is left of the memory of pid (identity start_ns), KiB, in left_kb. A killed process
 * loses its mm long before the memory is free, so that of a kill is remembered. With
 * `released` (process_mrelease(2) returned 0) the gate waits for the exit alone.
 */
static __always_inline int measure(struct lmk_call *call)
{
	__u32 index = (__u32)kill_index(call->pid, call->start_ns);
	struct lmk_process process = {};
	struct task_struct *leader;

	call->left_kb = 0;
	call->result = 0;
	if (index < KILLS && kills[index & (KILLS - 1)].mm) {
		struct lmk_pending *kill = &kills[index & (KILLS - 1)];

		if (call->released)
			kill->released = 1;
		if (kill->memory_back_ns)
			return 0;
		process.mm = kill->mm;
	} else {
		leader = task_hold(call->pid);
		call->result = -ESRCH;
		if (!leader)
			return 0;
		if (task_read(leader, start_boottime) / TICK_NS == call->start_ns / TICK_NS) {
			process.mm = mm_of(leader);
			if (!process.mm)
				process.mm = mm_of((void *)find_live_thread(signal_of(leader)));
			call->result = 0;
		}
		task_drop(leader);
		if (!process.mm)
			return 0;
	}
	read_memory(&process);
	call->left_kb = lmk_footprint_kb(&process);
	return 0;
}

#endif
