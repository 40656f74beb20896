/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * When to look again, and whether a kill that is under way holds up the next. Plain C, like
 * decide.h.
 */
#ifndef LMK_PACE_H
#define LMK_PACE_H

#include "policy/decide.h"

/*
 * Milliseconds until the level sensor looks again: half the time that the headroom (memory
 * that is available beyond the scarcity bound) lasts at the policy's fill rate, within
 * pressure_interval_ms .. idle_interval_ms.
 *
 * Headroom is MemAvailable, not MemFree: free memory rests near the high watermark on every
 * healthy device, full of page cache that costs nothing to give up.
 */
LMK_INLINE __u32 lmk_interval_ms(const struct lmk_policy *policy, const struct lmk_sample *sample,
				 __u32 under_pressure)
{
	__u64 available_kb = lmk_available_kb(sample);
	__u64 bound_kb = lmk_scarcity_limit_kb(policy, sample);
	__u64 rate_kb_per_s = (__u64)policy->timing_fill_rate_mb_per_s * 1024;
	__u64 ms;

	if (under_pressure || available_kb <= bound_kb || !rate_kb_per_s)
		return policy->timing_pressure_interval_ms;
	ms = (available_kb - bound_kb) * 1000 / rate_kb_per_s / 2;
	if (ms < policy->timing_pressure_interval_ms)
		return policy->timing_pressure_interval_ms;
	if (ms > policy->timing_idle_interval_ms)
		return policy->timing_idle_interval_ms;
	return (__u32)ms;
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
};

enum lmk_victim {
	LMK_VICTIM_ALIVE = 0,
	LMK_VICTIM_EXITING = 1,
	LMK_VICTIM_ENDED = 2, /* a zombie at most: its parent has been told */
};

/*
 * `victim`: enum lmk_victim. Open only when the memory is back *and* the victim has ended: with
 * its memory released ahead it may still wait for a CPU to exit on, and die after the next.
 */
LMK_INLINE __u32 lmk_gate_of(const struct lmk_policy *policy, const struct lmk_pending *pending,
			     __u64 now_ns, __u32 victim)
{
	__u64 timeout_ns = (__u64)policy->timing_kill_timeout_ms * 1000000;
	__u64 retry_ns = (__u64)policy->timing_retry_ms * 1000000;

	__u32 back = pending->memory_back_ns || pending->released;

	if (!pending->pid || (back && victim == LMK_VICTIM_ENDED))
		return LMK_GATE_OPEN;
	if (now_ns > pending->signalled_ns && now_ns - pending->signalled_ns >= timeout_ns)
		return LMK_GATE_TIMEOUT;
	if (victim == LMK_VICTIM_ALIVE && !pending->exited_ns && now_ns > pending->last_signal_ns &&
	    now_ns - pending->last_signal_ns >= retry_ns)
		return LMK_GATE_RETRY;
	return LMK_GATE_WAIT;
}

#endif
