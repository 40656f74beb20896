/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Who may die, and who first. Plain C, like decide.h.
 *
 * Order: highest oom_score_adj, as the rules have it count (rules.h); then as the policy says, by
 * what their end gives back, by who has had that adj for longest, or by resident set; then the
 * youngest; then the higher pid, so that the order is total and two CPUs choose alike.
 */
#ifndef LMK_RANK_H
#define LMK_RANK_H

#include "policy/rules.h"

enum lmk_order {
	LMK_ORDER_LARGEST_GAIN = 1,
	LMK_ORDER_OLDEST = 2,
	LMK_ORDER_LARGEST_RSS = 3,
};

/*
 * KiB of memory that the end of `process` gives back. Shared memory does not come back with one
 * process; what is swapped gives back the memory that it takes in compressed swap.
 */
LMK_INLINE __u64 lmk_gain_kb(const struct lmk_process *process, __u32 compression_pct)
{
	__u64 swap_kb = process->swap_kb;

	if (compression_pct > 100)
		swap_kb = swap_kb * 100 / compression_pct;
	return process->anon_kb + process->file_kb + swap_kb;
}

/* Memory that is gone once the process is: the figure that freed_kb is reckoned from. */
LMK_INLINE __u64 lmk_footprint_kb(const struct lmk_process *process)
{
	return lmk_gain_kb(process, 0) + process->pgtables_kb;
}

LMK_INLINE __u64 lmk_rss_kb(const struct lmk_process *process)
{
	return process->anon_kb + process->file_kb + process->shmem_kb;
}

/* What `policy` goes by among processes of one oom_score_adj: the higher dies first. */
LMK_INLINE __u64 lmk_worth(const struct lmk_policy *policy, const struct lmk_process *process,
			   __u32 compression_pct)
{
	if (lmk_rank_adj(policy, process) <= policy->kills_largest_rss_up_to_score ||
	    policy->kills_order == LMK_ORDER_LARGEST_RSS)
		return lmk_weighted(policy, process, lmk_rss_kb(process));
	if (policy->kills_order == LMK_ORDER_OLDEST)
		return ~process->adj_since_ns;
	return lmk_weighted(policy, process, lmk_gain_kb(process, compression_pct));
}

/* > 0: `a` dies before `b`; < 0: after; 0 only for the same process. */
LMK_INLINE int lmk_rank(const struct lmk_policy *policy, const struct lmk_process *a,
			const struct lmk_process *b, __u32 compression_pct)
{
	__u64 worth_a = lmk_worth(policy, a, compression_pct);
	__u64 worth_b = lmk_worth(policy, b, compression_pct);
	__s32 adj_a = lmk_rank_adj(policy, a), adj_b = lmk_rank_adj(policy, b);

	if (adj_a != adj_b)
		return adj_a > adj_b ? 1 : -1;
	if (worth_a != worth_b)
		return worth_a > worth_b ? 1 : -1;
	if (a->start_ns != b->start_ns)
		return a->start_ns > b->start_ns ? 1 : -1;
	if (a->pid != b->pid)
		return a->pid > b->pid ? 1 : -1;
	return 0;
}

LMK_INLINE int lmk_uid_in(const struct lmk_uid_range *ranges, __u32 count, __u32 uid)
{
	int found = 0;

	for (int i = 0; i < LMK_UID_RANGES; i++) {
		if ((__u32)i < count && uid >= ranges[i].first && uid <= ranges[i].last)
			found = 1;
	}
	return found;
}

/*
 * Why `process` may not die for a verdict with this floor; LMK_REFUSE_NONE: it may.
 * The never-kill rules come first and hold whatever the floor is.
 */
LMK_INLINE __u32 lmk_refusal_of(const struct lmk_policy *policy, const struct lmk_process *process,
				__s32 floor)
{
	if (process->flags & LMK_PROC_INIT || process->pid == 1)
		return LMK_REFUSE_INIT;
	if (process->flags & LMK_PROC_KTHREAD)
		return LMK_REFUSE_KTHREAD;
	if (process->adj <= LMK_ADJ_NEVER)
		return LMK_REFUSE_ADJ_NEVER;
	if (process->flags & LMK_PROC_PROTECTED)
		return LMK_REFUSE_PROTECTED;
	if (lmk_rule_protects(policy, process))
		return LMK_REFUSE_RULE;
	if (lmk_rank_adj(policy, process) < floor)
		return LMK_REFUSE_BELOW_FLOOR;
	if (policy->only_uids_count &&
	    !lmk_uid_in(policy->only_uids, policy->only_uids_count, process->uid))
		return LMK_REFUSE_UID;
	if (lmk_uid_in(policy->protected_uids, policy->protected_uids_count, process->uid))
		return LMK_REFUSE_UID;
	if (process->flags & LMK_PROC_DYING)
		return LMK_REFUSE_DYING;
	if (process->flags & LMK_PROC_NO_MM)
		return LMK_REFUSE_NO_MM;
	return LMK_REFUSE_NONE;
}

#endif
