/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What a policy's rules for apps make of a process. Plain C, like decide.h.
 *
 * lmk_process.rule says which rule applies: its place in the policy's list, from 1; 0: none.
 * Nothing else of the process changes: the rank asks here what it counts as.
 */
#ifndef LMK_RULES_H
#define LMK_RULES_H

#include "policy/decide.h"

/* Processes up to here are in the foreground or perceptible: they are not preferred as victims. */
#define LMK_PREFER_ABOVE 200
/* First to die. */
#define LMK_ADJ_FIRST	  1000
#define LMK_UIDS_PER_USER 100000

/* Place from 1 of the first rule for this uid; 0: there is none. */
LMK_INLINE __u32 lmk_uid_rule(const struct lmk_policy *policy, __u32 uid)
{
	for (__u32 i = 0; i < LMK_APP_RULES; i++) {
		if (i >= policy->rules_count)
			break;
		if (uid >= policy->rules[i].uids.first && uid <= policy->rules[i].uids.last)
			return i + 1;
	}
	return 0;
}

/* Of two rules for one process, the one that stands first in the list. */
LMK_INLINE __u32 lmk_first_rule(__u32 a, __u32 b)
{
	return !a || (b && b < a) ? b : a;
}

LMK_INLINE const struct lmk_app_rule *lmk_rule_of(const struct lmk_policy *policy,
						  const struct lmk_process *process)
{
	__u32 rule = process->rule;

	if (!rule || rule > policy->rules_count)
		return 0;
	return &policy->rules[(rule - 1) & (LMK_APP_RULES - 1)];
}

LMK_INLINE int lmk_rule_protects(const struct lmk_policy *policy, const struct lmk_process *process)
{
	const struct lmk_app_rule *rule = lmk_rule_of(policy, process);

	return rule && rule->protect;
}

/* The oom_score_adj that `process` counts as having. */
LMK_INLINE __s32 lmk_rank_adj(const struct lmk_policy *policy, const struct lmk_process *process)
{
	const struct lmk_app_rule *rule = lmk_rule_of(policy, process);
	__s32 adj = process->adj;

	if (!rule)
		return adj;
	if (rule->prefer && adj > LMK_PREFER_ABOVE)
		adj = LMK_ADJ_FIRST;
	return adj > rule->floor_score ? rule->floor_score : adj;
}

/* What a gain of `kb` counts where `process` makes it, in hundredths of KiB: no weight is lost. */
LMK_INLINE __u64 lmk_weighted(const struct lmk_policy *policy, const struct lmk_process *process,
			      __u64 kb)
{
	const struct lmk_app_rule *rule = lmk_rule_of(policy, process);
	__u64 cost;

	if (!rule)
		return kb * 100;
	kb *= rule->weight_pct;
	cost = (__u64)rule->relaunch_cost_kb * 100;
	return kb > cost ? kb - cost : 0;
}

#endif
