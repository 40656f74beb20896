/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who dies: one walk over all processes keeps the best few. Under the claim, preemption off;
 * any context that may take a millisecond.
 *
 * Processes that share an address space (vfork, CLONE_VM) die together or not at all: memory
 * comes back only when the last user is gone. A process that may not die bars its mm. Since
 * it can come after its sharer in the walk, the walk is taken twice if that happened.
 */
#ifndef LMK_CHOOSE_BPF_H
#define LMK_CHOOSE_BPF_H

#include "process.bpf.h"

static __always_inline bool is_barred(__u64 mm)
{
	__u32 i;

	bpf_for (i, 0, BARRED_MAX) {
		if (i >= run.barred)
			break;
		if (run.barred_mm[i & (BARRED_MAX - 1)] == mm)
			return true;
	}
	/* More barred than fit: whoever shares at all is left alone. */
	return run.barred > BARRED_MAX;
}

static __always_inline void bar(__u64 mm)
{
	if (is_barred(mm))
		return;
	if (run.barred < BARRED_MAX)
		run.barred_mm[run.barred & (BARRED_MAX - 1)] = mm;
	run.barred++;
}

/* Does run.probe die before the process in `slot`? */
__noinline int comes_before(__u32 slot)
{
	const struct lmk_policy *policy = current_policy();

	return policy && lmk_rank(policy, &run.probe, &run.slot[slot & 7],
				  run.event.sample.compression_pct) > 0;
}

/* Files run.probe among the best KEEP, in order. */
__noinline int keep_probe(void)
{
	__u32 kept = run.kept < KEEP ? run.kept : KEEP;
	__u32 place = kept, free, i;

	bpf_for (i, 0, KEEP) {
		if (i >= kept)
			break;
		if (comes_before(run.order[i & 7])) {
			place = i;
			break;
		}
	}
	if (place >= KEEP)
		return 0;
	free = kept < KEEP ? kept : run.order[(KEEP - 1) & 7];
	for (int j = KEEP - 1; j > 0; j--) {
		if ((__u32)j > place)
			run.order[j] = run.order[j - 1];
	}
	run.order[place & 7] = free;
	run.slot[free & 7] = run.probe;
	if (kept < KEEP)
		run.kept = kept + 1;
	return 0;
}

static __always_inline bool worse_than_kept(const struct lmk_policy *policy,
					    const struct lmk_process *process)
{
	return run.kept >= KEEP &&
	       lmk_rank_adj(policy, process) <
		       lmk_rank_adj(policy, &run.slot[run.order[(KEEP - 1) & 7] & 7]);
}

static __always_inline void consider(const struct lmk_policy *policy, struct task_struct *leader,
				     __s32 floor)
{
	struct lmk_process *process = &run.probe;
	__u32 refusal;

	read_identity(leader, process);
	if (process->flags & LMK_PROC_KTHREAD)
		return;
	run.event.processes_seen++;
	if (process->rule)
		run.rule_processes[(process->rule - 1) & (LMK_APP_RULES - 1)]++;
	refusal = lmk_refusal_of(policy, process, floor);
	if (process->flags & LMK_PROC_SHARED_MM) {
		if (refusal != LMK_REFUSE_NONE && refusal != LMK_REFUSE_DYING &&
		    refusal != LMK_REFUSE_NO_MM)
			bar(process->mm);
		else if (refusal == LMK_REFUSE_NONE && is_barred(process->mm))
			refusal = LMK_REFUSE_SHARER;
	}
	if (refusal != LMK_REFUSE_NONE) {
		if (refusal < LMK_REFUSE_MAX)
			run.refusals[refusal]++;
		return;
	}
	run.event.processes_eligible++;
	/* Reading memory costs most: spare it for who cannot make it by adj. */
	if (worse_than_kept(policy, process))
		return;
	read_memory(process);
	if (policy->kills_order == LMK_ORDER_OLDEST)
		process->adj_since_ns = adj_since(process->pid, process->start_ns);
	keep_probe();
}

__noinline int walk(__s32 floor)
{
	const struct lmk_policy *policy = current_policy();
	struct task_struct *leader;

	if (!policy)
		return -EINVAL;
	run.kept = 0;
	run.event.processes_seen = 0;
	run.event.processes_eligible = 0;
	run.event.rules_generation = policy->rules_generation;
	__builtin_memset(run.refusals, 0, sizeof(run.refusals));
	__builtin_memset(run.rule_processes, 0, sizeof(run.rule_processes));
	/* A sleepable caller's lock is unknown here: the iterator wants to see one. */
	bpf_rcu_read_lock();
	bpf_for_each (task, leader, NULL, BPF_TASK_ITER_ALL_PROCS) {
		consider(policy, leader, floor);
	}
	bpf_rcu_read_unlock();
	return 0;
}

static __always_inline bool kept_one_barred(void)
{
	__u32 i;

	bpf_for (i, 0, KEEP) {
		const struct lmk_process *process = &run.slot[run.order[i & 7] & 7];

		if (i >= run.kept)
			break;
		if (process->flags & LMK_PROC_SHARED_MM && is_barred(process->mm))
			return true;
	}
	return false;
}

static __always_inline void count_refusals(void)
{
	struct lmk_counters *all = current_counters();

	if (!all)
		return;
	for (__u32 i = 1; i < LMK_REFUSE_MAX; i++) {
		if (run.refusals[i])
			__sync_fetch_and_add(&all->refusal[i], run.refusals[i]);
	}
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
		__u64 its_mm = mm_of(leader);
		__s32 tid = leader->pid;

		if (leader->flags & PF_KTHREAD || leader->tgid == but_pid)
			continue;
		if (!its_mm || leader->flags & PF_EXITING)
			tid = find_live_thread(signal_of(leader), &its_mm);
		if (its_mm != mm || !tid)
			continue;
		if (run.sharers >= LMK_SHARERS_MAX) {
			failed = -EBUSY;
			break;
		}
		run.sharer_tid[run.sharers & (LMK_SHARERS_MAX - 1)] = tid;
		run.sharers++;
	}
	bpf_rcu_read_unlock();
	return failed;
}

#endif
