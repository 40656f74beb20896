/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * How fast free memory goes, and what that comes to within the policy's horizon: a kill takes its
 * time to give memory back, so it has to begin before there is none. Plain C, like decide.h.
 */
#ifndef LMK_POLICY_LOSS_H
#define LMK_POLICY_LOSS_H

#include "policy/memory.h"

/* Free memory is counted in batches on each CPU: in a shorter time they would show. */
#define LMK_LOSS_SPAN_NS 25000000ULL

LMK_INLINE void lmk_loss_rebase(const struct lmk_sample *sample, struct lmk_history *history)
{
	history->loss_since_ns = sample->time_ns;
	history->loss_base_kb = lmk_usable_free_kb(sample);
}

/* Once in each evaluation: KiB per second, half of it what it was before. */
LMK_INLINE void lmk_loss_update(const struct lmk_sample *sample, struct lmk_history *history)
{
	__u64 span_ns = sample->time_ns - history->loss_since_ns;
	__u64 free_kb = lmk_usable_free_kb(sample), lost_kb;

	if (span_ns < LMK_LOSS_SPAN_NS)
		return;
	lost_kb = history->loss_base_kb > free_kb ? history->loss_base_kb - free_kb : 0;
	history->loss_kb_per_s =
		(history->loss_kb_per_s + lost_kb * 1000000 / (span_ns / 1000)) / 2;
	lmk_loss_rebase(sample, history);
}

/* KiB that will be gone when a kill that begins now has given its memory back. */
LMK_INLINE __u64 lmk_loss_ahead_kb(const struct lmk_policy *policy,
				   const struct lmk_history *history)
{
	return history->loss_kb_per_s * policy->low_mem_horizon_ms / 1000;
}

#endif
