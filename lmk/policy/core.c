// SPDX-License-Identifier: Apache-2.0
/*
 * The decision core (bpf/policy/) as a shared library of this machine: each inline function
 * under a name that ctypes can find. No logic here.
 */
#include <linux/types.h>

#include "policy/decide.h"
#include "policy/pace.h"
#include "policy/rank.h"
#include "policy/window.h"

void lmk_core_decide(const struct lmk_policy *policy, const struct lmk_sample *sample,
		     struct lmk_verdict *verdict)
{
	lmk_decide(policy, sample, verdict);
}

__u32 lmk_core_interval_ms(const struct lmk_policy *policy, const struct lmk_sample *sample,
			   __u32 under_pressure)
{
	return lmk_interval_ms(policy, sample, under_pressure);
}

__u32 lmk_core_gate(const struct lmk_policy *policy, const struct lmk_pending *pending,
		    __u64 now_ns, __u32 victim)
{
	return lmk_gate_of(policy, pending, now_ns, victim);
}

int lmk_core_rank(const struct lmk_process *a, const struct lmk_process *b)
{
	return lmk_rank(a, b);
}

__u32 lmk_core_refusal(const struct lmk_policy *policy, const struct lmk_process *process,
		       __s32 floor)
{
	return lmk_refusal_of(policy, process, floor);
}

__u64 lmk_core_window_growth(struct lmk_window *window, __u64 size_ns, __u64 now_ns, __u64 value)
{
	return lmk_window_growth(window, size_ns, now_ns, value);
}

void lmk_core_psi(const struct lmk_psi_delta *cpus, __u32 count, __u64 *some_ns, __u64 *full_ns)
{
	struct lmk_psi_sum sum = {0};

	for (__u32 i = 0; i < count; i++)
		lmk_psi_add(&sum, &cpus[i]);
	*some_ns = lmk_psi_some_ns(&sum);
	*full_ns = lmk_psi_full_ns(&sum);
}
