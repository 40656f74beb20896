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

#include "kill.bpf.h"
#include "psi.bpf.h"

#define CLAIM_BREAK_NS (1000 * LMK_MS)
/* Pressure has ended when nothing was amiss for this long. */
#define PRESSURE_LEFT_NS (1000 * LMK_MS)
/* While anybody stalls, look often enough to see a stall of the policy's length in time. */
#define STALL_INTERVAL_MS 50

/*
 * Where nobody may die, a walk over all processes every few milliseconds would take the CPU from
 * those who have to free memory. A lower floor is looked at at once.
 */
#define BARREN_REST_NS (50 * LMK_MS)

/* Preemption must be off. 0: somebody else has it. */
static __always_inline __u64 take_claim(void)
{
	__u64 now = bpf_ktime_get_boot_ns(), held = *(volatile __u64 *)&state.claim;

	if (held && (__s64)(now - held) < (__s64)CLAIM_BREAK_NS)
		return 0;
	return __sync_val_compare_and_swap(&state.claim, held, now) == held ? now : 0;
}

static __always_inline void drop_claim(__u64 token)
{
	__sync_val_compare_and_swap(&state.claim, token, 0);
}

static __always_inline void note_pressure(const struct lmk_policy *policy,
					  const struct lmk_sample *sample, __u32 reason, __u32 gate)
{
	__u32 under = reason || gate == LMK_GATE_WAIT || gate == LMK_GATE_RETRY ||
		      lmk_available_kb(sample) < lmk_scarcity_limit_kb(policy, sample);
	struct lmk_pressure_event event = {};

	state.interval_ms = lmk_interval_ms(policy, sample, under);
	if (sample->psi_some_window_us && state.interval_ms > STALL_INTERVAL_MS)
		state.interval_ms = STALL_INTERVAL_MS;
	if (under)
		state.pressed_ns = sample->time_ns;
	else if (state.under_pressure && sample->time_ns - state.pressed_ns < PRESSURE_LEFT_NS)
		under = 1;
	if (under == state.under_pressure)
		return;
	state.under_pressure = under;
	event.under_pressure = under;
	emit(&event, LMK_EVENT_PRESSURE, sizeof(event));
}

/* seen: first sample with the reason's condition met and the gate open; gated: time before. */
static __always_inline void note_seen(const struct lmk_sample *sample, __u32 reason, __u32 gate)
{
	__u64 now = sample->time_ns;

	if (!reason) {
		state.seen_ns = 0;
		state.gated_since_ns = 0;
		return;
	}
	if (gate == LMK_GATE_WAIT || gate == LMK_GATE_RETRY) {
		state.seen_ns = 0;
		if (!state.gated_since_ns)
			state.gated_since_ns = now;
		return;
	}
	if (state.seen_ns && state.seen_reason == reason)
		return;
	if (!state.seen_ns)
		state.gated_ns = state.gated_since_ns ? now - state.gated_since_ns : 0;
	state.seen_ns = now;
	state.seen_reason = reason;
	state.gated_since_ns = 0;
}

/* Fills run.event.{sample,verdict}, and state.gate_state. 0 or -errno. */
__noinline int sense_and_judge(void)
{
	const struct lmk_policy *policy = current_policy();
	struct lmk_counters *all = current_counters();
	struct lmk_sample *sample = &run.event.sample;
	struct lmk_verdict *verdict = &run.event.verdict;
	int result;

	if (!policy || !all)
		return -EINVAL;
	count(&all->decisions);
	result = sense_memory(sample);
	if (result)
		return result;
	sense_psi(sample);
	lmk_decide(policy, sample, verdict);
	/* The host's checks refuse this too; a map written by hand must not get round them. */
	if (verdict->floor < 0 && !policy->allow_negative_floor)
		verdict->floor = 0;
	state.gate_state = (__u32)gate_now(sample->time_ns);
	note_pressure(policy, sample, verdict->reason, state.gate_state);
	note_seen(sample, verdict->reason, state.gate_state);
	state.last = *sample;
	state.last_sample_ns = sample->time_ns;
	return 0;
}

/* The last walk found nobody, just now and at a floor as low. */
static __always_inline bool is_barren(void)
{
	return state.barren_ns && run.event.verdict.floor >= state.barren_floor &&
	       state.last_sample_ns - state.barren_ns < BARREN_REST_NS;
}

/* The best after the victim (from `first` on), into the event. */
__noinline int fill_candidates(__u32 first)
{
	__u32 i, filled = 0;

	bpf_for (i, 0, LMK_CANDIDATES) {
		__u32 place = first + i;

		if (place >= run.kept || place >= KEEP)
			break;
		run.event.candidates[i] = run.slot[run.order[place & 7] & 7];
		read_story(&run.event.candidates[i]);
		filled++;
	}
	run.event.n_candidates = filled;
	return 0;
}

static __always_inline void finish_report(__u32 carrier)
{
	struct lmk_kill_event *event = &run.event;

	read_story(&event->victim);
	event->path = LMK_PATH_IN_KERNEL;
	event->carrier = carrier;
	event->seen_ns = state.seen_ns;
	event->gated_ns = state.gated_ns;
	event->head.type = LMK_EVENT_KILL;
	event->head.size = sizeof(*event);
	event->head.time_ns = bpf_ktime_get_boot_ns();
}

/* The best that can be killed. enum lmk_outcome; each candidate passed over is counted. */
__noinline int try_candidates(void)
{
	int outcome = LMK_OUT_NO_VICTIM;
	__u32 i;

	bpf_for (i, 0, KEEP) {
		if (i >= run.kept)
			break;
		run.event.victim = run.slot[run.order[i & 7] & 7];
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
__noinline int kill_best(__u32 carrier)
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
	if (place) {
		bpf_probe_read_kernel(place, sizeof(*place), &run.event);
		bpf_ringbuf_submit(place, 0);
	} else if (all) {
		count(&all->ring_lost);
	}
	return outcome;
}

/* Under the claim. enum lmk_outcome, not yet counted. */
__noinline int decide(__u32 carrier)
{
	int outcome;

	if (!state.running || sense_and_judge())
		return LMK_OUT_ERROR;
	if (!run.event.verdict.reason)
		return LMK_OUT_CALM;
	if (state.gate_state == LMK_GATE_WAIT)
		return LMK_OUT_PENDING;
	if (state.gate_state == LMK_GATE_RETRY)
		return retry_kill();
	if (is_barren())
		return LMK_OUT_NO_VICTIM;
	state.barren_ns = 0;
	if (choose(run.event.verdict.floor) <= 0)
		outcome = LMK_OUT_NO_VICTIM;
	else
		outcome = kill_best(carrier);
	if (outcome == LMK_OUT_NO_VICTIM) {
		state.barren_ns = state.last_sample_ns;
		state.barren_floor = run.event.verdict.floor;
	}
	/* Nobody to kill is no delay of ours: the clock starts again when there is somebody. */
	if (outcome != LMK_OUT_BUSY && outcome != LMK_OUT_CLAIMED) {
		state.seen_ns = 0;
		state.gated_ns = 0;
	}
	return outcome;
}

/* From any context that may send a signal. */
__noinline int run_decision(__u32 carrier)
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
