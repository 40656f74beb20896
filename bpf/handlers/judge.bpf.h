/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sense and judge: sample, verdict, and what is remembered of them. Under the claim: one CPU at a
 * time senses and decides, whoever comes first; it is atomic and never waited for. A holder that
 * does not let go for a second loses it; what it can still do is bounded by the gate (gate.bpf.h).
 */
#ifndef LMK_JUDGE_BPF_H
#define LMK_JUDGE_BPF_H

#include "gate.bpf.h"
#include "psi.bpf.h"
#include "reclaimers.bpf.h"

#define CLAIM_BREAK_NS (1000 * LMK_MS)
/* The claim is held, perhaps by the task that a softirq interrupted: look again soon. */
#define CLAIMED_INTERVAL_MS 1
/* Pressure has ended when nothing was amiss for this long. */
#define PRESSURE_LEFT_NS (1000 * LMK_MS)
/* An evaluation that was handed over and not made by then is begun anew. */
#define PENDING_LOOK_NS (1000 * LMK_MS)

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
	bool dying =
		gate == LMK_GATE_RETRY || (gate == LMK_GATE_WAIT && !note_of(state.gate)->dry_run);
	__u32 under = dying || lmk_is_pressed(policy, sample, &state.history, reason);
	struct lmk_pressure_event event = {};

	state.interval_ms = lmk_interval_ms(policy, sample, under);
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
	if (gate == LMK_GATE_WAIT || gate == LMK_GATE_RETRY || gate == LMK_GATE_BUDGET) {
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

/* Everything of the sample. Under the claim. */
static __always_inline int sense(struct lmk_sample *sample)
{
	int result = sense_memory(sample);

	if (result)
		return result;
	sense_psi(sample);
	sense_reclaimers(sample);
	return 0;
}

/* A device that does not respond is no matter for a budget. */
__noinline int apply_budget(void)
{
	const struct lmk_policy *policy = current_policy();
	__u32 reason = run.event.verdict.reason;

	if (!policy || (state.gate_state != LMK_GATE_OPEN && state.gate_state != LMK_GATE_TIMEOUT))
		return 0;
	if (reason && reason != LMK_REASON_NOT_RESPONDING &&
	    !lmk_budget_has(policy, &state.history, run.event.sample.time_ns))
		state.gate_state = LMK_GATE_BUDGET;
	return 0;
}

__noinline int track(void)
{
	const struct lmk_policy *policy = current_policy();

	if (policy)
		lmk_track(policy, &run.event.sample, &state.history);
	return 0;
}

/*
 * Why this evaluation is made: run.look. What was found by an evaluation that handed the rest over
 * still holds, and the history has been brought up to it already.
 */
__noinline int find_look(bool peek)
{
	const struct lmk_policy *policy = current_policy();
	const struct lmk_sample *sample = &run.event.sample;
	bool closed = state.gate_state == LMK_GATE_WAIT || state.gate_state == LMK_GATE_RETRY;

	if (!policy)
		return -EINVAL;
	if (peek) {
		run.look = lmk_complete_stall(policy, sample, &state.history) ? LMK_LOOK_COMPLETE
									      : LMK_LOOK_PARTIAL;
		return 0;
	}
	if (state.pending_look && sample->time_ns - state.pending_look_ns < PENDING_LOOK_NS) {
		run.look = state.pending_look;
		return 0;
	}
	state.pending_look = LMK_LOOK_NONE;
	if (!closed)
		lmk_note_open(sample, &state.history);
	run.look = lmk_look_of(policy, sample, &state.history);
	if (run.look && !closed)
		track();
	return 0;
}

/*
 * The core in steps, each a subprogram of its own: what one stores the next reads from memory,
 * which the verifier takes for unknown, instead of following every combination of it.
 */
__noinline int measure_signals(void)
{
	const struct lmk_policy *policy = current_policy();

	if (policy)
		lmk_measure(policy, &run.event.sample, &state.history, &run.event.verdict);
	return 0;
}

__noinline int find_facts(void)
{
	const struct lmk_policy *policy = current_policy();

	if (policy)
		lmk_find_facts(policy, &run.event.sample, &state.history, run.look,
			       &run.event.verdict, &run.facts);
	return 0;
}

__noinline int find_breached(void)
{
	const struct lmk_policy *policy = current_policy();

	if (policy)
		lmk_find_breached(policy, &run.event.sample, &run.facts, &run.event.verdict);
	return 0;
}

__noinline int find_reason(void)
{
	const struct lmk_policy *policy = current_policy();
	struct lmk_verdict *verdict = &run.event.verdict;

	if (!policy)
		return 0;
	lmk_conclude(policy, &state.history, &run.facts, run.look, verdict);
	/* The host's checks refuse this too; a map written by hand must not get round them. */
	if (verdict->floor < 0 && !policy->allow_negative_floor)
		verdict->floor = 0;
	return 0;
}

__noinline int note_sample(void)
{
	const struct lmk_policy *policy = current_policy();

	if (policy)
		note_pressure(policy, &run.event.sample, run.event.verdict.reason,
			      state.gate_state);
	note_seen(&run.event.sample, run.event.verdict.reason, state.gate_state);
	return 0;
}

/*
 * Fills run.event.{sample,verdict}, run.look and state.gate_state. 0 or -errno. With `peek` the
 * history is left as it is: somebody only wants to know.
 */
__noinline int sense_and_judge(bool peek)
{
	struct lmk_counters *all = current_counters();
	struct lmk_sample *sample = &run.event.sample;
	int result;

	if (!all)
		return -EINVAL;
	count(&all->decisions);
	result = sense(sample);
	if (result)
		return result;
	state.gate_state = (__u32)gate_now(sample->time_ns);
	find_look(peek);
	measure_signals();
	find_facts();
	find_breached();
	find_reason();
	apply_budget();
	if (!peek)
		note_sample();
	state.last = *sample;
	state.last_sample_ns = sample->time_ns;
	return 0;
}

/* The end of an evaluation, with the gate open: what it came to is remembered. */
__noinline int conclude(bool killed)
{
	const struct lmk_policy *policy = current_policy();

	state.pending_look = LMK_LOOK_NONE;
	if (!policy || !run.look)
		return 0;
	lmk_note_verdict(&run.event.verdict, &state.history);
	if (killed) {
		lmk_note_kill(policy, &run.event.verdict, &state.history);
		lmk_budget_spend(policy, &state.history);
	}
	lmk_note_look(policy, &run.event.sample, &state.history, &run.event.verdict, run.look);
	return 0;
}

/* The last walk found nobody, just now and at a floor as low. */
static __always_inline bool is_barren(void)
{
	return state.barren_ns && run.event.verdict.floor >= state.barren_floor &&
	       state.last_sample_ns - state.barren_ns < BARREN_REST_NS;
}

/* What the choice came to: where nobody may die, and when the clock of a verdict starts anew. */
static __always_inline void note_choice(int outcome)
{
	if (outcome == LMK_OUT_NO_VICTIM) {
		state.barren_ns = state.last_sample_ns;
		state.barren_floor = run.event.verdict.floor;
	}
	/* Nobody to kill is no delay of ours: the clock starts again when there is somebody. */
	if (outcome != LMK_OUT_BUSY && outcome != LMK_OUT_CLAIMED) {
		state.seen_ns = 0;
		state.gated_ns = 0;
	}
}

/*
 * What somebody outside asks for, as Android's vendor hooks do: `reason` 1000.., no limit is looked
 * at. Gate, budget and never-kill rules hold as ever. LMK_OUT_CALM: nothing is in its way; else
 * enum lmk_outcome.
 */
static __always_inline int take_request(__u32 reason, __s32 floor)
{
	const struct lmk_policy *policy = current_policy();

	if (!policy || !state.running || sense_and_judge(true))
		return LMK_OUT_ERROR;
	if (state.gate_state == LMK_GATE_WAIT || state.gate_state == LMK_GATE_RETRY)
		return LMK_OUT_PENDING;
	run.event.verdict.reason = reason;
	run.event.verdict.floor = floor;
	if (floor < 0 && !policy->allow_negative_floor)
		run.event.verdict.floor = 0;
	if (!lmk_budget_has(policy, &state.history, run.event.sample.time_ns))
		return LMK_OUT_BUDGET;
	state.seen_ns = run.event.sample.time_ns;
	state.gated_ns = 0;
	run.look = LMK_LOOK_POLL;
	return LMK_OUT_CALM;
}

/* The best after the victim (from `first` on), into the event. */
__noinline int fill_candidates(__u32 first)
{
	__u32 i, filled = 0;

	lmk_for (i, 0, LMK_CANDIDATES) {
		__u32 place = first + i;

		if (place >= run.kept || place >= KEEP)
			break;
		run.event.candidates[i] = *kept_at(place);
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
	event->path = KILL_PATH;
	event->carrier = carrier;
	event->seen_ns = state.seen_ns;
	event->gated_ns = state.gated_ns;
	event->head.type = LMK_EVENT_KILL;
	event->head.size = sizeof(*event);
	event->head.time_ns = bpf_ktime_get_boot_ns();
}

#endif
