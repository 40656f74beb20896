/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What ActivityManager said of a process over lmkd's socket: the agent puts it into the map
 * `registered`, where it outlives the agent. Any context.
 */
#ifndef LMK_REGISTERED_BPF_H
#define LMK_REGISTERED_BPF_H

#include "maps.bpf.h"

/* NULL: nothing, or no more than the kernel knows. */
static __always_inline const struct lmk_registered *find_registered(__s32 pid, __u64 start_ns)
{
	const struct lmk_registered *entry;
	const __u32 *count;
	__u32 zero = 0;

	count = bpf_map_lookup_elem(&registered_count, &zero);
	if (!count || !*count)
		return NULL;
	entry = bpf_map_lookup_elem(&registered, &pid);
	return entry && entry->start_ns / TICK_NS == start_ns / TICK_NS ? entry : NULL;
}

/*
 * Has `process`, of which the kernel's word is in already, count as what was said. Not where the
 * kernel's own adj is that of who is never killed: nobody's word changes that.
 */
__noinline int take_registered(struct lmk_process *process)
{
	const struct lmk_registered *entry;

	if (!process)
		return -EINVAL;
	entry = find_registered(process->pid, process->start_ns);
	if (!entry)
		return 0;
	process->uid = entry->uid;
	if (entry->flags & LMK_REGISTERED_SERVICE)
		process->flags |= LMK_PROC_SERVICE;
	if (entry->flags & LMK_REGISTERED_ADJ && process->adj > LMK_ADJ_NEVER) {
		process->adj = entry->adj;
		process->adj_since_ns = entry->since_ns;
		process->flags |= LMK_PROC_TOLD_ADJ;
	}
	return 0;
}

/* The oom_score_adj that the process of `task` counts as having. */
static __always_inline __s32 counted_adj(const struct task_struct *task)
{
	const struct lmk_registered *entry =
		find_registered(task->tgid, task->group_leader->start_boottime);

	return entry && entry->flags & LMK_REGISTERED_ADJ ? entry->adj
							  : task->signal->oom_score_adj;
}

#endif
