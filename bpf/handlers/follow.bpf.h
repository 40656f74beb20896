/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Following a kill to its end. Both programs run in the dying task (or, for exit_mmap, in
 * whoever dropped the last reference), preemptible, without the claim: every field they write
 * is written once, atomically.
 */
#ifndef LMK_FOLLOW_BPF_H
#define LMK_FOLLOW_BPF_H

#include "gate.bpf.h"

/* In each exiting thread, on 7.x before its mm is dropped: says "dying", not "memory back". */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(lmk_on_exit, struct task_struct *task)
{
	__u64 now;
	__u32 i;

	if (task->signal->live.counter > 0)
		return 0;
	now = bpf_ktime_get_boot_ns();
	lmk_for (i, 0, KILLS) {
		struct lmk_pending *kill = &kills[i & (KILLS - 1)];
		struct lmk_counters *all = current_counters();

		if (kill->pid != task->tgid || kill_notes[i & (KILLS - 1)].dry_run ||
		    kill->start_ns != task->group_leader->start_boottime)
			continue;
		if (__sync_val_compare_and_swap(&kill->exited_ns, 0, now))
			continue;
		if (all)
			count(&all->exits_seen);
		tell_exited(kill->kill_id);
	}
	return 0;
}

/* At the end of the teardown: the memory is back. */
SEC("tp_btf/exit_mmap")
int BPF_PROG(lmk_on_exit_mmap, struct mm_struct *mm)
{
	struct rss rss = {};
	__u32 i;

	lmk_for (i, 0, KILLS) {
		struct lmk_pending *kill = &kills[i & (KILLS - 1)];
		struct lmk_counters *all = current_counters();

		if (!kill->pid || kill->mm != (__u64)mm || kill->memory_back_ns)
			continue;
		/* Read anew: the compiler knows that it is `mm`, and a subprogram takes no pointer.
		 */
		read_rss(*(volatile __u64 *)&kill->mm, &rss);
		kill_notes[i & (KILLS - 1)].left_kb =
			(rss.pages[MM_FILEPAGES] + rss.pages[MM_ANONPAGES] +
			 rss.pages[MM_SWAPENTS]) *
			page_kb;
		if (!memory_is_back(kill, bpf_ktime_get_boot_ns()))
			continue;
		if (all)
			count(&all->mm_exits_seen);
		tell_memory_back(kill->kill_id);
	}
	return 0;
}

#endif
