/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * When a look at the device is an evaluation. Plain C, like decide.h.
 *
 * EVALUATE_CONTINUOUSLY: every look is. EVALUATE_ON_PSI_EVENTS: as lmkd, which the kernel wakes
 * when stall passes its limit, at most once a window for each kind of stall (kernel/sched/psi.c,
 * update_triggers), and which then polls for the length of a window. While a higher kind of event
 * is being dealt with, a lower one is not heard.
 */
#ifndef LMK_CADENCE_H
#define LMK_CADENCE_H

#include "policy/decide.h"

#define LMK_EVALUATE_ON_PSI_EVENTS 2

LMK_INLINE int lmk_event_is_due(__u64 last_ns, __u64 now_ns, __u64 window_ns)
{
	return !last_ns || now_ns - last_ns >= window_ns;
}

/* enum lmk_look, and what of it has to be remembered. */
LMK_INLINE __u32 lmk_look_of(const struct lmk_policy *policy, const struct lmk_sample *sample,
			     struct lmk_history *history)
{
	__u64 window_ns = (__u64)policy->stall_psi_window_size_ms * 1000000, now = sample->time_ns;
	int partial = lmk_partial_stall(policy, sample, history);
	int complete = lmk_complete_stall(policy, sample, history);
	__u32 look = LMK_LOOK_NONE;

	if (policy->timing_evaluate != LMK_EVALUATE_ON_PSI_EVENTS)
		return complete ? LMK_LOOK_COMPLETE : partial ? LMK_LOOK_PARTIAL : LMK_LOOK_POLL;
	if (partial && lmk_event_is_due(history->partial_event_ns, now, window_ns)) {
		history->partial_event_ns = now;
		look = LMK_LOOK_PARTIAL;
	}
	if (complete && lmk_event_is_due(history->complete_event_ns, now, window_ns)) {
		history->complete_event_ns = now;
		look = LMK_LOOK_COMPLETE;
	}
	if (look != LMK_LOOK_NONE && look >= history->last_level) {
		history->last_level = look;
		return look;
	}
	if (history->poll_next_ns && now >= history->poll_next_ns && now < history->poll_until_ns) {
		history->last_level = LMK_LOOK_NONE;
		return LMK_LOOK_POLL;
	}
	return LMK_LOOK_NONE;
}

/* After an evaluation for `look`: whether and when the next poll is due. */
LMK_INLINE void lmk_note_look(const struct lmk_policy *policy, const struct lmk_sample *sample,
			      struct lmk_history *history, const struct lmk_verdict *verdict,
			      __u32 look)
{
	__u64 window_ns = (__u64)policy->stall_psi_window_size_ms * 1000000, now = sample->time_ns;
	int swap_low = verdict->breached & LMK_SIGNAL_SWAP;
	__u32 poll_ms = swap_low || history->killed ? policy->timing_poll_short_ms
						    : policy->timing_poll_long_ms;

	if (look == LMK_LOOK_NONE || policy->timing_evaluate != LMK_EVALUATE_ON_PSI_EVENTS)
		return;
	if (look != LMK_LOOK_POLL || history->killed ||
	    history->reclaiming == LMK_RECLAIMING_DIRECT)
		history->poll_until_ns = now + window_ns;
	history->poll_next_ns = now < history->poll_until_ns ? now + poll_ms * 1000000ULL : 0;
	if (history->killed) /* as soon as the victim has ended: until then the gate is closed */
		history->poll_next_ns = now;
}

#endif
