/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When processes get their oom_score_adj. lmkd keeps a list for each value, in the order in which
 * it was told over its socket; the kernel says the same to everybody.
 */
#ifndef LMK_ADJ_BPF_H
#define LMK_ADJ_BPF_H

#include "maps.bpf.h"

/* In the task that writes /proc/PID/oom_score_adj, with `task` the one that gets it. */
SEC("tp_btf/oom_score_adj_update")
int BPF_PROG(lmk_on_adj, struct task_struct *task)
{
	struct adj_since seen = {
		.start_ns = task->group_leader->start_boottime,
		.since_ns = bpf_ktime_get_boot_ns(),
	};
	__s32 pid = task->tgid;

	bpf_map_update_elem(&adj_times, &pid, &seen, 0);
	return 0;
}

#endif
