/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The decision core: sample and history in, verdict out. Plain C, no BPF helper, no loop that
 * needs a bound, no allocation: compiled into the handlers and, for replay and tests, for the
 * host.
 *
 * An evaluation is
 *
 *   lmk_note_open()  no kill is under way (any more)
 *   lmk_look_of()    whether to evaluate, and what woke us (cadence.h)
 *   lmk_track()      the history is brought up to the sample
 *   lmk_decide()     the reasons in lmkd's order; the first that holds gives the verdict
 *   lmk_note_verdict()
 *   lmk_note_kill()  if somebody was killed for it
 *   lmk_note_look()  when to look again (cadence.h)
 *
 * lmk_decide() changes nothing: it may be asked while the gate is closed, too.
 */
#ifndef LMK_DECIDE_H
#define LMK_DECIDE_H

#include "policy/loss.h"
#include "policy/stall.h"
#include "policy/thrashing.h"

/* A floor that no process reaches. */
#define LMK_FLOOR_NOBODY 1001

/* Why an evaluation is made. */
enum lmk_look {
	LMK_LOOK_NONE = 0,     /* it is not */
	LMK_LOOK_POLL = 1,     /* to see how things go on */
	LMK_LOOK_PARTIAL = 2,  /* `some` stall is over its limit */
	LMK_LOOK_COMPLETE = 3, /* `full` stall is */
};

enum lmk_reclaiming {
	LMK_RECLAIMING_NONE = 0,
	LMK_RECLAIMING_KSWAPD = 1,
	LMK_RECLAIMING_DIRECT = 2,
};

LMK_INLINE __u32 lmk_reclaiming_now(const struct lmk_sample *sample,
				    const struct lmk_history *history)
{
	if (sample->known & LMK_KNOWN_RECLAIM) {
		if (sample->direct_reclaimers)
			return LMK_RECLAIMING_DIRECT;
		return sample->kswapd_awake ? LMK_RECLAIMING_KSWAPD : LMK_RECLAIMING_NONE;
	}
	/* Without tracepoints, as lmkd without memevents: by what was scanned meanwhile. */
	if (sample->pgscan_direct != history->pgscan_direct_last)
		return LMK_RECLAIMING_DIRECT;
	if (sample->pgscan_kswapd != history->pgscan_kswapd_last ||
	    sample->pgrefill != history->pgrefill_last)
		return LMK_RECLAIMING_KSWAPD;
	return LMK_RECLAIMING_NONE;
}

/* Once in each evaluation, before lmk_decide(). */
LMK_INLINE void lmk_track(const struct lmk_policy *policy, const struct lmk_sample *sample,
			  struct lmk_history *history)
{
	__u64 refaults = lmk_refaults(policy, sample);

	if (!history->primed) {
		history->primed = 1;
		history->thrashing_limit_pct = policy->thrashing_thrashing_limit_pct;
		history->refault_last = refaults;
		history->pgscan_kswapd_last = sample->pgscan_kswapd;
		history->pgscan_direct_last = sample->pgscan_direct;
		history->pgrefill_last = sample->pgrefill;
		lmk_thrashing_rebase(policy, sample, history);
		lmk_loss_rebase(sample, history);
	}
	history->cycle_after_kill = history->killed;
	if (history->killed) {
		history->killed = 0;
		history->thrashing_before = 0;
		lmk_thrashing_rebase(policy, sample, history);
		/* What goes on taking memory goes on: the rate stays. */
		lmk_loss_rebase(sample, history);
	}
	history->reclaiming = lmk_reclaiming_now(sample, history);
	history->refaulted = history->primed < 2 || refaults != history->refault_last;
	history->primed = 2;
	history->refault_last = refaults;
	history->pgscan_kswapd_last = sample->pgscan_kswapd;
	history->pgscan_direct_last = sample->pgscan_direct;
	history->pgrefill_last = sample->pgrefill;
	lmk_thrashing_update(policy, sample, history);
	lmk_loss_update(sample, history);
}

/*
 * What the reasons are made of. Volatile: each is stored before the next is looked for, so that
 * the kernel's verifier, which does not look into memory, meets them one by one and not in every
 * combination.
 */
