// SPDX-License-Identifier: GPL-2.0-only
/*
 * The handlers where the kernel cannot signal from BPF (before 6.13), or where a callback into BPF
 * may panic it: they sense, decide and choose, and user space sends the signal (bpf/assist).
 *
 * Nothing here is called back: no timer, work queue, task work, bpf_loop, for_each or user ring
 * buffer. No kfunc either, but weak ones that the verifier drops where they are absent. The headers
 * are those of lmk.bpf.c, less carry, level_timer, reclaim, walk, kill and decision; instead there
 * are
 *
 *   object   tasks by address, loops by constants
 *   stages   one run, in steps that user space takes part in
 *   wake     reclaim wakes the agent
 */
#define LMK_ASSISTED 1

#include "adj.bpf.h"
#include "answer.bpf.h"
#include "follow.bpf.h"
#include "others.bpf.h"
#include "stages.bpf.h"
#include "wake.bpf.h"

static __always_inline int init(struct lmk_call *call)
{
	const struct lmk_policy *policy = current_policy();

	if (!policy)
		return 0;
	call->result = -EBUSY;
	if (__sync_val_compare_and_swap(&state.running, 0, 1))
		return 0;
	call->result = find_kernel(policy);
	if (call->result)
		state.running = 0;
	return 0;
}

/* Before the pins are removed: no decision after this. */
static __always_inline int stop(struct lmk_call *call)
{
	state.running = 0;
	call->result = 0;
	return 0;
}

/* What it came to, and with what user space has to do the claim. */
static __always_inline int reply(struct lmk_call *call, int outcome, __u64 token)
{
	__u64 id = state.gate;

	answer(call);
	call->outcome = (__u32)outcome;
	call->token = is_kept_waiting(outcome) ? token : 0;
	call->n_candidates = 0;
	if (outcome == LMK_OUT_PROPOSED || outcome == LMK_OUT_KILLED ||
	    outcome == LMK_OUT_DRY_RUN) {
		call->kill_id = id;
		call->victim_pid = kill_of(id)->pid;
		call->victim_start_ns = kill_of(id)->start_ns;
		call->n_sharers = run.sharers;
		__builtin_memcpy(call->sharer_pid, run.sharer_tid, sizeof(call->sharer_pid));
	}
	if (outcome == LMK_OUT_CALM && stages.op == LMK_OP_STATUS)
		answer_candidates(call);
	if (outcome == LMK_OUT_CALM && stages.op == LMK_OP_SELF_TEST)
		call->n_candidates = run.kept;
	if (is_kept_waiting(outcome))
		return 0;
	stages.stage = STAGE_NONE;
	stages.op = LMK_OP_RUN;
	drop_claim(token);
	count_outcome((__u32)outcome);
	return 0;
}

static __always_inline int claimed(struct lmk_call *call)
{
	call->outcome = LMK_OUT_CLAIMED;
	count_outcome(LMK_OUT_CLAIMED);
	return 0;
}

/* One decision, or one that was asked for from outside. */
static __always_inline int run_now(struct lmk_call *call)
{
	__u64 token;
	int outcome;

	take_swap(call);
	take_psi(call);
	begin_answer(call);
	token = take_claim();
	if (!token)
		return claimed(call);
	outcome = call->op == LMK_OP_VENDOR
			  ? evaluate_for(LMK_REASON_VENDOR + call->vendor_reason % 1000,
					 call->vendor_floor)
			  : evaluate();
	return reply(call, go_on(outcome), token);
}

/* Sample, verdict and, if asked, who would be next; kills nobody. result -EBUSY: try again. */
static __always_inline int status(struct lmk_call *call)
{
	int outcome = LMK_OUT_CALM;
	__u64 token;

	take_swap(call);
	take_psi(call);
	call->outcome = LMK_OUT_CALM;
	call->result = -EBUSY;
	call->n_candidates = 0;
	token = take_claim();
	if (!token)
		return 0;
	call->result = sense_and_judge(true);
	if (!call->result && call->with_candidates)
		/* Calm: those who could die for some reason of a policy without overrides. */
		outcome = want_choice(LMK_OP_STATUS,
				      run.event.verdict.reason ? run.event.verdict.floor : 0);
	return reply(call, go_on(outcome), token);
}

/* Everything up to the signal, which the caller tries on itself. */
static __always_inline int self_test(struct lmk_call *call)
{
	int outcome = LMK_OUT_CALM;
	__u64 token;

	call->outcome = LMK_OUT_CALM;
	call->result = -EBUSY;
	token = take_claim();
	if (!token)
		return 0;
	call->result = sense_and_judge(true);
	if (!call->result && !find_task(call->pid))
		call->result = -ESRCH;
	if (!call->result)
		outcome = want_choice(LMK_OP_SELF_TEST, 0);
	return reply(call, go_on(outcome), token);
}

static __always_inline bool holds_claim(const struct lmk_call *call)
{
	return call->token && call->token == *(volatile __u64 *)&state.claim;
}

static __always_inline int walked(struct lmk_call *call)
{
	if (!holds_claim(call) || !stages.stage)
		return claimed(call);
	return reply(call, go_on(after_walk()), call->token);
}

/* A caller that was kept for so long that the claim broke has still signalled whom it says. */
static __always_inline int signalled(struct lmk_call *call)
{
	__u64 token = call->token;

	if (!holds_claim(call)) {
		token = take_claim();
		if (!token)
			return claimed(call);
		bpf_probe_read_kernel(&run.event, sizeof(run.event), &proposal);
		run.look = stages.look;
		run.kept = 0;
	}
	return reply(call, go_on(settle(call->kill_id, call->kill_result, call->signalled_ns)),
		     token);
}

/* result -EBUSY: try again; whoever has the claim may be walking or signalling. */
static __always_inline int set_policy(struct lmk_call *call)
{
	__u64 token;

	call->result = -EINVAL;
	if (call->policy_slot >= LMK_POLICY_SLOTS)
		return 0;
	call->result = -EBUSY;
	token = take_claim();
	if (!token)
		return 0;
	put_in_force(call->policy_slot);
	/* Of somebody who lost the claim. */
	stages.stage = STAGE_NONE;
	stages.op = LMK_OP_RUN;
	call->result = 0;
	drop_claim(token);
	return 0;
}

SEC("syscall")
int lmk_call(struct lmk_call *call)
{
	switch (call->op) {
	case LMK_OP_RUN:
	case LMK_OP_VENDOR:
		return run_now(call);
	case LMK_OP_STATUS:
		return status(call);
	case LMK_OP_MEASURE:
		return measure(call);
	case LMK_OP_SELF_TEST:
		return self_test(call);
	case LMK_OP_INIT:
		return init(call);
	case LMK_OP_STOP:
		return stop(call);
	case LMK_OP_POLICY:
		return tell_policy(call);
	case LMK_OP_SET_POLICY:
		return set_policy(call);
	case LMK_OP_WALKED:
		return walked(call);
	case LMK_OP_CONFIRM:
		call->result = holds_claim(call) ? confirm(call->pid) : -ESTALE;
		return 0;
	case LMK_OP_SIGNALLED:
		return signalled(call);
	}
	call->result = -EINVAL;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
