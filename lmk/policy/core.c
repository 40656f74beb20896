// SPDX-License-Identifier: Apache-2.0
/*
 * The decision core (bpf/policy/) as a shared library of this machine: each inline function
 * under a name that ctypes can find. No logic here.
 */
#include <linux/types.h>

#include "policy/cgroup_name.h"
#include "policy/decide.h"
#include "policy/pace.h"
#include "policy/rank.h"
#include "policy/window.h"

__u32 lmk_core_look(const struct lmk_policy *policy, const struct lmk_sample *sample,
		    struct lmk_history *history)
{
	return lmk_look_of(policy, sample, history);
}

void lmk_core_note_open(const struct lmk_sample *sample, struct lmk_history *history)
{
	lmk_note_open(sample, history);
}

void lmk_core_track(const struct lmk_policy *policy, const struct lmk_sample *sample,
		    struct lmk_history *history)
{
	lmk_track(policy, sample, history);
}

void lmk_core_decide(const struct lmk_policy *policy, const struct lmk_sample *sample,
		     const struct lmk_history *history, __u32 look, struct lmk_verdict *verdict)
{
	lmk_decide(policy, sample, history, look, verdict);
}

void lmk_core_note_verdict(const struct lmk_verdict *verdict, struct lmk_history *history)
{
	lmk_note_verdict(verdict, history);
}

void lmk_core_note_kill(const struct lmk_policy *policy, const struct lmk_verdict *verdict,
			struct lmk_history *history)
{
	lmk_note_kill(policy, verdict, history);
}

void lmk_core_note_look(const struct lmk_policy *policy, const struct lmk_sample *sample,
			struct lmk_history *history, const struct lmk_verdict *verdict, __u32 look)
{
	lmk_note_look(policy, sample, history, verdict, look);
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

__u32 lmk_core_shadow_gate(const struct lmk_policy *policy, const struct lmk_pending *pending,
			   __u64 now_ns, __u32 victim, __u64 pressed_ns)
{
	return lmk_shadow_gate_of(policy, pending, now_ns, victim, pressed_ns);
}

int lmk_core_budget_has(const struct lmk_policy *policy, struct lmk_history *history, __u64 now_ns)
{
	return lmk_budget_has(policy, history, now_ns);
}

void lmk_core_budget_spend(const struct lmk_policy *policy, struct lmk_history *history)
{
	lmk_budget_spend(policy, history);
}

int lmk_core_rank(const struct lmk_policy *policy, const struct lmk_process *a,
		  const struct lmk_process *b, __u32 compression_pct)
{
	return lmk_rank(policy, a, b, compression_pct);
}

__u32 lmk_core_refusal(const struct lmk_policy *policy, const struct lmk_process *process,
		       __s32 floor)
{
	return lmk_refusal_of(policy, process, floor);
}

int lmk_core_cgroup_matches(const char *pattern, const char *text)
{
	return lmk_cgroup_matches(pattern, text);
}

__u32 lmk_core_uid_rule(const struct lmk_policy *policy, __u32 uid)
{
	return lmk_uid_rule(policy, uid);
}

__u64 lmk_core_window_growth(struct lmk_window *window, __u64 size_ns, __u64 now_ns, __u64 value)
{
	return lmk_window_growth(window, size_ns, now_ns, value);
}

__u64 lmk_core_avg10(__u64 avg, __u64 stall_ns, __u64 period_ns)
{
	return lmk_psi_avg10(avg, stall_ns, period_ns);
}

void lmk_core_psi(const struct lmk_psi_delta *cpus, __u32 count, __u64 *some_ns, __u64 *full_ns)
{
	struct lmk_psi_sum sum = {0};

	for (__u32 i = 0; i < count; i++)
		lmk_psi_add(&sum, &cpus[i]);
	*some_ns = lmk_psi_some_ns(&sum);
	*full_ns = lmk_psi_full_ns(&sum);
}