struct lmk_facts {
	volatile int scarce, roomy, soon, swap_low, partial, complete, critical_stall;
	volatile int thrashing, thrashing_base, thrashing_critical, swap_util;
	volatile int direct, stuck, filecache_low;
	volatile __u32 level;
};

/* What is measured, beside what it is held against. */
LMK_INLINE void lmk_measure(const struct lmk_policy *policy, const struct lmk_sample *sample,
			    const struct lmk_history *history, struct lmk_verdict *verdict)
{
	verdict->available_limit_kb = lmk_scarcity_limit_kb(policy, sample);
	verdict->free_kb = lmk_usable_free_kb(sample);
	verdict->loss_ahead_kb = lmk_loss_ahead_kb(policy, history);
	verdict->free_limit_kb = lmk_watermark_kb(sample, policy->low_mem_level);
	if (verdict->loss_ahead_kb)
		verdict->free_limit_kb += sample->protection_kb + verdict->loss_ahead_kb;
	verdict->swap_free_kb = lmk_swap_free_kb(policy, sample);
	verdict->swap_limit_kb = lmk_swap_limit_kb(policy, sample);
	verdict->some_us = lmk_weighted_some_us(policy, sample, history);
	verdict->full_us = lmk_full_us(policy, sample, history);
	verdict->some_limit_us = (__u64)policy->stall_psi_partial_stall_ms * 1000;
	verdict->full_limit_us = (__u64)policy->stall_psi_complete_stall_ms * 1000;
	verdict->reclaim_limit_us = (__u64)policy->reclaim_direct_reclaim_threshold_ms * 1000;
	verdict->filecache_limit_kb = policy->thrashing_filecache_min_kb;
	verdict->thrashing_pct = history->thrashing_pct;
	/* Before anything was evaluated it is what the policy says. */
	verdict->thrashing_limit_pct = history->primed ? history->thrashing_limit_pct
						       : policy->thrashing_thrashing_limit_pct;
	verdict->thrashing_max_pct = history->thrashing_max_pct;
	verdict->swap_util_limit_pct = policy->swap_swap_util_max_pct;
	verdict->swap_util_pct = lmk_swap_util_pct(sample, verdict->swap_free_kb);
	verdict->level = lmk_level_of(policy, sample);
}

/* After lmk_measure(). `look`: enum lmk_look. */
LMK_INLINE void lmk_find_facts(const struct lmk_policy *policy, const struct lmk_sample *sample,
			       const struct lmk_history *history, __u32 look,
			       const struct lmk_verdict *verdict, struct lmk_facts *facts)
{
	__u32 psi = sample->known & LMK_KNOWN_PSI;

	facts->level = verdict->level;
	facts->scarce = lmk_is_scarce(policy, sample);
	facts->roomy = lmk_is_roomy(policy, sample);
	facts->soon = verdict->loss_ahead_kb && verdict->free_kb < verdict->free_limit_kb;
	facts->swap_low = lmk_swap_is_low(policy, sample, verdict->swap_free_kb);
	facts->partial = psi && verdict->some_us >= verdict->some_limit_us;
	facts->complete = look == LMK_LOOK_COMPLETE;
	facts->critical_stall =
		policy->stall_stall_limit_critical_pct < 100 &&
		sample->full_avg10_pct100 > policy->stall_stall_limit_critical_pct * 100;
	facts->thrashing = verdict->thrashing_pct > verdict->thrashing_limit_pct;
	facts->thrashing_base = verdict->thrashing_pct > policy->thrashing_thrashing_limit_pct;
	facts->thrashing_critical =
		verdict->thrashing_pct >= policy->thrashing_thrashing_limit_critical_pct;
	facts->swap_util = verdict->swap_util_limit_pct < 100 &&
			   verdict->swap_util_pct > verdict->swap_util_limit_pct;
	facts->direct = history->reclaiming == LMK_RECLAIMING_DIRECT;
	facts->stuck = facts->direct && verdict->reclaim_limit_us &&
		       sample->reclaim_longest_us > verdict->reclaim_limit_us;
	facts->filecache_low =
		history->check_filecache && sample->file_kb < verdict->filecache_limit_kb;
}

