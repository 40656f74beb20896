/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One process as the victim order sees it. Any context; the caller is in an RCU section.
 */
#ifndef LMK_PROCESS_BPF_H
#define LMK_PROCESS_BPF_H

#include "registered.bpf.h"
#include "rules.bpf.h"

static __always_inline bool is_protected(__s32 pid, __u64 start_ns)
{
	struct lmk_protected *entry = bpf_map_lookup_elem(&protected, &pid);

	return entry && entry->start_ns / TICK_NS == start_ns / TICK_NS;
}

/* When the process got the oom_score_adj it has, as far as that was seen. */
static __always_inline __u64 adj_since(__s32 pid, __u64 start_ns)
{
	struct adj_since *seen = bpf_map_lookup_elem(&adj_times, &pid);

	return seen && seen->start_ns == start_ns ? seen->since_ns : start_ns;
}

/* A kill that was given up on: its victim ignored the signal or cannot run, choose another. */
static __always_inline bool is_given_up(__s32 pid, __u64 start_ns)
{
	__u32 i;

	lmk_for (i, 0, KILLS) {
		const struct lmk_pending *kill = &kills[i & (KILLS - 1)];

		if (kill->pid == pid && kill->start_ns == start_ns &&
		    kill_notes[i & (KILLS - 1)].given_up && !kill->memory_back_ns)
			return true;
	}
	return false;
}

/* Identity and state of `process`: what decides whether it may die. */
static __always_inline void read_identity(struct task_struct *leader, struct lmk_process *process)
{
	__u32 users, task_flags = task_read(leader, flags);
	__u32 signal_flags = task_read(leader, signal, flags);
	int live = task_read(leader, signal, live.counter);
	__u64 mm = mm_of(leader);

	process->pid = task_read(leader, tgid);
	process->tid = task_read(leader, pid);
	process->start_ns = task_read(leader, start_boottime);
	process->adj_since_ns = process->start_ns;
	process->uid = task_read(leader, real_cred, uid.val);
	process->adj = task_read(leader, signal, oom_score_adj);
	process->threads = live > 0 ? (__u32)live : 0;
	process->flags = 0;
	process->rule = 0;
	if (task_flags & PF_KTHREAD) {
		process->flags = LMK_PROC_KTHREAD;
		process->mm = 0;
		return;
	}
	take_registered(process);
	/* init of a PID namespace ignores a SIGKILL that is not forced, and BPF's is not. */
	if (signal_flags & SIGNAL_UNKILLABLE)
		process->flags |= LMK_PROC_INIT;
	if (signal_flags & SIGNAL_GROUP_EXIT || !process->threads ||
	    task_read(leader, signal, shared_pending.signal.sig[0]) & (1UL << (SIGKILL - 1)))
		process->flags |= LMK_PROC_DYING;
	if ((!mm || task_flags & PF_EXITING) && !(process->flags & LMK_PROC_DYING)) {
		const struct task_struct *thread = (void *)find_live_thread(signal_of(leader));

		mm = mm_of(thread);
		process->tid = BPF_CORE_READ(thread, pid);
	}
	/* One that is just being forked is not yet in its cgroup: no rule would be known. */
	if (!mm || !process->tid || task_read(leader, __state) & TASK_NEW)
		process->flags |= LMK_PROC_NO_MM;
	process->mm = mm;
	if (is_protected(process->pid, process->start_ns))
		process->flags |= LMK_PROC_PROTECTED;
	if (is_given_up(process->pid, process->start_ns))
		process->flags |= LMK_PROC_DYING;
	process->rule =
		(__u32)find_rule(process->uid, process->pid, process->start_ns, signal_of(leader));
	/* Each live thread holds one reference: more are another process, or /proc readers. */
	users = mm ? read_u64(mm + bpf_core_field_offset(struct mm_struct, mm_users)) & 0xffffffff
		   : 0;
	if (users > process->threads)
		process->flags |= LMK_PROC_SHARED_MM;
}

/* Four of struct percpu_counter, which has 40 bytes where its CPUs may come and go. */
#define COUNTERS_BYTES 160

/* Pages, by the kernel's MM_* index. */
struct rss {
	__u64 pages[NR_MM_COUNTERS];
};

