/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is in direct reclaim, and since when: per task, by the tracepoints at its begin and end.
 * lmkd has one flag for the whole device, which any end clears while others are still stuck.
 *
 * The tracepoint programs run in the allocating task and only touch a slot of their own; what is
 * read from the slots is sensed under the claim.
 */
#ifndef LMK_RECLAIMERS_BPF_H
#define LMK_RECLAIMERS_BPF_H

#include "registered.bpf.h"

/* Tasks in direct reclaim at one time; more are counted, not timed. */
#define RECLAIMERS 64
#define PROBES	   4

struct reclaimer {
	__u64 task; /* address, an identity only; 0: free, and taken atomically */
	__u64 begin_ns;
	__s32 tid;
	__u32 foreground;
};

struct reclaimer reclaimers[RECLAIMERS];

/* Not static: clang would take it apart, and the kernel refuse the BTF of the pieces. */
struct {
	__u64 foreground_ns; /* in reclaims that have ended; atomic */
	__u64 background_ns;
	struct lmk_window foreground_window;
	struct lmk_window background_window;
} reclaim_times;

static __always_inline bool is_foreground(const struct task_struct *task)
{
	const struct lmk_policy *policy = current_policy();

	return policy && counted_adj(task) <= policy->stall_foreground_up_to_score;
}

static __always_inline void note_reclaim_begin(struct task_struct *task)
{
	__u32 at = (__u32)task->pid;

	__sync_fetch_and_add(&state.direct_reclaimers, 1);
	for (int i = 0; i < PROBES; i++) {
		struct reclaimer *slot = &reclaimers[(at + i) & (RECLAIMERS - 1)];

		if (__sync_val_compare_and_swap(&slot->task, 0, (__u64)task))
			continue;
		slot->tid = task->pid;
		slot->foreground = is_foreground(task);
		slot->begin_ns = bpf_ktime_get_boot_ns();
		return;
	}
}

static __always_inline void note_reclaim_end(struct task_struct *task)
{
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 at = (__u32)task->pid;

	/* Begun before the handlers were attached: not counted in, so not counted out. */
	if (__sync_fetch_and_add(&state.direct_reclaimers, -1) <= 0)
		__sync_fetch_and_add(&state.direct_reclaimers, 1);
	for (int i = 0; i < PROBES; i++) {
		struct reclaimer *slot = &reclaimers[(at + i) & (RECLAIMERS - 1)];

		if (slot->task != (__u64)task)
			continue;
		if (slot->begin_ns && now > slot->begin_ns)
			__sync_fetch_and_add(slot->foreground ? &reclaim_times.foreground_ns
							      : &reclaim_times.background_ns,
					     now - slot->begin_ns);
		slot->begin_ns = 0;
		slot->task = 0;
		return;
	}
}

/* A task whose end was missed (a program that runs already misses its event) reclaims no more. */
static __always_inline bool still_reclaims(const struct reclaimer *slot)
{
	const struct task_struct *task = (const struct task_struct *)slot->task;

	return BPF_CORE_READ(task, pid) == slot->tid && BPF_CORE_READ(task, flags) & PF_MEMALLOC;
}

struct reclaim_sums {
	__u64 foreground_ns, background_ns, longest_ns;
};

__noinline int add_reclaimer(__u32 index, __u64 now, struct reclaim_sums *sums)
{
	struct reclaimer *slot = &reclaimers[index & (RECLAIMERS - 1)];
	__u64 begin = slot->begin_ns, lasts;

	if (!sums)
		return -EINVAL;
	if (!slot->task || !begin || now <= begin)
		return 0;
	if (!still_reclaims(slot)) {
		slot->begin_ns = 0;
		slot->task = 0;
		return 0;
	}
	lasts = now - begin;
	if (slot->foreground)
		sums->foreground_ns += lasts;
	else
		sums->background_ns += lasts;
	if (lasts > sums->longest_ns)
		sums->longest_ns = lasts;
	return 0;
}

/* Under the claim: the windows are its holder's. Reclaims still going on count, too. */
__noinline int sense_reclaimers(struct lmk_sample *sample)
{
	const struct lmk_policy *policy = current_policy();
	struct reclaim_sums sums = {};
	__u64 window_ns;
	__u32 i;

	if (!sample || !policy || !count_reclaim)
		return -EINVAL;
	sums.foreground_ns = reclaim_times.foreground_ns;
	sums.background_ns = reclaim_times.background_ns;
	if (sample->direct_reclaimers) {
		lmk_for (i, 0, RECLAIMERS)
			add_reclaimer(i, sample->time_ns, &sums);
	}
	window_ns = policy->stall_psi_window_size_ms * LMK_MS;
	sample->reclaim_foreground_us =
		lmk_window_growth(&reclaim_times.foreground_window, window_ns, sample->time_ns,
				  sums.foreground_ns) /
		1000;
	sample->reclaim_background_us =
		lmk_window_growth(&reclaim_times.background_window, window_ns, sample->time_ns,
				  sums.background_ns) /
		1000;
	sample->reclaim_longest_us = sums.longest_ns / 1000;
	sample->known |= LMK_KNOWN_RECLAIM;
	return 0;
}

/* Counted apart and briefly: a program that is running on this CPU misses its next event. */
SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(lmk_count_reclaim_begin)
{
	note_reclaim_begin(bpf_get_current_task_btf());
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(lmk_count_reclaim_end)
{
	note_reclaim_end(bpf_get_current_task_btf());
	return 0;
}

#endif