/* For reports: which signals are on the bad side of their limit. */
LMK_INLINE void lmk_find_breached(const struct lmk_policy *policy, const struct lmk_sample *sample,
				  const struct lmk_facts *facts, struct lmk_verdict *verdict)
{
	volatile __u32 *breached = &verdict->breached;

	*breached = 0;
	*breached |= facts->soon || facts->level >= lmk_level_below(policy->low_mem_level)
			     ? LMK_SIGNAL_FREE
			     : 0;
	*breached |= facts->scarce ? LMK_SIGNAL_AVAILABLE : 0;
	*breached |= facts->swap_low ? LMK_SIGNAL_SWAP : 0;
	*breached |= facts->partial ? LMK_SIGNAL_SOME : 0;
	*breached |= (sample->known & LMK_KNOWN_PSI) && verdict->full_us >= verdict->full_limit_us
			     ? LMK_SIGNAL_FULL
			     : 0;
	*breached |= facts->thrashing ? LMK_SIGNAL_THRASHING : 0;
	*breached |= facts->swap_util ? LMK_SIGNAL_SWAP_UTIL : 0;
	*breached |= facts->stuck ? LMK_SIGNAL_RECLAIM : 0;
	*breached |= facts->filecache_low ? LMK_SIGNAL_FILECACHE : 0;
	*breached |= facts->critical_stall ? LMK_SIGNAL_CRITICAL_STALL : 0;
}

/* A reason with its floor, unless the floor says that it is switched off. */
LMK_INLINE int lmk_give(struct lmk_verdict *verdict, int holds, __u32 reason, __s32 floor)
{
	if (!holds || floor >= LMK_FLOOR_NOBODY)
		return 0;
	verdict->reason = reason;
	verdict->floor = floor;
	return 1;
}

/*
 * lmkd's order (lmkd.cpp, __mp_event_psi). PARTIAL_STALL is this project's: work that is held up
 * for want of memory, before free memory alone.
 */
LMK_INLINE void lmk_find_reason(const struct lmk_policy *policy, const struct lmk_history *history,
				const struct lmk_facts *facts, struct lmk_verdict *verdict)
{
	int below_min = facts->level >= LMK_LEVEL_MIN;
	int below_low = facts->level >= LMK_LEVEL_LOW;
	int low_swap =
		facts->swap_low && facts->level >= lmk_level_below(policy->swap_low_swap_level);
	__s32 perceptible = policy->floors_perceptible_min_score;
	__s32 critical = policy->floors_critical_min_score;
	__s32 swap_floor = below_min || facts->thrashing_critical ? critical : perceptible;
	__s32 thrashing_floor = facts->thrashing_critical ? critical : perceptible;

	if (lmk_give(verdict, history->cycle_after_kill && below_min,
		     LMK_REASON_PRESSURE_AFTER_KILL, policy->low_mem_pressure_after_kill_min_score))
		return;
	if (lmk_give(verdict, facts->complete, LMK_REASON_NOT_RESPONDING,
		     policy->stall_complete_stall_min_score))
		return;
	if (lmk_give(verdict, facts->swap_low && facts->thrashing_base,
		     LMK_REASON_LOW_SWAP_AND_THRASHING, swap_floor))
		return;
	if (lmk_give(verdict, low_swap, LMK_REASON_LOW_MEM_AND_SWAP, swap_floor))
		return;
	if (lmk_give(verdict, below_low && facts->swap_util, LMK_REASON_LOW_MEM_AND_SWAP_UTIL,
		     policy->swap_swap_util_min_score))
		return;
	if (lmk_give(verdict, below_low && facts->thrashing, LMK_REASON_LOW_MEM_AND_THRASHING,
		     thrashing_floor) ||
	    lmk_give(verdict, facts->direct && facts->thrashing,
		     LMK_REASON_DIRECT_RECL_AND_THRASHING, thrashing_floor))
		return;
	if (lmk_give(verdict, facts->stuck, LMK_REASON_DIRECT_RECL_STUCK,
		     policy->reclaim_direct_reclaim_min_score))
		return;
	if (lmk_give(verdict, facts->filecache_low, LMK_REASON_LOW_FILECACHE_AFTER_THRASHING,
		     policy->thrashing_filecache_min_score))
		return;
	if (lmk_give(verdict, facts->partial, LMK_REASON_PARTIAL_STALL,
		     policy->stall_partial_stall_min_score))
		return;
	lmk_give(verdict, facts->soon || facts->level >= lmk_level_below(policy->low_mem_level),
		 LMK_REASON_LOW_MEM, policy->low_mem_lowmem_min_oom_score);
}

