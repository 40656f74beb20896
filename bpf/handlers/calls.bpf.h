/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What user space calls: BPF_PROG_TEST_RUN of `lmk_call` with a struct lmk_call. It runs in the
 * caller's context and may sleep, but does not.
 *
 * One program for all, and subprograms that are not static: the verifier looks at each of those
 * once a program, not once a path. On a slow device that is 3 s of loading against a minute.
 */
#ifndef LMK_CALLS_BPF_H
#define LMK_CALLS_BPF_H

#include "answer.bpf.h"
#include "level_timer.bpf.h"

/* Find what is to be read, arm timer and work queue. -EBUSY: it runs already. */
static __always_inline int init(struct lmk_call *call)
{
	const struct lmk_policy *policy = current_policy();
	int result;

	if (!policy)
		return 0;
	call->result = -EBUSY;
	if (__sync_val_compare_and_swap(&state.running, 0, 1))
		return 0;
	result = find_kernel(policy);
	if (!result)
		result = arm_workqueue();
	if (!result)
		result = arm_timer();
	if (result)
		state.running = 0;
	call->result = result;
	return 0;
}

/* Before the pins are removed: no tick and no decision after this. */
static __always_inline int stop(struct lmk_call *call)
{
	__u32 zero = 0;
	struct level_timer *element = bpf_map_lookup_elem(&level_timers, &zero);

	state.running = 0;
	call->result = 0;
	if (element && use_timer)
		call->result = (__s32)bpf_timer_cancel(&element->timer);
	/* 1: it was armed; -EINVAL: never initialised. */
	if (call->result > 0 || call->result == -EINVAL)
		call->result = 0;
	return 0;
}

/* One decision, or one that was asked for from outside, and the kill that follows from it. */
static __always_inline int run_now(struct lmk_call *call)
{
	int outcome = LMK_OUT_CLAIMED;
	__u64 token;

	take_swap(call);
	begin_answer(call);
	bpf_preempt_disable();
	token = take_claim();
	if (token) {
		outcome = call->op == LMK_OP_VENDOR
				  ? decide_for(LMK_REASON_VENDOR + call->vendor_reason % 1000,
					       call->vendor_floor)
				  : decide(LMK_CARRIER_SYSCALL);
		answer(call);
		if (outcome == LMK_OUT_KILLED || outcome == LMK_OUT_DRY_RUN) {
			call->kill_id = run.event.kill_id;
			call->victim_pid = run.event.victim.pid;
			call->victim_start_ns = run.event.victim.start_ns;
		}
		drop_claim(token);
	}
	bpf_preempt_enable();
	count_outcome((__u32)outcome);
	call->outcome = (__u32)outcome;
	return 0;
}

/* Sample, verdict and, if asked, who would be next; kills nobody. result -EBUSY: try again. */
static __always_inline int status(struct lmk_call *call)
{
	const struct lmk_policy *policy = current_policy();
	__u64 token;

	take_swap(call);
	call->result = -EBUSY;
	call->n_candidates = 0;
	if (!policy)
		return 0;
	bpf_preempt_disable();
	token = take_claim();
	if (token) {
		call->result = sense_and_judge(true);
		if (!call->result && call->with_candidates) {
			/* Calm: those who could die for some reason of a policy without overrides.
			 */
			find_candidates(run.event.verdict.reason ? run.event.verdict.floor : 0);
			fill_candidates(0);
			answer_candidates(call);
		}
		answer(call);
		drop_claim(token);
	}
	bpf_preempt_enable();
	return 0;
}

/*
 * The whole pick path, with signal 0 against call->pid: result is what the kill call said.
 * Then the same question to each carrier; the answers arrive in the map `carriers`.
 */
static __always_inline int self_test(struct lmk_call *call)
{
	struct task_struct *task;
	__u64 token;
	__u32 i;

	call->result = -EBUSY;
	bpf_preempt_disable();
	token = take_claim();
	if (token) {
		call->result = sense_and_judge(true);
		if (!call->result) {
			find_candidates(0);
			task = bpf_task_from_pid(call->pid);
			call->result = -ESRCH;
			if (task) {
				call->result = bpf_send_signal_task(task, 0, PIDTYPE_TGID, 0);
				bpf_task_release(task);
			}
			call->n_candidates = run.kept;
		}
		answer(call);
		drop_claim(token);
	}
	bpf_preempt_enable();
	if (call->result)
		return 0;
	state.self_test_pid = call->pid;
	bpf_for (i, 0, LMK_DEFER_MAX) {
		struct lmk_carrier_test *test = carrier_test(i);

		if (!test)
			continue;
		test->ran_ns = 0;
		test->result = 0;
		test->asked_ns = bpf_ktime_get_boot_ns();
		test->schedule_result =
			i == LMK_DEFER_WORKQUEUE ? start_work() : start_task_work(i);
	}
	return 0;
}

/* result -EBUSY: try again. */
static __always_inline int set_policy(struct lmk_call *call)
{
	__u64 token;

	call->result = -EINVAL;
	if (call->policy_slot >= LMK_POLICY_SLOTS)
		return 0;
	call->result = -EBUSY;
	bpf_preempt_disable();
	token = take_claim();
	if (token) {
		put_in_force(call->policy_slot);
		call->result = 0;
		drop_claim(token);
	}
	bpf_preempt_enable();
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
	}
	call->result = -EINVAL;
	return 0;
}

#endif
