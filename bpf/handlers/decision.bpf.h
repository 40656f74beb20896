/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One run: sense, decide, choose, kill. Whoever runs it first takes the claim.
 *
 * Two locks, both atomic and neither ever waited for:
 * - the claim: one CPU at a time senses and decides. It is taken and held with preemption off,
 *   so its holder cannot be scheduled away, however low its priority. A holder that a
 *   hypervisor stopped for a second loses it; what it can still do is bounded by
 * - the gate: the id of the kill under way. Only who moves it from 0 may send a signal.
 */
#ifndef LMK_DECISION_BPF_H
#define LMK_DECISION_BPF_H

#include "judge.bpf.h"
#include "kill.bpf.h"

/* The best that can be killed. enum lmk_outcome; each candidate passed over is counted. */
static __always_inline int try_candidates(void)
{
	int outcome = LMK_OUT_NO_VICTIM;
	__u32 i;

	bpf_for (i, 0, KEEP) {
		if (i >= run.kept)
			break;
		run.event.victim = *kept_at(i);
		outcome = kill_victim(run.event.verdict.floor);
		if (outcome == LMK_OUT_REFUSED || outcome == LMK_OUT_STALE) {
			count_outcome((__u32)outcome);
			outcome = LMK_OUT_NO_VICTIM;
			continue;
		}
		if (outcome == LMK_OUT_KILLED || outcome == LMK_OUT_DRY_RUN)
			fill_candidates(i + 1);
		break;
	}
	return outcome;
}

/*
 * The place in the ring is taken before the signal: a victim that exits at once on another CPU
 * must not be reported as gone before it is reported as killed.
 */
static __always_inline int kill_best(__u32 carrier)
{
	struct lmk_counters *all = current_counters();
	struct lmk_kill_event *place = bpf_ringbuf_reserve(&events, sizeof(*place), 0);
	int outcome = try_candidates();

	if (outcome != LMK_OUT_KILLED && outcome != LMK_OUT_DRY_RUN) {
		if (place)
			bpf_ringbuf_discard(place, 0);
		return outcome;
	}
	finish_report(carrier);
	count_verdict(run.event.verdict.reason);
	if (place) {
		bpf_probe_read_kernel(place, sizeof(*place), &run.event);
		bpf_ringbuf_submit(place, 0);
	} else if (all) {
		count(&all->ring_lost);
	}
	return outcome;
}

/* Somebody is to die for run.event.verdict, and the gate is open. enum lmk_outcome. */
__noinline int find_and_kill(__u32 carrier)
{
	int outcome = LMK_OUT_NO_VICTIM;

	if (is_barren())
		return LMK_OUT_NO_VICTIM;
	state.barren_ns = 0;
	if (choose(run.event.verdict.floor) > 0)
		outcome = kill_best(carrier);
	note_choice(outcome);
	return outcome;
}

/* Under the claim. enum lmk_outcome, not yet counted. */
__noinline int decide(__u32 carrier)
{
	int outcome;

	if (!state.running || sense_and_judge(false))
		return LMK_OUT_ERROR;
	if (state.gate_state == LMK_GATE_WAIT)
		return run.event.verdict.reason ? LMK_OUT_PENDING : LMK_OUT_CALM;
	if (state.gate_state == LMK_GATE_RETRY)
		return run.event.verdict.reason ? retry_kill() : LMK_OUT_CALM;
	if (!run.event.verdict.reason)
		outcome = LMK_OUT_CALM;
	else if (state.gate_state == LMK_GATE_BUDGET)
		outcome = LMK_OUT_BUDGET;
	else
		outcome = find_and_kill(carrier);
	conclude(outcome == LMK_OUT_KILLED || outcome == LMK_OUT_DRY_RUN);
	return outcome;
}

/* take_request(), and the kill. */
__noinline int decide_for(__u32 reason, __s32 floor)
{
	int outcome = take_request(reason, floor);

	if (outcome != LMK_OUT_CALM)
		return outcome;
	outcome = find_and_kill(LMK_CARRIER_SYSCALL);
	conclude(outcome == LMK_OUT_KILLED || outcome == LMK_OUT_DRY_RUN);
	return outcome;
}

/* From any context that may send a signal. */
static __always_inline int run_decision(__u32 carrier)
{
	int outcome = LMK_OUT_CLAIMED;
	__u64 token;

	bpf_preempt_disable();
	token = take_claim();
	if (token) {
		outcome = decide(carrier);
		drop_claim(token);
	}
	bpf_preempt_enable();
	count_outcome((__u32)outcome);
	return outcome;
}

#endif
