/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Stall as it counts for the decision: in its window, but not what lies before the last kill's
 * memory came back, and by who stalls. Plain C, like decide.h.
 */
#ifndef LMK_POLICY_STALL_H
#define LMK_POLICY_STALL_H

#include "policy/memory.h"

/* The gate is open: what stalled until a kill's memory was back is not held against the device. */
LMK_INLINE void lmk_note_open(const struct lmk_sample *sample, struct lmk_history *history)
{
	if (!history->killed || history->stall_rebased)
		return;
	history->stall_rebased = 1;
	history->some_base_us = sample->psi_some_counted_us;
	history->full_base_us = sample->psi_full_counted_us;
}

LMK_INLINE __u64 lmk_stall_since(const struct lmk_policy *policy, __u64 window_us, __u64 counted_us,
				 __u64 base_us)
{
	__u64 since_us = counted_us > base_us ? counted_us - base_us : 0;

	return policy->stall_since_kill && since_us < window_us ? since_us : window_us;
}

LMK_INLINE __u64 lmk_full_us(const struct lmk_policy *policy, const struct lmk_sample *sample,
			     const struct lmk_history *history)
{
	return lmk_stall_since(policy, sample->psi_full_window_us, sample->psi_full_counted_us,
			       history->full_base_us);
}

/* `some` stall, each part of it weighted by who stalls. */
LMK_INLINE __u64 lmk_weighted_some_us(const struct lmk_policy *policy,
				      const struct lmk_sample *sample,
				      const struct lmk_history *history)
{
	__u64 foreground = sample->reclaim_foreground_us,
	      background = sample->reclaim_background_us;
	__u64 some_us = lmk_stall_since(policy, sample->psi_some_window_us,
					sample->psi_some_counted_us, history->some_base_us);

	if (!(sample->known & LMK_KNOWN_RECLAIM) || !(foreground + background))
		return some_us;
	return some_us *
	       (foreground * policy->stall_foreground_weight_pct +
		background * policy->stall_background_weight_pct) /
	       ((foreground + background) * 100);
}

LMK_INLINE int lmk_partial_stall(const struct lmk_policy *policy, const struct lmk_sample *sample,
				 const struct lmk_history *history)
{
	return (sample->known & LMK_KNOWN_PSI) &&
	       lmk_weighted_some_us(policy, sample, history) >=
		       (__u64)policy->stall_psi_partial_stall_ms * 1000;
}

LMK_INLINE int lmk_complete_stall(const struct lmk_policy *policy, const struct lmk_sample *sample,
				  const struct lmk_history *history)
{
	return (sample->known & LMK_KNOWN_PSI) &&
	       lmk_full_us(policy, sample, history) >=
		       (__u64)policy->stall_psi_complete_stall_ms * 1000;
}

#endif
