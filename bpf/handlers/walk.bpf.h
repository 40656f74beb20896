/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The walk over all processes within one run, by the open-coded iterator (6.7). Under the claim,
 * preemption off.
 */
#ifndef LMK_WALK_BPF_H
#define LMK_WALK_BPF_H

#include "choose.bpf.h"

__noinline int walk(__s32 floor)
{
	const struct lmk_policy *policy = current_policy();
	struct task_struct *leader;

	if (!policy)
		return -EINVAL;
	begin_walk();
	/* A sleepable caller's lock is unknown here: the iterator wants to see one. */
	bpf_rcu_read_lock();
	bpf_for_each (task, leader, NULL, BPF_TASK_ITER_ALL_PROCS) {
		consider(policy, leader, floor);
	}
	bpf_rcu_read_unlock();
	return 0;
}

/* Inlined in both that use it: the verifier allows eight frames. */
static __always_inline void find_best(__s32 floor)
{
	run.barred = 0;
	walk(floor);
	if (kept_one_barred())
		walk(floor);
}

/* Fills run.slot and run.order for whoever only asks; returns how many there are. */
__noinline int find_candidates(__s32 floor)
{
	find_best(floor);
	return (int)run.kept;
}

/* The same for a kill: who is passed over is counted. */
__noinline int choose(__s32 floor)
{
	find_best(floor);
	count_refusals();
	return (int)run.kept;
}

/* Other processes with this mm, into run.sharer_tid; more than fit, or a surprise: negative. */
__noinline int find_sharers(__u64 mm, __s32 but_pid)
{
	struct task_struct *leader;
	int failed = 0;

	run.sharers = 0;
	bpf_rcu_read_lock();
	bpf_for_each (task, leader, NULL, BPF_TASK_ITER_ALL_PROCS) {
		failed = note_if_sharer(leader, mm, but_pid);
		if (failed)
			break;
	}
	bpf_rcu_read_unlock();
	return failed;
}

#endif
