/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory stall of the whole device, from the per-CPU times of psi_system. Call under the claim,
 * with preemption off; any context.
 *
 * What makes these numbers hard (measured on 6.1 to 7.3):
 * - times[] are u32 nanoseconds: they wrap every 4.29 s, so they are only ever subtracted.
 * - times[] moves when a state ends. A stall still going on is `now - state_start`, and
 *   state_start is sched_clock, which is not the clock a program can read: the offset is
 *   learnt from the own run queue's clock, which lags behind and never runs ahead.
 * - no seqcount reaches every kernel: a read that saw a writer half-way may come out low,
 *   which a later one makes good, or is taken again.
 * - a kernel without CONFIG_KALLSYMS_ALL has no address for a per-CPU variable: there user space
 *   passes what /proc/pressure/memory says, which is brought up to the moment with each read.
 * - /proc's total is the CPUs' mean weighted by non-idle time, over periods of 2 s.
 */
#ifndef LMK_PSI_BPF_H
#define LMK_PSI_BPF_H

#include "maps.bpf.h"

#define PSI_PERIOD_NS LMK_PSI_PERIOD_NS
/* A "growth" above this is a small step back of a torn read, not 3.7 s of stall. */
#define PSI_STEP_BACK 0xe0000000U

struct psi_cpu {
	__u32 some, full, nonidle; /* last raw values */
	__u32 period;		   /* that the sums below belong to */
	struct lmk_psi_delta sum;  /* of this period */
};

struct psi_cpu psi_cpus[LMK_CPUS_MAX];

/* Not static: clang would take it apart, and the kernel refuse the BTF of the pieces. */
struct {
	__u64 clock_offset; /* sched_clock - CLOCK_MONOTONIC, as an s64 */
	__u64 clock_ns;	    /* when it was last reckoned */
	__u64 period_start_ns;
	__u32 period;
	__u32 primed;  /* the last values are a base to subtract from */
	__u64 some_ns; /* growth since load, finely weighted: for the windows */
	__u64 full_ns;
	__u64 past_some_ns; /* growth in past periods, as /proc weighs it: for the report */
	__u64 past_full_ns;
	__u64 full_avg10; /* as the kernel keeps it: percent, 11 bits after the point */
	struct lmk_window some_window;
	struct lmk_window full_window;
} psi;

/* What user space told is believed for this long. */
#define PSI_TOLD_FRESH_NS (10 * 1000 * LMK_MS)

/* Not static, as above. */
struct {
	__u64 at_ns; /* 0: never */
	__u64 some_us;
	__u64 full_us;
	__u64 some_base_us; /* at the first time: totals count from load */
	__u64 full_base_us;
	__u32 full_avg10_pct100;
	__u32 pad;
} told_psi;

static __always_inline bool has_psi_ksyms(void)
{
	return bpf_ksym_exists(&system_group_pcpu) && bpf_ksym_exists(&runqueues);
}

/* The running maximum fades by 1/2048, more than clocks drift, so that it follows both ways. */
static __always_inline __u64 sched_clock_now(void)
{
	const struct rq *rq = bpf_this_cpu_ptr(&runqueues);
	__u64 mono = bpf_ktime_get_ns();
	__s64 offset = (__s64)(rq->clock - mono), known = (__s64)psi.clock_offset;

	if (psi.clock_ns)
		known -= (__s64)((mono - psi.clock_ns) >> 11);
	if (!psi.clock_ns || offset > known)
		known = offset;
	psi.clock_offset = (__u64)known;
	psi.clock_ns = mono;
	return mono + (__u64)known;
}

static __always_inline __u32 psi_step(__u32 *last, __u32 value)
{
	__u32 step = value - *last;

	if (step >= PSI_STEP_BACK)
		return 0;
	*last = value;
	return step;
}

struct psi_read {
	__u64 start;
	__u32 times[8];
	__u32 mask;
};

static __always_inline void psi_read(const struct psi_group_cpu *cpu, struct psi_read *read)
{
	for (int i = 0; i < 3; i++) {
		read->start = *(const volatile __u64 *)&cpu->state_start;
		read->mask = *(const volatile __u32 *)&cpu->state_mask;
		bpf_probe_read_kernel(read->times, sizeof(read->times), cpu->times);
		if (read->start == *(const volatile __u64 *)&cpu->state_start)
			break;
	}
}

struct psi_sums {
	struct lmk_psi_sum fine;   /* since the last look */
	struct lmk_psi_sum period; /* since the period began */
};

