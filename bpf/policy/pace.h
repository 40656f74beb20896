/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * When to look again, and whether a kill that is under way holds up the next. Plain C, like
 * decide.h.
 */
#ifndef LMK_PACE_H
#define LMK_PACE_H

#include "policy/cadence.h"

/* A policy without a bound of scarcity rests when this share of memory is available. */
#define LMK_REST_PCT 10

/* MemAvailable below which the device is not at rest. */
LMK_INLINE __u64 lmk_rest_limit_kb(const struct lmk_policy *policy, const struct lmk_sample *sample)
{
	if (policy->scarcity_available_below_pct >= 100)
		return sample->total_kb * LMK_REST_PCT / 100;
	return lmk_scarcity_limit_kb(policy, sample);
}

/* Whether the decision is to be made again every pressure_interval_ms, or poll. */
LMK_INLINE int lmk_is_pressed(const struct lmk_policy *policy, const struct lmk_sample *sample,
			      const struct lmk_history *history, __u32 reason)
{
	if (policy->timing_evaluate == LMK_EVALUATE_ON_PSI_EVENTS)
		return history->poll_next_ns && sample->time_ns < history->poll_until_ns;
	return reason || lmk_available_kb(sample) < lmk_rest_limit_kb(policy, sample);
}

/*
 * Milliseconds until the level sensor looks again: half the time that the headroom (memory
 * that is available beyond the scarcity bound) lasts at the policy's fill rate, within
 * pressure_interval_ms .. idle_interval_ms. While anybody stalls, often enough to see a stall
 * that passes its limit in time; the kernel itself looks ten times in a window.
 *
 * Headroom is MemAvailable, not MemFree: free memory rests near the high watermark on every
 * healthy device, full of page cache that costs nothing to give up.
 */
LMK_INLINE __u32 lmk_interval_ms(const struct lmk_policy *policy, const struct lmk_sample *sample,
				 __u32 under_pressure)
{
	__u32 least_ms = policy->timing_evaluate == LMK_EVALUATE_ON_PSI_EVENTS
				 ? policy->timing_poll_short_ms
				 : policy->timing_pressure_interval_ms;
	__u32 stall_ms = policy->stall_psi_window_size_ms / 20;
	__u64 available_kb = lmk_available_kb(sample);
	__u64 bound_kb = lmk_rest_limit_kb(policy, sample);
	__u64 rate_kb_per_s = (__u64)policy->timing_fill_rate_mb_per_s * 1024;
	__u64 ms = 0;

	if (available_kb > bound_kb && rate_kb_per_s)
		ms = (available_kb - bound_kb) * 1000 / rate_kb_per_s / 2;
	if (under_pressure)
		ms = 0;
	if (sample->psi_some_window_us && ms > stall_ms)
		ms = stall_ms;
	if (ms > policy->timing_idle_interval_ms)
		ms = policy->timing_idle_interval_ms;
	return ms < least_ms ? least_ms : (__u32)ms;
}

/* A kill under way. */
struct lmk_pending {
	__u64 kill_id;
	__u64 start_ns;	    /* identity of pid */
	__u64 mm;	    /* memory is back when this mm's exit_mmap ends */
	__u64 signalled_ns; /* first signal */
	__u64 last_signal_ns;
	__u64 exited_ns;      /* last thread gone; 0: not seen */
	__u64 memory_back_ns; /* 0: not seen */
	__u64 footprint_kb;   /* at the signal */
	__s32 pid;	      /* 0: no kill under way */
	__u32 attempts;
	__u32 released; /* process_mrelease(2) gave the memory back ahead of the exit */
	__u32 pad;
};

enum lmk_gate {
	LMK_GATE_OPEN = 0,
	LMK_GATE_WAIT = 1,    /* the victim is exiting or giving memory back */
	LMK_GATE_RETRY = 2,   /* no sign of exit: signal it again, choose nobody else */
	LMK_GATE_TIMEOUT = 3, /* waited long enough: open, and counted */
	LMK_GATE_BUDGET = 4,  /* no more kills in this minute */
};

enum lmk_victim {
	LMK_VICTIM_ALIVE = 0,
	LMK_VICTIM_EXITING = 1,
	LMK_VICTIM_ENDED = 2, /* a zombie at most: its parent has been told */
};

/* How long the end of a victim whose memory is back already holds up the next kill. */
#define LMK_END_PATIENCE_NS 200000000ULL

/*
 * `victim`: enum lmk_victim. Open when the victim has ended and, where the policy waits for it,
 * its memory is back: with its memory released ahead it may still wait for a CPU to exit on, and
 * die after the next. That is not waited for without end: it has nothing to give any more.
 */
