/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * How much memory there is, in the three ways that reasons ask for it: against the watermarks,
 * easily available, free in swap. Plain C: no BPF helper, no loop that needs a bound.
 */
#ifndef LMK_POLICY_MEMORY_H
#define LMK_POLICY_MEMORY_H

#include "lmk/model.h"

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

/* The enum lmk_level that is below the watermark `level` (enum lmk.v1.Watermark). */
LMK_INLINE __u32 lmk_level_below(__u32 level)
{
	return level >= 1 && level <= 3 ? 4 - level : LMK_LEVEL_MIN + 1;
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

LMK_INLINE int lmk_is_scarce(const struct lmk_policy *policy, const struct lmk_sample *sample)
{
	if (policy->scarcity_available_below_pct >= 100)
		return 1;
	return lmk_available_kb(sample) < lmk_scarcity_limit_kb(policy, sample);
}

/* Free memory that watermarks are for; CMA pages serve movable allocations only. */
LMK_INLINE __u64 lmk_usable_free_kb(const struct lmk_sample *sample)
{
	return sample->free_kb > sample->cma_free_kb ? sample->free_kb - sample->cma_free_kb : 0;
}

/*
 * Twice what the kernel reclaims up to, and more than is called scarce, lies free: whoever stalls
 * or thrashes now reads back what went while memory was short, and a kill would not hasten that.
 */
LMK_INLINE int lmk_is_roomy(const struct lmk_policy *policy, const struct lmk_sample *sample)
{
	__u64 free_kb = lmk_usable_free_kb(sample);

	return free_kb >= lmk_scarcity_limit_kb(policy, sample) &&
	       free_kb >= 2 * (sample->wmark_high_kb + sample->protection_kb);
}

/*
 * enum lmk_level. lmkd (get_lowest_watermark) compares MemFree - CmaFree with the sums over all
 * zones of watermark + largest protection. The allocator looks at each zone by itself: it is only
 * in need when no zone is above its own mark.
 */
LMK_INLINE __u32 lmk_level_of(const struct lmk_policy *policy, const struct lmk_sample *sample)
{
	__u64 free_kb = lmk_usable_free_kb(sample);

	if (policy->low_mem_watermark_per_zone)
		return sample->zones_below;
	if (free_kb < sample->wmark_min_kb + sample->protection_kb)
		return LMK_LEVEL_MIN;
	if (free_kb < sample->wmark_low_kb + sample->protection_kb)
		return LMK_LEVEL_LOW;
	if (free_kb < sample->wmark_high_kb + sample->protection_kb)
		return LMK_LEVEL_HIGH;
	return LMK_LEVEL_NONE;
}

/* Percent: bytes of swapped memory per byte of memory that they take. 0: free swap is free. */
LMK_INLINE __u64 lmk_swap_ratio_pct(const struct lmk_policy *policy,
				    const struct lmk_sample *sample)
{
	__u32 div = policy->swap_swap_compression_ratio_div;

	if (policy->swap_measure_compression && (sample->known & LMK_KNOWN_COMPRESSION))
		return sample->compression_pct;
	return (__u64)policy->swap_swap_compression_ratio * 100 / (div ? div : 1);
}

/* lmkd: what can be given to swap (or used) without taking anything from anybody. */
LMK_INLINE __u64 lmk_easy_available_kb(const struct lmk_policy *policy,
				       const struct lmk_sample *sample, __u64 ratio_pct)
{
	__u64 easy_kb = sample->free_kb + sample->inactive_file_kb;

	if (!policy->low_mem_relaxed_available_memory || ratio_pct <= 100)
		return easy_kb;
	easy_kb = sample->free_kb + sample->file_kb;
	easy_kb -= sample->dirty_kb < easy_kb ? sample->dirty_kb : easy_kb;
	/* What compresses gives back all but its compressed size. */
	return easy_kb + sample->anon_lru_kb * (ratio_pct - 100) / ratio_pct;
}

/* Free swap, as far as there is memory to hold what would be compressed into it. */
LMK_INLINE __u64 lmk_swap_free_kb(const struct lmk_policy *policy, const struct lmk_sample *sample)
{
	__u64 ratio_pct = lmk_swap_ratio_pct(policy, sample);
	__u64 room_kb;

	if (!ratio_pct)
		return sample->swap_free_kb;
	room_kb = lmk_easy_available_kb(policy, sample, ratio_pct) * ratio_pct / 100;
	return room_kb < sample->swap_free_kb ? room_kb : sample->swap_free_kb;
}

LMK_INLINE __u64 lmk_swap_limit_kb(const struct lmk_policy *policy, const struct lmk_sample *sample)
{
	return sample->swap_total_kb * policy->swap_swap_free_low_percentage / 100;
}

/* Where swap is unknown it is never called low: no kill for a number nobody measured. */
LMK_INLINE int lmk_swap_is_low(const struct lmk_policy *policy, const struct lmk_sample *sample,
			       __u64 swap_free_kb)
{
	if (!(sample->known & LMK_KNOWN_SWAP))
		return 0;
	if (!sample->swap_total_kb)
		return policy->swap_no_swap_is_low != 0;
	return swap_free_kb < lmk_swap_limit_kb(policy, sample);
}

/* Percent of what is swapped or could be that is swapped. */
LMK_INLINE __u32 lmk_swap_util_pct(const struct lmk_sample *sample, __u64 swap_free_kb)
{
	__u64 used_kb =
		sample->swap_total_kb > swap_free_kb ? sample->swap_total_kb - swap_free_kb : 0;
	__u64 could_kb = sample->anon_lru_kb + sample->shmem_kb + used_kb;

	return could_kb ? (__u32)(used_kb * 100 / could_kb) : 0;
}

#endif
