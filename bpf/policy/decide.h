/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The decision core: sample in, verdict out. Plain C, no BPF helper, no loop that needs a
 * bound, no allocation: compiled into the handlers and, for replay and tests, for the host.
 *
 * lmk_decide() takes the reasons in order of urgency and lets the first that holds give the
 * verdict:
 *
 *   full stall   `full` stall in its window at or over the limit, and memory is scarce
 *   low swap     free below a watermark, memory scarce, swap low (or none)
 *   some stall   `some` stall in its window at or over the limit, and memory is scarce
 *   watermark    free below a watermark, and memory is scarce
 *
 * "Scarce" is MemAvailable below a share of MemTotal: stall alone, or a watermark that
 * kswapd is about to restore from clean page cache, is no reason to kill.
 */
#ifndef LMK_DECIDE_H
#define LMK_DECIDE_H

#include "lmk/abi.h"

#define LMK_INLINE static inline __attribute__((always_inline, unused))

/* KiB of the watermark `level` (enum lmk.v1.Watermark); 0 for none. */
LMK_INLINE __u64 lmk_watermark_kb(const struct lmk_sample *sample, __u32 level)
{
	if (level == 1)
		return sample->wmark_min_kb;
	if (level == 2)
		return sample->wmark_low_kb;
	if (level == 3)
		return sample->wmark_high_kb;
	return 0;
}

/* MemAvailable where it is known, else what is free and on the file LRU. */
LMK_INLINE __u64 lmk_available_kb(const struct lmk_sample *sample)
{
	if (sample->known & LMK_KNOWN_AVAILABLE)
		return sample->available_kb;
	return sample->free_kb + sample->file_kb;
}

LMK_INLINE __u64 lmk_scarcity_limit_kb(const struct lmk_policy *policy,
				       const struct lmk_sample *sample)
{
	return sample->total_kb * policy->scarcity_available_below_pct / 100;
}

/* Where swap is unknown it is never called low: no kill for a number nobody measured. */
LMK_INLINE int lmk_swap_is_low(const struct lmk_policy *policy, const struct lmk_sample *sample,
			       __u64 *limit_kb)
{
	*limit_kb = sample->swap_total_kb * policy->low_swap_swap_free_low_pct / 100;
	if (!(sample->known & LMK_KNOWN_SWAP))
		return 0;
	return sample->swap_total_kb == 0 || sample->swap_free_kb < *limit_kb;
}

LMK_INLINE void lmk_decide(const struct lmk_policy *policy, const struct lmk_sample *sample,
			   struct lmk_verdict *verdict)
{
	__u64 low_swap_free_kb = lmk_watermark_kb(sample, policy->low_swap_level);
	__u64 watermark_kb = lmk_watermark_kb(sample, policy->watermark_level);
	int scarce, swap_low, some, full;

	verdict->reason = LMK_REASON_NONE;
	verdict->floor = 1001;
	verdict->breached = 0;
	verdict->pad = 0;
	verdict->available_limit_kb = lmk_scarcity_limit_kb(policy, sample);
	verdict->some_limit_us = (__u64)policy->some_stall_stall_ms * 1000;
	verdict->full_limit_us = (__u64)policy->full_stall_stall_ms * 1000;
	/* Reported: the higher of the two watermarks that a reason looks at. */
	verdict->free_limit_kb = policy->watermark_enabled ? watermark_kb : 0;
	if (policy->low_swap_enabled && low_swap_free_kb > verdict->free_limit_kb)
		verdict->free_limit_kb = low_swap_free_kb;

	scarce = lmk_available_kb(sample) < verdict->available_limit_kb;
	swap_low = lmk_swap_is_low(policy, sample, &verdict->swap_limit_kb);
	some = (sample->known & LMK_KNOWN_PSI) &&
	       sample->psi_some_window_us >= verdict->some_limit_us;
	full = (sample->known & LMK_KNOWN_PSI) &&
	       sample->psi_full_window_us >= verdict->full_limit_us;

	if (sample->free_kb < verdict->free_limit_kb)
		verdict->breached |= LMK_SIGNAL_FREE;
	if (scarce)
		verdict->breached |= LMK_SIGNAL_AVAILABLE;
	if (swap_low)
		verdict->breached |= LMK_SIGNAL_SWAP;
	if (some)
		verdict->breached |= LMK_SIGNAL_SOME;
	if (full)
		verdict->breached |= LMK_SIGNAL_FULL;

	if (!scarce)
		return;
	if (policy->full_stall_enabled && full) {
		verdict->reason = LMK_REASON_NOT_RESPONDING;
		verdict->floor = policy->full_stall_min_oom_score_adj;
	} else if (policy->low_swap_enabled && swap_low && sample->free_kb < low_swap_free_kb) {
		verdict->reason = LMK_REASON_LOW_MEM_AND_SWAP;
		verdict->floor = policy->low_swap_min_oom_score_adj;
	} else if (policy->some_stall_enabled && some) {
		verdict->reason = LMK_REASON_PARTIAL_STALL;
		verdict->floor = policy->some_stall_min_oom_score_adj;
	} else if (policy->watermark_enabled && sample->free_kb < watermark_kb) {
		verdict->reason = LMK_REASON_LOW_MEM;
		verdict->floor = policy->watermark_min_oom_score_adj;
	}
}

#endif
