/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who dies: a walk over all processes (walk.bpf.h, stages.bpf.h) keeps the best few. Under the
 * claim; any context that may take a millisecond.
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

	lmk_for (i, 0, BARRED_MAX) {
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

	lmk_for (i, 0, KEEP) {
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
	       lmk_rank_adj(policy, process) < lmk_rank_adj(policy, kept_at(KEEP - 1));
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
	if (policy->kills_order == LMK_ORDER_OLDEST && !(process->flags & LMK_PROC_TOLD_ADJ))
		process->adj_since_ns = adj_since(process->pid, process->start_ns);
	keep_probe();
}

/* Before the first process of a walk. */
static __always_inline void begin_walk(void)
{
	const struct lmk_policy *policy = current_policy();

	run.kept = 0;
	run.event.processes_seen = 0;
	run.event.processes_eligible = 0;
	run.event.rules_generation = policy ? policy->rules_generation : 0;
	__builtin_memset(run.refusals, 0, sizeof(run.refusals));
	__builtin_memset(run.rule_processes, 0, sizeof(run.rule_processes));
}

static __always_inline bool kept_one_barred(void)
{
	__u32 i;

	lmk_for (i, 0, KEEP) {
		const struct lmk_process *process = kept_at(i);

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

/*
 * Files one of the processes that use `mm`, other than `but_pid`, into run.sharer_tid; 0, or -EBUSY
 * when there are more than fit.
 */
static __always_inline int note_if_sharer(struct task_struct *leader, __u64 mm, __s32 but_pid)
{
	__u32 flags = task_read(leader, flags);
	__u64 its_mm = mm_of(leader);
	__s32 tid = task_read(leader, pid);

	if (flags & PF_KTHREAD || task_read(leader, tgid) == but_pid)
		return 0;
	if (!its_mm || flags & PF_EXITING) {
		const struct task_struct *thread = (void *)find_live_thread(signal_of(leader));

		its_mm = mm_of(thread);
		tid = BPF_CORE_READ(thread, pid);
	}
	if (its_mm != mm || !tid)
		return 0;
	if (run.sharers >= LMK_SHARERS_MAX)
		return -EBUSY;
	run.sharer_tid[run.sharers & (LMK_SHARERS_MAX - 1)] = tid;
	run.sharers++;
	return 0;
}

#endif