LMK_INLINE __u32 lmk_gate_of(const struct lmk_policy *policy, const struct lmk_pending *pending,
			     __u64 now_ns, __u32 victim)
{
	__u64 timeout_ns = (__u64)policy->timing_kill_timeout_ms * 1000000;
	__u64 retry_ns = (__u64)policy->timing_retry_ms * 1000000;
	__u64 back_ns = pending->memory_back_ns ? pending->memory_back_ns : pending->last_signal_ns;
	__u32 is_back = pending->memory_back_ns || pending->released;
	__u32 back = is_back || !policy->kills_wait_for_memory;

	if (!pending->pid || (back && victim == LMK_VICTIM_ENDED))
		return LMK_GATE_OPEN;
	if (policy->kills_wait_for_memory && is_back && victim == LMK_VICTIM_EXITING &&
	    now_ns > back_ns && now_ns - back_ns >= LMK_END_PATIENCE_NS)
		return LMK_GATE_OPEN;
	if (timeout_ns && now_ns > pending->signalled_ns &&
	    now_ns - pending->signalled_ns >= timeout_ns)
		return LMK_GATE_TIMEOUT;
	if (victim == LMK_VICTIM_ALIVE && !pending->exited_ns && now_ns > pending->last_signal_ns &&
	    now_ns - pending->last_signal_ns >= retry_ns)
		return LMK_GATE_RETRY;
	return LMK_GATE_WAIT;
}

/* A would-be kill holds up the next verdict until nothing has been amiss for so long. */
#define LMK_SHADOW_REST_NS 1000000000ULL

/*
 * The gate after a would-be kill (dry run): nobody signalled the victim, so it closes as if the
 * kill were under way until somebody else has ended it, memory has recovered by itself, or
 * shadow_timeout_ms has passed.
 * `pressed_ns`: the last time that something was amiss.
 */
LMK_INLINE __u32 lmk_shadow_gate_of(const struct lmk_policy *policy,
				    const struct lmk_pending *pending, __u64 now_ns, __u32 victim,
				    __u64 pressed_ns)
{
	__u64 timeout_ns = (__u64)policy->timing_shadow_timeout_ms * 1000000;

	/* From when it is no dry run any more, nothing waits for a kill that was none. */
	if (!policy->dry_run || !pending->pid || victim == LMK_VICTIM_ENDED)
		return LMK_GATE_OPEN;
	if (now_ns > pressed_ns && now_ns - pressed_ns >= LMK_SHADOW_REST_NS)
		return LMK_GATE_OPEN;
	if (timeout_ns && now_ns > pending->signalled_ns &&
	    now_ns - pending->signalled_ns >= timeout_ns)
		return LMK_GATE_TIMEOUT;
	return LMK_GATE_WAIT;
}

/*
 * The budget as credit in time: a kill costs a minute / max_per_minute, a minute's worth can be
 * saved up. Whether there is enough for one more at `now_ns`; a policy without a limit has.
 */
LMK_INLINE int lmk_budget_has(const struct lmk_policy *policy, struct lmk_history *history,
			      __u64 now_ns)
{
	__u64 minute_ns = 60 * 1000000000ULL;

	if (!policy->kills_max_per_minute)
		return 1;
	if (!history->budget_at_ns)
		history->budget_ns = minute_ns;
	else if (now_ns > history->budget_at_ns)
		history->budget_ns += now_ns - history->budget_at_ns;
	if (history->budget_ns > minute_ns)
		history->budget_ns = minute_ns;
	history->budget_at_ns = now_ns;
	return history->budget_ns >= minute_ns / policy->kills_max_per_minute;
}

LMK_INLINE void lmk_budget_spend(const struct lmk_policy *policy, struct lmk_history *history)
{
	__u64 cost_ns = policy->kills_max_per_minute
				? 60 * 1000000000ULL / policy->kills_max_per_minute
				: 0;

	history->budget_ns -= cost_ns < history->budget_ns ? cost_ns : history->budget_ns;
}

/* Kills left in the budget now; -1: there is no limit. */
LMK_INLINE __s32 lmk_budget_left(const struct lmk_policy *policy, struct lmk_history *history,
				 __u64 now_ns)
{
	if (!policy->kills_max_per_minute)
		return -1;
	lmk_budget_has(policy, history, now_ns);
	return (__s32)(history->budget_ns / (60 * 1000000000ULL / policy->kills_max_per_minute));
}

#endif
