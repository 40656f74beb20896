/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When processes get their oom_score_adj, and their names. lmkd keeps a list for each value, in the
 * order in which it was told over its socket; the kernel says the same to everybody.
 */
#ifndef LMK_ADJ_BPF_H
#define LMK_ADJ_BPF_H

#include "rules.bpf.h"

/* Who becomes an app that may be moved to swap; who has been one is known already. */
static __always_inline void tell_cached(__s32 pid, const struct adj_since *now)
{
	const struct lmk_policy *policy = current_policy();
	struct lmk_cached_event event = {.pid = pid};
	struct adj_since *before;

	if (!policy || now->adj < policy->rest_pageout_min_score)
		return;
	before = bpf_map_lookup_elem(&adj_times, &pid);
	/* One that does not fit: the agent looks at all processes after the next kill. */
	if (!before || before->start_ns != now->start_ns ||
	    before->adj < policy->rest_pageout_min_score)
		bpf_ringbuf_output(&cached, &event, sizeof(event), 0);
}

/* In the task that writes /proc/PID/oom_score_adj, with `task` the one that gets it. */
SEC("tp_btf/oom_score_adj_update")
int BPF_PROG(lmk_on_adj, struct task_struct *task)
{
	struct adj_since seen = {
		.start_ns = task->group_leader->start_boottime,
		.since_ns = bpf_ktime_get_boot_ns(),
	};
	__s32 pid = task->tgid;

	seen.adj = task->signal->oom_score_adj;
	tell_cached(pid, &seen);
	bpf_map_update_elem(&adj_times, &pid, &seen, 0);
	/* An Android app has its name by the time that it gets its first adj. */
	tell_renamed(pid);
	return 0;
}

/* In the task that has just become another program. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(lmk_on_exec, struct task_struct *task)
{
	tell_renamed(task->tgid);
	return 0;
}

#endif
