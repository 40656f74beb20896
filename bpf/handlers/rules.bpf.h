/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which of the policy's rules for apps is for a process. Any context; the caller is in an RCU
 * section.
 */
#ifndef LMK_RULES_BPF_H
#define LMK_RULES_BPF_H

#include "thread.bpf.h"

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

static __always_inline __u32 rule_of_cgroup(struct lmk_rule_key *key, __u64 cgroup)
{
	__u64 node = read_u64(cgroup + bpf_core_field_offset(struct cgroup, kn));
	struct lmk_rule_entry *entry;

	key->id = read_u64(node + bpf_core_field_offset(struct kernfs_node, id));
	entry = bpf_map_lookup_elem(&rules, key);
	return entry ? entry->rule : 0;
}

/*
 * By the cgroup that the process is in now, and by all above it: so neither one that was just moved
 * or forked, nor a new cgroup below one that the agent knows, is missed.
 */
static __always_inline __u32 find_cgroup_rule(const struct lmk_policy *policy, __u64 signal)
{
	struct lmk_rule_key key = {.generation = policy->rules_generation, .kind = LMK_RULE_CGROUP};
	__u32 level = 0, rule = 0, i;
	__u64 thread, cgroup, ancestors;

	/* A kernel may have been built without cgroups. */
	if (!(policy->rules_kinds & LMK_RULE_CGROUP) ||
	    !bpf_core_field_exists(struct cgroup, ancestors))
		return 0;
	thread = find_live_thread(signal);
	cgroup = (__u64)BPF_CORE_READ((struct task_struct *)thread, cgroups, dfl_cgrp);
	bpf_probe_read_kernel(&level, sizeof(level),
			      (const void *)(cgroup + bpf_core_field_offset(struct cgroup, level)));
	ancestors = cgroup + bpf_core_field_offset(struct cgroup, ancestors);
	lmk_for (i, 0, LMK_CGROUP_LEVELS) {
		if (i >= level)
			break;
		/* The first is the root, which no rule is for. */
		rule = lmk_first_rule(rule,
				      rule_of_cgroup(&key, read_u64(ancestors + 8 * (i + 1))));
	}
	return rule;
}

/*
 * Place in the policy's list, from 1, of the first rule for this process; 0: none. One subprogram,
 * with one look at the policy: all is of the same one, also without the claim. (And the verifier
 * takes what it returns for unknown, instead of following every rule that it could be.)
 */
__noinline int find_rule(__u32 uid, __s32 pid, __u64 start_ns, __u64 signal)
{
	const struct lmk_policy *policy = current_policy();
	__u32 rule;

	if (!policy || !policy->rules_count)
		return 0;
	rule = lmk_uid_rule(policy, uid);
	rule = lmk_first_rule(rule,
			      find_named_rule(policy, LMK_RULE_APP, uid % LMK_UIDS_PER_USER, 0));
	rule = lmk_first_rule(rule,
			      find_named_rule(policy, LMK_RULE_PROCESS, (__u32)pid, start_ns));
	return (int)lmk_first_rule(rule, find_cgroup_rule(policy, signal));
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
