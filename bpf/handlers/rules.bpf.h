/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which of the policy's rules for apps is for a process. Any context; the caller is in an RCU
 * section.
 */
#ifndef LMK_RULES_BPF_H
#define LMK_RULES_BPF_H

#include "maps.bpf.h"

static __always_inline __u32 find_named_rule(const struct lmk_policy *policy, __u32 kind, __u32 id,
					     __u64 start_ns)
{
	struct lmk_rule_key key = {.generation = policy->rules_generation, .kind = kind, .id = id};
	struct lmk_rule_entry *entry;

	if (!(policy->rules_kinds & kind))
		return 0;
	entry = bpf_map_lookup_elem(&rules, &key);
	return entry && entry->start_ns / TICK_NS == start_ns / TICK_NS ? entry->rule : 0;
}

/*
 * Place in the policy's list, from 1, of the first rule for this process; 0: none. One subprogram,
 * with one look at the policy: all is of the same one, also without the claim. (And the verifier
 * takes what it returns for unknown, instead of following every rule that it could be.)
 */
__noinline int find_rule(__u32 uid, __s32 pid, __u64 start_ns)
{
	const struct lmk_policy *policy = current_policy();
	__u32 rule;

	if (!policy || !policy->rules_count)
		return 0;
	rule = lmk_uid_rule(policy, uid);
	rule = lmk_first_rule(rule,
			      find_named_rule(policy, LMK_RULE_APP, uid % LMK_UIDS_PER_USER, 0));
	return (int)lmk_first_rule(rule,
				   find_named_rule(policy, LMK_RULE_PROCESS, (__u32)pid, start_ns));
}

/* Has the agent look at the name of a process, where there are rules for names. */
static __always_inline void tell_renamed(__s32 pid)
{
	const struct lmk_policy *policy = current_policy();
	struct lmk_renamed_event event = {.pid = pid};

	/* One that does not fit: the agent looks at all processes when memory gets short. */
	if (policy && policy->rules_kinds & LMK_RULE_PROCESS)
		bpf_ringbuf_output(&renamed, &event, sizeof(event), 0);
}

#endif
