/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the two objects, lmk.bpf.c (in_kernel) and assisted.bpf.c (LMK_ASSISTED).
 *
 * in_kernel has open-coded iterators (6.7) and holds tasks by reference (6.2). assisted serves
 * kernels that have neither: its loops are bounded by constants, and a task is an address whose
 * memory is read with bpf_probe_read_kernel(), found in the kernel's table of pids. Such memory may
 * be freed and be another task's by the time it is read: who goes by it compares start times.
 */
#ifndef LMK_OBJECT_BPF_H
#define LMK_OBJECT_BPF_H

#include "kernel_types.h"

#ifdef LMK_ASSISTED

#define KILL_PATH LMK_PATH_ASSISTED

/* `end` is a constant: the verifier walks through every turn. */
#define lmk_for(i, first, end)                                                                     \
	_Pragma("clang loop unroll(disable)") for ((i) = (first); (i) < (end); (i)++)

/* task_read(task, a, b.c): task->a->b.c */
#define task_read(...) BPF_CORE_READ(__VA_ARGS__)

/* Levels of the table, 6 bits each (4 where memory is dear); pids have 22 bits. */
#define XA_LEVELS 8

/* lib/xarray.c: an entry that ends in binary 10 is a node, one in 00 a pointer. */
static __always_inline __u64 xa_node_at(__u64 entry)
{
	return (entry & 3) == 2 && entry > 4096 ? entry - 2 : 0;
}

/* kernel/pid.c, find_task_by_pid_ns() in the first namespace: the task with this tid, or 0. */
__noinline __u64 find_task(__s32 tid)
{
	__u32 mask = (__u32)(bpf_core_field_size(struct xa_node, slots) / sizeof(void *)) - 1;
	const struct task_struct *self = bpf_get_current_task_btf();
	__u64 node, entry, first = 0;
	struct task_struct *task;
	struct pid_namespace *ns;
	__u32 i;

	if (tid <= 0)
		return 0;
	ns = BPF_CORE_READ(self, thread_pid, numbers[0].ns);
	entry = (__u64)BPF_CORE_READ(ns, idr.idr_rt.xa_head);
	lmk_for (i, 0, XA_LEVELS) {
		__u8 shift = 0;
		__u32 slot;

		node = xa_node_at(entry);
		if (!node)
			break;
		bpf_probe_read_kernel(
			&shift, sizeof(shift),
			(const void *)(node + bpf_core_field_offset(struct xa_node, shift)));
		slot = (__u32)tid >> (shift & 31);
		if (!i && slot > mask)
			return 0;
		entry = 0;
		bpf_probe_read_kernel(&entry, sizeof(entry),
				      (const void *)(node +
						     bpf_core_field_offset(struct xa_node, slots) +
						     8 * (__u64)(slot & mask)));
	}
	if (!entry || entry & 3)
		return 0;
	bpf_probe_read_kernel(&first, sizeof(first),
			      (const void *)(entry + bpf_core_field_offset(struct pid, tasks) +
					     bpf_core_field_offset(struct hlist_head, first)));
	if (!first)
		return 0;
	task = (struct task_struct *)(first - bpf_core_field_offset(struct task_struct, pid_links));
	return BPF_CORE_READ(task, pid) == tid ? (__u64)task : 0;
}

static __always_inline struct task_struct *task_hold(__s32 tid)
{
	return (struct task_struct *)find_task(tid);
}

static __always_inline void task_drop(struct task_struct *task)
{
}

#else

#define KILL_PATH LMK_PATH_IN_KERNEL

#define lmk_for bpf_for

#define task_read(...) ___arrow(__VA_ARGS__)

static __always_inline struct task_struct *task_hold(__s32 tid)
{
	return bpf_task_from_pid(tid);
}

static __always_inline void task_drop(struct task_struct *task)
{
	bpf_task_release(task);
}

#endif

#endif