/* Before 6.2: threads keep up to 64 pages aside until they fold them in. */
static __always_inline void read_plain_rss(__u64 mm, struct rss *rss)
{
	__u64 base = mm + bpf_core_field_offset(struct mm_struct___before_6_2, rss_stat) +
		     bpf_core_field_offset(struct mm_rss_stat, count);

	for (__u32 i = 0; i < NR_MM_COUNTERS; i++)
		rss->pages[i] = read_counter(base + i * sizeof(__u64));
}

/* Exact, as /proc/PID/status: the shared count plus what each CPU has not folded in yet. */
static __always_inline void read_percpu_rss(__u64 mm, struct rss *rss)
{
	__u64 base = mm + bpf_core_field_offset(struct mm_struct, rss_stat);
	__u32 size = bpf_core_type_size(struct percpu_counter);
	__u64 parts[NR_MM_COUNTERS];
	__u64 all[COUNTERS_BYTES / sizeof(__u64)];
	__u32 cpu;

	/* At once: a call of the helper costs more than the bytes, and this is done for each. */
	if (size * NR_MM_COUNTERS > sizeof(all) ||
	    bpf_probe_read_kernel(all, size * NR_MM_COUNTERS, (const void *)base))
		return;
	for (__u32 i = 0; i < NR_MM_COUNTERS; i++) {
		const char *counter = (const char *)all + i * size;

		rss->pages[i] = *(const __u64 *)(counter + bpf_core_field_offset(
								   struct percpu_counter, count));
		parts[i] = *(const __u64 *)(counter +
					    bpf_core_field_offset(struct percpu_counter, counters));
	}
	lmk_for (cpu, 0, LMK_CPUS_MAX) {
		__u64 offset;

		if (cpu >= cpu_count)
			break;
		offset = percpu_offset[cpu & (LMK_CPUS_MAX - 1)];
		for (__u32 i = 0; i < NR_MM_COUNTERS; i++) {
			__s32 part = 0;

			bpf_probe_read_kernel(&part, sizeof(part),
					      (const void *)(parts[i] + offset));
			rss->pages[i] += (__u64)(__s64)part;
		}
	}
	for (__u32 i = 0; i < NR_MM_COUNTERS; i++) {
		if ((__s64)rss->pages[i] < 0)
			rss->pages[i] = 0;
	}
}

__noinline int read_rss(__u64 mm, struct rss *rss)
{
	if (!rss)
		return -EINVAL;
	if (bpf_core_type_exists(struct mm_rss_stat))
		read_plain_rss(mm, rss);
	else
		read_percpu_rss(mm, rss);
	return 0;
}

static __always_inline void read_memory(struct lmk_process *process)
{
	__u64 mm = process->mm;
	struct rss rss = {};

	read_rss(mm, &rss);
	process->file_kb = rss.pages[MM_FILEPAGES] * page_kb;
	process->anon_kb = rss.pages[MM_ANONPAGES] * page_kb;
	process->swap_kb = rss.pages[MM_SWAPENTS] * page_kb;
	process->shmem_kb = rss.pages[MM_SHMEMPAGES] * page_kb;
	process->pgtables_kb =
		read_counter(mm + bpf_core_field_offset(struct mm_struct, pgtables_bytes)) >> 10;
}

/* What only a report needs: comm, and page faults over all threads (/proc/PID/stat 10, 12). */
__noinline int read_story(struct lmk_process *process)
{
	struct task_struct *leader;
	__u64 signal, head, node;
	__u32 i;

	if (!process)
		return -EINVAL;
	leader = task_hold(process->pid);
	if (!leader)
		return -ESRCH;
	BPF_CORE_READ_STR_INTO(&process->comm, leader, comm);
	signal = signal_of(leader);
	process->min_flt = task_read(leader, signal, min_flt);
	process->maj_flt = task_read(leader, signal, maj_flt);
	head = signal + bpf_core_field_offset(struct signal_struct, thread_head);
	node = read_u64(head);
	lmk_for (i, 0, THREADS_MAX) {
		struct task_struct *thread = thread_of((struct list_head *)node);

		if (!node || node == head)
			break;
		process->min_flt += BPF_CORE_READ(thread, min_flt);
		process->maj_flt += BPF_CORE_READ(thread, maj_flt);
		node = read_u64(node);
	}
	task_drop(leader);
	return 0;
}

#endif
