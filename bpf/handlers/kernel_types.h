/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel as the handlers see it: only the members they use, found at load time by CO-RE
 * (preserve_access_index), so that no vmlinux.h is needed to build and one object serves
 * every kernel. A `___suffix` is a flavour: another shape of the same type or function.
 */
#ifndef LMK_KERNEL_TYPES_H
#define LMK_KERNEL_TYPES_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;

#define NULL ((void *)0)
#define true 1
#define false 0

/* UAPI numbers (linux/bpf.h, linux/time.h, asm-generic/errno-base.h, linux/sched.h). */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27
};
enum { CLOCK_MONOTONIC = 1 };
enum { EPERM = 1, ENOENT = 2, ESRCH = 3, EBUSY = 16, EINVAL = 22, EOPNOTSUPP = 95, ESTALE = 116 };
enum { PF_EXITING = 0x00000004, PF_MEMALLOC = 0x00000800, PF_KTHREAD = 0x00200000 };
enum { TASK_NEW = 0x00000800 };
enum { SIGKILL = 9 };
/* include/linux/sched/signal.h, unchanged since 2.6 */
enum { SIGNAL_GROUP_EXIT = 0x00000004, SIGNAL_UNKILLABLE = 0x00000040 };

struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct bpf_wq {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct bpf_task_work {
	__u64 opaque;
} __attribute__((aligned(8)));

struct bpf_iter_num {
	__u64 opaque[1];
} __attribute__((aligned(8)));
struct bpf_iter_task {
	__u64 opaque[3];
} __attribute__((aligned(8)));

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Complete, not declared: libbpf takes a kfunc with a mere declaration in it as absent. */
struct bpf_map {
	__u32 id;
};

struct list_head {
	struct list_head *next, *prev;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__s64 counter;
} atomic_long_t;

typedef struct {
	unsigned int val;
} kuid_t;

typedef struct {
	unsigned long sig[1];
} sigset_t;

struct cred {
	kuid_t uid;
};

struct sigpending {
	sigset_t signal;
};

struct signal_struct {
	atomic_t live;
	int nr_threads;
	struct list_head thread_head;
	struct sigpending shared_pending;
	unsigned int flags;
	short oom_score_adj;
	unsigned long min_flt, maj_flt;
};

struct percpu_counter {
	__s64 count;
	__s32 *counters;
};

/* Until 6.1; since then each count is a percpu_counter. */
struct mm_rss_stat {
	atomic_long_t count[4];
};

struct mm_struct___before_6_2 {
	struct mm_rss_stat rss_stat;
};

struct mm_struct {
	struct percpu_counter rss_stat[4];
	atomic_t mm_users;
	atomic_long_t pgtables_bytes;
};

/* The table of pids: an xarray of struct pid, each with the tasks that have it. */

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct xa_node {
	unsigned char shift;
	void *slots[64];
};

struct xarray {
	void *xa_head;
};

struct idr {
	struct xarray idr_rt;
};

struct pid_namespace {
	struct idr idr;
};

struct upid {
	struct pid_namespace *ns;
};

struct pid {
	struct hlist_head tasks[1];
	struct upid numbers[1];
};

struct cgroup_subsys_state;

struct kernfs_node {
	__u64 id;
};

/* `ancestors`: since 6.1 (7f203bc89eb6), the root first and itself last. */
struct cgroup {
	struct kernfs_node *kn;
	int level;
	struct cgroup *ancestors[1];
};

struct css_set {
	struct cgroup_subsys_state *subsys[1];
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	unsigned int __state;
	unsigned int flags;
	struct mm_struct *mm;
	int exit_state;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct hlist_node pid_links[1];
	struct list_head thread_node;
	unsigned long min_flt, maj_flt;
	__u64 start_boottime;
	const struct cred *real_cred;
	char comm[16];
	struct signal_struct *signal;
	struct css_set *cgroups;
};

/* signals */

struct kernel_siginfo {
	struct {
		int si_signo;
		int si_errno;
		int si_code;
	};
};

/* What the tracepoint records; here only to know which arguments it has. */
struct trace_event_raw_mark_victim {
	unsigned int uid;
};

/* zone and node */

struct zone {
	unsigned long _watermark[3];
	unsigned long watermark_boost;
	long lowmem_reserve[1];
	atomic_long_t managed_pages;
	atomic_long_t vm_stat[1];
};

struct wait_queue_head {
	struct list_head head;
};
typedef struct wait_queue_head wait_queue_head_t;

typedef struct pglist_data {
	struct zone node_zones[1];
	int node_id;
	wait_queue_head_t kswapd_wait;
	unsigned long totalreserve_pages;
	atomic_long_t vm_stat[1];
} pg_data_t;

struct lruvec {
	struct pglist_data *pgdat;
};

struct mem_cgroup_per_node {
	struct lruvec lruvec;
};

struct mem_cgroup {
	struct mem_cgroup_per_node *nodeinfo[1];
};

/* PSI */

struct psi_group_cpu {
	__u32 state_mask;
	__u32 times[7];
	__u64 state_start;
};

struct rq {
	__u64 clock;
};

enum zone_type { __MAX_NR_ZONES = 5 };
enum zone_stat_item { NR_FREE_PAGES = 0, NR_FREE_CMA_PAGES = 9 };
enum node_stat_item {
	NR_INACTIVE_ANON,
	NR_ACTIVE_ANON,
	NR_FILE_DIRTY,
	NR_INACTIVE_FILE,
	NR_ACTIVE_FILE,
	NR_SLAB_RECLAIMABLE_B,
	WORKINGSET_REFAULT_ANON,
	WORKINGSET_REFAULT_FILE,
	NR_ANON_MAPPED,
	NR_SHMEM,
	NR_KERNEL_MISC_RECLAIMABLE,
};
/* CONFIG_IRQ_TIME_ACCOUNTING adds PSI_IRQ_FULL before PSI_NONIDLE. */
enum psi_states { PSI_MEM_SOME = 2, PSI_MEM_FULL = 3, PSI_NONIDLE = 6 };
enum cgroup_subsys_id { memory_cgrp_id = 4 };
enum pid_type { PIDTYPE_PID, PIDTYPE_TGID };
enum { MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES, NR_MM_COUNTERS };

/* Contexts of iterator programs. */

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

/* include/uapi: not an enum of the UAPI headers, but in every BTF since the iterator (6.7). */
enum { BPF_TASK_ITER_ALL_PROCS = 0 };

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/* Variables of the kernel. Typed ones work whatever kptr_restrict says. */
extern const struct psi_group_cpu system_group_pcpu __ksym __weak;
extern const struct rq runqueues __ksym __weak;

/* Kernel functions; the file that uses one says since when it exists. */
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym __weak;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym __weak;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym __weak;
extern int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task,
			     unsigned int flags) __ksym __weak;
extern struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it) __ksym __weak;
extern void bpf_iter_task_destroy(struct bpf_iter_task *it) __ksym __weak;
extern struct task_struct *bpf_task_from_pid(int pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;
extern void bpf_rcu_read_lock(void) __ksym __weak;
extern void bpf_rcu_read_unlock(void) __ksym __weak;
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;
extern int bpf_send_signal_task(struct task_struct *task, int sig, enum pid_type type,
				__u64 value) __ksym __weak;

#endif
