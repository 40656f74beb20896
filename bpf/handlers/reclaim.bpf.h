/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reclaim, in the allocating task. These programs are accelerators: wakeup_kswapd fires only
 * while kswapd sleeps and never once kswapd is hopeless, so the level timer carries the rest.
 */
#ifndef LMK_RECLAIM_BPF_H
#define LMK_RECLAIM_BPF_H

#include "decision.bpf.h"

/* Many tasks enter reclaim at once; one look in this time is enough. */
#define RECLAIM_LOOK_NS 200000

/*
 * A user task in its own context: there a signal may be sent on any ABI. The caller knows that
 * interrupts are on.
 */
static __always_inline int decide_in_task(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (task->flags & PF_KTHREAD || !task->mm)
		return 0;
	if (bpf_ktime_get_boot_ns() - state.last_sample_ns < RECLAIM_LOOK_NS)
		return 0;
	run_decision(LMK_CARRIER_RECLAIM);
	return 0;
}

/*
 * The level timer looks at once, on this CPU: on top of this very task, if it is one that may
 * signal. Cheap, so no second copy of the decision has to be verified and run here.
 */
static __always_inline int have_timer_look(void)
{
	__u32 zero = 0;
	struct level_timer *element = bpf_map_lookup_elem(&level_timers, &zero);

	if (!element || !state.running ||
	    bpf_ktime_get_boot_ns() - state.last_sample_ns < RECLAIM_LOOK_NS)
		return 0;
	state.look_now = 1;
	bpf_timer_start(&element->timer, 0, 0);
	return 0;
}

/* The early word, before anybody stalls. */
SEC("tp_btf/mm_vmscan_wakeup_kswapd")
int BPF_PROG(lmk_on_wakeup_kswapd)
{
	return have_timer_look();
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(lmk_on_direct_reclaim)
{
	return have_timer_look();
}

/*
 * The loader takes these two instead where timers may not be used: they decide in place.
 *
 * Allocations from interrupts come with any task as current. Only one that may reclaim directly
 * (__GFP_DIRECT_RECLAIM) may sleep: a task, with interrupts on.
 */
SEC("tp_btf/mm_vmscan_wakeup_kswapd")
int BPF_PROG(lmk_in_wakeup_kswapd, int nid, int zid, int order, __u32 gfp_flags)
{
	if (!(gfp_flags & (1U << (gfp_direct_reclaim_bit & 31))))
		return 0;
	return decide_in_task();
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(lmk_in_direct_reclaim)
{
	return decide_in_task();
}

#endif
