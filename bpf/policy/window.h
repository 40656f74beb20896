/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * PSI from per-CPU times, and growth in a sliding window. Plain C, like decide.h.
 *
 * /proc/pressure's total is the mean of the CPUs' stall, each weighted by the time that CPU
 * was not idle (kernel/sched/psi.c: collect_percpu_times()); a window's growth is tracked as
 * the kernel's triggers do (window_update()): the growth of the window before fades out as
 * this one runs.
 */
#ifndef LMK_WINDOW_H
#define LMK_WINDOW_H

#include "policy/memory.h"

struct lmk_window {
	__u64 start_ns;
	__u64 start_value;
	__u64 prev_growth;
};

/*
 * Growth of `value` over the last `size_ns`, in the unit of value. `window` all zero starts
 * anew. The result never exceeds what really grew within two windows.
 */
LMK_INLINE __u64 lmk_window_growth(struct lmk_window *window, __u64 size_ns, __u64 now_ns,
				   __u64 value)
{
	__u64 elapsed, growth;

	if (!window->start_ns || now_ns < window->start_ns || value < window->start_value) {
		window->start_ns = now_ns;
		window->start_value = value;
		window->prev_growth = 0;
		return 0;
	}
	elapsed = now_ns - window->start_ns;
	growth = value - window->start_value;
	if (elapsed > size_ns) {
		window->start_ns = now_ns;
		window->start_value = value;
		/* A sample that comes late saw more than one window: count one window's share. */
		if (elapsed > 2 * size_ns)
			growth = growth < size_ns ? growth : size_ns;
		window->prev_growth = growth;
		return growth;
	}
	if (size_ns)
		growth += window->prev_growth * ((size_ns - elapsed) >> 10) / (size_ns >> 10);
	return growth;
}

/* One CPU's share of a PSI period, nanoseconds. */
struct lmk_psi_delta {
	__u64 some;
	__u64 full;
	__u64 nonidle;
};

struct lmk_psi_sum {
	__u64 some; /* weighted, scaled by nonidle in 2^-10 ms */
	__u64 full;
	__u64 nonidle;
};

LMK_INLINE void lmk_psi_add(struct lmk_psi_sum *sum, const struct lmk_psi_delta *cpu)
{
	__u64 weight = cpu->nonidle >> 10; /* about a microsecond: no overflow in 4 s */

	sum->nonidle += weight;
	sum->some += cpu->some * weight;
	sum->full += cpu->full * weight;
}

LMK_INLINE __u64 lmk_psi_some_ns(const struct lmk_psi_sum *sum)
{
	return sum->nonidle ? sum->some / sum->nonidle : 0;
}

LMK_INLINE __u64 lmk_psi_full_ns(const struct lmk_psi_sum *sum)
{
	return sum->nonidle ? sum->full / sum->nonidle : 0;
}

/* kernel/sched/psi.c: averages are folded every 2 s, with 11 bits after the point. */
#define LMK_PSI_PERIOD_NS 2000000000ULL
#define LMK_PSI_FIXED_1	  2048
#define LMK_PSI_EXP_10S	  1677

/*
 * avg10 after one period of `period_ns` with `stall_ns` of stall, as the kernel's calc_avgs();
 * in percent with 11 bits after the point. Periods that nobody looked at count as quiet.
 */
LMK_INLINE __u64 lmk_psi_avg10(__u64 avg, __u64 stall_ns, __u64 period_ns)
{
	__u64 missed = period_ns / LMK_PSI_PERIOD_NS, pct;

	if (missed > 1) {
		for (int i = 0; i < 32; i++) {
			if ((__u64)i < missed - 1)
				avg = avg * LMK_PSI_EXP_10S / LMK_PSI_FIXED_1;
		}
		period_ns -= (missed - 1) * LMK_PSI_PERIOD_NS;
	}
	if (!period_ns)
		return avg;
	if (stall_ns > period_ns)
		stall_ns = period_ns;
	pct = stall_ns * 100 / (period_ns >> 11 ? period_ns >> 11 : 1);
	return (avg * LMK_PSI_EXP_10S + pct * (LMK_PSI_FIXED_1 - LMK_PSI_EXP_10S)) /
	       LMK_PSI_FIXED_1;
}

#endif