/* Adds what one CPU stalled since the last look. Above 0: there is no such CPU. */
__noinline int psi_add_cpu(__u32 index, __u64 now, struct psi_sums *sums)
{
	const struct psi_group_cpu *cpu;
	__u32 some_i = (__u32)bpf_core_enum_value(enum psi_states, PSI_MEM_SOME);
	__u32 full_i = (__u32)bpf_core_enum_value(enum psi_states, PSI_MEM_FULL);
	__u32 idle_i = (__u32)bpf_core_enum_value(enum psi_states, PSI_NONIDLE);
	struct psi_cpu *last = &psi_cpus[index & (LMK_CPUS_MAX - 1)];
	struct lmk_psi_delta delta;
	struct psi_read read = {};
	__u32 going_on;

	if (!has_psi_ksyms())
		return -ENOENT;
	cpu = bpf_per_cpu_ptr(&system_group_pcpu, index);
	if (!cpu)
		return 1;
	if (!sums)
		return -EINVAL;
	psi_read(cpu, &read);
	going_on = now > read.start ? (__u32)(now - read.start) : 0;
	if (read.mask & (1U << (some_i & 31))) {
		read.times[some_i & 7] += going_on;
		if (read.mask & (1U << (full_i & 31)))
			read.times[full_i & 7] += going_on;
	}
	if (read.mask & (1U << (idle_i & 31)))
		read.times[idle_i & 7] += going_on;
	if (!psi.primed) {
		last->some = read.times[some_i & 7];
		last->full = read.times[full_i & 7];
		last->nonidle = read.times[idle_i & 7];
		return 0;
	}
	delta.some = psi_step(&last->some, read.times[some_i & 7]);
	delta.full = psi_step(&last->full, read.times[full_i & 7]);
	delta.nonidle = psi_step(&last->nonidle, read.times[idle_i & 7]);
	lmk_psi_add(&sums->fine, &delta);
	if (last->period != psi.period) {
		__builtin_memset(&last->sum, 0, sizeof(last->sum));
		last->period = psi.period;
	}
	last->sum.some += delta.some;
	last->sum.full += delta.full;
	last->sum.nonidle += delta.nonidle;
	lmk_psi_add(&sums->period, &last->sum);
	return 0;
}

static __always_inline void give_psi(const struct lmk_policy *policy, struct lmk_sample *sample,
				     __u64 some_ns, __u64 full_ns)
{
	__u64 window_ns = policy->stall_psi_window_size_ms * LMK_MS, now = sample->time_ns;

	sample->psi_some_window_us =
		lmk_window_growth(&psi.some_window, window_ns, now, some_ns) / 1000;
	sample->psi_full_window_us =
		lmk_window_growth(&psi.full_window, window_ns, now, full_ns) / 1000;
	sample->psi_some_counted_us = some_ns / 1000;
	sample->psi_full_counted_us = full_ns / 1000;
	sample->known |= LMK_KNOWN_PSI;
}

static __always_inline int sense_told_psi(const struct lmk_policy *policy,
					  struct lmk_sample *sample)
{
	if (!told_psi.at_ns || sample->time_ns - told_psi.at_ns > PSI_TOLD_FRESH_NS)
		return -ENOENT;
	sample->psi_some_total_us = told_psi.some_us - told_psi.some_base_us;
	sample->psi_full_total_us = told_psi.full_us - told_psi.full_base_us;
	sample->full_avg10_pct100 = told_psi.full_avg10_pct100;
	give_psi(policy, sample, told_psi.some_us * 1000, told_psi.full_us * 1000);
	return 0;
}

__noinline int sense_psi(struct lmk_sample *sample)
{
	const struct lmk_policy *policy = current_policy();
	struct psi_sums sums = {};
	__u64 now, some_ns, full_ns;
	__u32 index;

	if (!sample || !policy)
		return -EINVAL;
	if (!psi_on)
		return -ENOENT;
	if (!has_psi_ksyms())
		return sense_told_psi(policy, sample);
	now = sched_clock_now();
	lmk_for (index, 0, LMK_CPUS_MAX) {
		if (psi_add_cpu(index, now, &sums))
			break;
	}
	if (!psi.primed) {
		psi.primed = 1;
		psi.period_start_ns = now;
	}
	psi.some_ns += lmk_psi_some_ns(&sums.fine);
	psi.full_ns += lmk_psi_full_ns(&sums.fine);
	some_ns = psi.past_some_ns + lmk_psi_some_ns(&sums.period);
	full_ns = psi.past_full_ns + lmk_psi_full_ns(&sums.period);
	if (now - psi.period_start_ns >= PSI_PERIOD_NS) {
		psi.full_avg10 = lmk_psi_avg10(psi.full_avg10, lmk_psi_full_ns(&sums.period),
					       now - psi.period_start_ns);
		psi.period++;
		psi.period_start_ns = now;
		psi.past_some_ns = some_ns;
		psi.past_full_ns = full_ns;
	}
	sample->psi_some_total_us = some_ns / 1000;
	sample->psi_full_total_us = full_ns / 1000;
	/* The weights of an unfinished period shift: a total never goes back for that. */
	if (sample->psi_some_total_us < state.last.psi_some_total_us)
		sample->psi_some_total_us = state.last.psi_some_total_us;
	if (sample->psi_full_total_us < state.last.psi_full_total_us)
		sample->psi_full_total_us = state.last.psi_full_total_us;
	sample->full_avg10_pct100 = (__u32)(psi.full_avg10 * 100 / LMK_PSI_FIXED_1);
	give_psi(policy, sample, psi.some_ns, psi.full_ns);
	return 0;
}

#endif
