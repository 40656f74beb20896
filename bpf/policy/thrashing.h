/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Thrashing, as lmkd reckons it (__mp_event_psi): pages refaulted in the running second as a
 * share of the LRU they came from, the growth of the second before fading by half with each
 * second; and a limit that falls with each kill for it until a second has passed. Plain C.
 */
#ifndef LMK_POLICY_THRASHING_H
#define LMK_POLICY_THRASHING_H

#include "policy/memory.h"

#define LMK_THRASHING_WINDOW_NS 1000000000ULL

/* Pages that came back, of the kind that the policy counts. */
LMK_INLINE __u64 lmk_refaults(const struct lmk_policy *policy, const struct lmk_sample *sample)
{
	return sample->refault_file +
	       (policy->thrashing_count_anon_refaults ? sample->refault_anon : 0);
}

/* KiB of the LRU lists that they are held against. */
LMK_INLINE __u64 lmk_refault_lru_kb(const struct lmk_policy *policy,
				    const struct lmk_sample *sample)
{
	return sample->file_kb + (policy->thrashing_count_anon_refaults ? sample->anon_lru_kb : 0);
}

LMK_INLINE void lmk_thrashing_rebase(const struct lmk_policy *policy,
				     const struct lmk_sample *sample, struct lmk_history *history)
{
	history->thrashing_since_ns = sample->time_ns;
	history->refault_base = lmk_refaults(policy, sample);
	history->lru_base_kb = lmk_refault_lru_kb(policy, sample);
}

/* Percent: pages refaulted since the base, of the LRU at the base. */
LMK_INLINE __u32 lmk_thrashing_growth(const struct lmk_policy *policy,
				      const struct lmk_sample *sample,
				      const struct lmk_history *history)
{
	__u64 now = lmk_refaults(policy, sample);
	__u64 grown = now > history->refault_base ? now - history->refault_base : 0;
	__u64 pct = 100 * grown * sample->page_kb /
		    (history->lru_base_kb + (sample->page_kb ? sample->page_kb : 1));

	return pct > 1000000 ? 1000000 : (__u32)pct;
}

/* Brings thrashing_pct up to this sample; once in each evaluation. */
LMK_INLINE void lmk_thrashing_update(const struct lmk_policy *policy,
				     const struct lmk_sample *sample, struct lmk_history *history)
{
	__u64 since_ns = sample->time_ns - history->thrashing_since_ns, windows;
	__u32 running = 0;

	if (since_ns > LMK_THRASHING_WINDOW_NS) {
		history->thrashing_before = lmk_thrashing_growth(policy, sample, history);
		windows = since_ns / LMK_THRASHING_WINDOW_NS;
		/* Over the limit the first second stands as it is: it is what is acted on. */
		if (windows > 1 || history->thrashing_before < history->thrashing_limit_pct)
			history->thrashing_before =
				windows < 32 ? history->thrashing_before >> windows : 0;
		lmk_thrashing_rebase(policy, sample, history);
		history->thrashing_limit_pct = policy->thrashing_thrashing_limit_pct;
	} else {
		running = lmk_thrashing_growth(policy, sample, history);
	}
	history->thrashing_pct = running + history->thrashing_before;
	if (history->thrashing_pct > history->thrashing_max_pct)
		history->thrashing_max_pct = history->thrashing_pct;
}

/* After a kill for thrashing. */
LMK_INLINE void lmk_thrashing_cut(const struct lmk_policy *policy, struct lmk_history *history)
{
	__u32 decay_pct = policy->thrashing_thrashing_limit_decay_pct;

	history->thrashing_limit_pct =
		history->thrashing_limit_pct * (decay_pct < 100 ? 100 - decay_pct : 0) / 100;
}

#endif
