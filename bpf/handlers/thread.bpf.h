/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The threads of a process. Any context; the caller is in an RCU section.
 */
#ifndef LMK_THREAD_BPF_H
#define LMK_THREAD_BPF_H

#include "memory.bpf.h"

#define THREADS_MAX 128

static __always_inline struct task_struct *thread_of(struct list_head *node)
{
	return (struct task_struct *)((__u64)node -
				      bpf_core_field_offset(struct task_struct, thread_node));
}

/* A task's pointers as plain numbers: a subprogram that is verified once takes no others. */
static __always_inline __u64 signal_of(const struct task_struct *task)
{
	return (__u64)BPF_CORE_READ(task, signal);
}

static __always_inline __u64 mm_of(const struct task_struct *task)
{
	return (__u64)BPF_CORE_READ(task, mm);
}

/*
 * The first thread that is not exiting and has an mm: the leader may have called pthread_exit()
 * while the process lives on, and a signal to an exiting task is refused. Nor does an exiting task
 * go along when its process is moved to another cgroup. The address of the task, or 0: it may have
 * begun to exit by the time that it is read.
 */
__noinline __u64 find_live_thread(__u64 signal)
{
	__u64 head = signal + bpf_core_field_offset(struct signal_struct, thread_head);
	__u64 node = read_u64(head);
	__u32 i;

	lmk_for (i, 0, THREADS_MAX) {
		struct task_struct *thread = thread_of((struct list_head *)node);

		if (!node || node == head)
			break;
		if (!(BPF_CORE_READ(thread, flags) & PF_EXITING) && mm_of(thread))
			return (__u64)thread;
		node = read_u64(node);
	}
	return 0;
}

#endif
