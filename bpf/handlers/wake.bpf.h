/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reclaim begins: the agent's deciding thread, which runs the decision at the interval that the
 * headroom sets, is woken to run it now. In the allocating task; only writes to the ring.
 */
#ifndef LMK_WAKE_BPF_H
#define LMK_WAKE_BPF_H

#include "reclaimers.bpf.h"

/* Many tasks enter reclaim at once; one look in this time is enough. */
#define WAKE_NS LMK_MS

static __always_inline int have_agent_look(void)
{
	struct lmk_event_head event = {};

	if (!state.running || bpf_ktime_get_boot_ns() - state.last_sample_ns < WAKE_NS)
		return 0;
	if (__sync_val_compare_and_swap(&state.look_now, 0, 1))
		return 0;
	emit(&event, LMK_EVENT_LOOK, sizeof(event));
	return 0;
}

/* The early word, before anybody stalls. */
SEC("tp_btf/mm_vmscan_wakeup_kswapd")
int BPF_PROG(lmk_on_wakeup_kswapd)
{
	return have_agent_look();
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(lmk_on_direct_reclaim)
{
	return have_agent_look();
}

#endif