/* Whether there is anything to decide at all. */
LMK_INLINE int lmk_is_idle(const struct lmk_policy *policy, const struct lmk_history *history,
			   const struct lmk_facts *facts, __u32 look)
{
	int spared = !facts->scarce && (facts->roomy || !policy->scarcity_unless_thrashing ||
					!(facts->thrashing || facts->complete));

	if (look == LMK_LOOK_NONE || spared)
		return 1;
	return policy->timing_early_out && history->reclaiming == LMK_RECLAIMING_NONE &&
	       !history->refaulted;
}

/* After lmk_find_facts(): reason and floor. */
LMK_INLINE void lmk_conclude(const struct lmk_policy *policy, const struct lmk_history *history,
			     const struct lmk_facts *facts, __u32 look, struct lmk_verdict *verdict)
{
	verdict->reason = LMK_REASON_NONE;
	verdict->floor = LMK_FLOOR_NOBODY;
	verdict->idle = lmk_is_idle(policy, history, facts, look) ? 1 : 0;
	if (verdict->idle)
		return;
	lmk_find_reason(policy, history, facts, verdict);
	if (verdict->reason && facts->critical_stall && verdict->floor > 0)
		verdict->floor = 0;
}

/* `look`: enum lmk_look; with LMK_LOOK_NONE there is no reason, only what is measured. */
LMK_INLINE void lmk_decide(const struct lmk_policy *policy, const struct lmk_sample *sample,
			   const struct lmk_history *history, __u32 look,
			   struct lmk_verdict *verdict)
{
	struct lmk_facts facts = {};

	lmk_measure(policy, sample, history, verdict);
	lmk_find_facts(policy, sample, history, look, verdict, &facts);
	lmk_find_breached(policy, sample, &facts, verdict);
	lmk_conclude(policy, history, &facts, look, verdict);
}

/* Reasons for which a kill lowers the limit of thrashing. */
LMK_INLINE int lmk_is_for_thrashing(const struct lmk_verdict *verdict)
{
	return verdict->reason == LMK_REASON_LOW_MEM_AND_THRASHING ||
	       verdict->reason == LMK_REASON_DIRECT_RECL_AND_THRASHING;
}

/* After lmk_decide(), whether or not somebody can be killed for it. */
LMK_INLINE void lmk_note_verdict(const struct lmk_verdict *verdict, struct lmk_history *history)
{
	__u32 reason = verdict->reason;

	if (verdict->idle)
		return;
	if (lmk_is_for_thrashing(verdict) || reason == LMK_REASON_LOW_SWAP_AND_THRASHING)
		history->check_filecache = 1;
	else if ((reason == LMK_REASON_NONE || reason == LMK_REASON_PARTIAL_STALL ||
		  reason == LMK_REASON_LOW_MEM) &&
		 !(verdict->breached & LMK_SIGNAL_FILECACHE))
		history->check_filecache = 0; /* it came so far, and there is cache enough */
}

/* Somebody was killed for `verdict` (or would have been, in a dry run). */
LMK_INLINE void lmk_note_kill(const struct lmk_policy *policy, const struct lmk_verdict *verdict,
			      struct lmk_history *history)
{
	history->killed = 1;
	history->stall_rebased = 0;
	history->thrashing_max_pct = 0;
	if (lmk_is_for_thrashing(verdict))
		lmk_thrashing_cut(policy, history);
}

#endif
