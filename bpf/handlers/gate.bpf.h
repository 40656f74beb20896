/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The gate: one kill at a time, followed to its end. Under the claim, except where said otherwise.
 *
 * While the gate is closed nobody else is chosen, so a signal that is on its way can never cost a
 * second process.
 */
#ifndef LMK_GATE_BPF_H
#define LMK_GATE_BPF_H

#include "choose.bpf.h"

static __always_inline struct lmk_pending *kill_of(__u64 id)
{
	return &kills[id & (KILLS - 1)];
}

static __always_inline struct kill_note *note_of(__u64 id)
{
	return &kill_notes[id & (KILLS - 1)];
}

/*
 * Reserves, fills and sends what follows on a kill. May be called without the claim. Without
 * a sample the event is about its time alone.
 */
static __always_inline int emit_follow_up(__u64 id, __u32 type, __u64 left_kb, bool with_sample)
{
	const struct lmk_pending *kill = kill_of(id);
	struct lmk_counters *all = current_counters();
	struct lmk_end_event *event;

	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		if (all)
			count(&all->ring_lost);
		return 0;
	}
	if (with_sample)
		sense_memory(&event->sample);
	else
		__builtin_memset(&event->sample, 0, sizeof(event->sample));
	event->sample.psi_some_total_us = state.last.psi_some_total_us;
	event->sample.psi_full_total_us = state.last.psi_full_total_us;
	event->sample.psi_some_window_us = state.last.psi_some_window_us;
	event->sample.psi_full_window_us = state.last.psi_full_window_us;
	event->sample.known |= state.last.known & LMK_KNOWN_PSI;
	event->head.type = type;
	event->head.size = sizeof(*event);
	event->head.time_ns = type == LMK_EVENT_EXITED	      ? kill->exited_ns
			      : type == LMK_EVENT_MEMORY_BACK ? kill->memory_back_ns
							      : bpf_ktime_get_boot_ns();
	event->kill_id = id;
	event->pid = kill->pid;
	event->attempts = kill->attempts;
	event->left_kb = left_kb;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

__noinline int emit_end(__u64 id, __u32 type, __u64 left_kb)
{
	return emit_follow_up(id, type, left_kb, true);
}

static __always_inline bool first_to_tell(__u64 id, __u32 what)
{
	return !(__sync_fetch_and_or(&note_of(id)->told, what) & what);
}

/*
 * An end that comes before user space has said that it sent the signal is told with that
 * (stages.bpf.h): no `exited` before its `kill`. Whichever of the two comes last sees the other.
 */
static __always_inline void tell_exited(__u64 id)
{
	if (!*(volatile __u32 *)&note_of(id)->proposed && first_to_tell(id, TOLD_EXITED))
		emit_follow_up(id, LMK_EVENT_EXITED, 0, false);
}

static __always_inline void tell_memory_back(__u64 id)
{
	if (!*(volatile __u32 *)&note_of(id)->proposed && first_to_tell(id, TOLD_MEMORY_BACK))
		emit_end(id, LMK_EVENT_MEMORY_BACK, note_of(id)->left_kb);
}

/* Atomic: the first who says so wins. */
static __always_inline bool memory_is_back(struct lmk_pending *kill, __u64 now)
{
	return !__sync_val_compare_and_swap(&kill->memory_back_ns, 0, now);
}

/* VICTIM_GONE: nobody has that identity any more. The others are enum lmk_victim. */
#define VICTIM_GONE (LMK_VICTIM_ENDED + 1)

__noinline int victim_state(__u64 id)
{
	const struct lmk_pending *kill = kill_of(id);
	struct task_struct *leader = task_hold(kill->pid);
	int live, found = LMK_VICTIM_ALIVE;

	if (!leader)
		return VICTIM_GONE;
	live = task_read(leader, signal, live.counter);
	if (task_read(leader, start_boottime) != kill->start_ns)
		found = VICTIM_GONE;
	else if (live <= 0)
		/* A zombie leader with no other thread left: its parent has been told. */
		found = task_read(leader, exit_state) && task_read(leader, signal, nr_threads) <= 1
				? LMK_VICTIM_ENDED
				: LMK_VICTIM_EXITING;
	else if (task_read(leader, flags) & PF_EXITING && note_of(id)->tid == kill->pid)
		found = LMK_VICTIM_EXITING;
	task_drop(leader);
	return found;
}

/*
 * enum lmk_gate. Where the victim is gone altogether its memory is back, even if the event
 * that says so was missed.
 */
__noinline int gate_now(__u64 now)
{
	const struct lmk_policy *policy = current_policy();
	__u64 id = state.gate;
	struct lmk_pending *kill = kill_of(id);
	__u32 gate, dry, at;

	if (!id || !policy)
		return LMK_GATE_OPEN;
	dry = note_of(id)->dry_run;
	at = (__u32)victim_state(id);
	if (at == VICTIM_GONE)
		gate = LMK_GATE_OPEN;
	else if (dry)
		gate = lmk_shadow_gate_of(policy, kill, now, at, state.pressed_ns);
	else
		gate = lmk_gate_of(policy, kill, now, at);
	if (at == VICTIM_GONE && !dry && memory_is_back(kill, now))
		tell_memory_back(id);
	if (gate == LMK_GATE_TIMEOUT && !dry) {
		/* Proposed and never signalled: it has not withstood anything. */
		note_of(id)->given_up = !note_of(id)->proposed;
		count_outcome(LMK_OUT_TIMEOUT);
	}
	if (gate == LMK_GATE_TIMEOUT || gate == LMK_GATE_OPEN)
		__sync_val_compare_and_swap(&state.gate, id, 0);
	return (int)gate;
}

/*
 * The chosen process just before the kill: still the same, still one that may die? The thread
 * that takes the signal is found anew: the one chosen may be exiting by now.
 */
__noinline int check_again(__s32 floor)
{
	struct lmk_process *victim = &run.event.victim;
	const struct lmk_policy *policy = current_policy();
	struct task_struct *leader;
	int result = 0;

	if (!policy)
		return -EINVAL;
	leader = task_hold(victim->pid);
	if (!leader)
		return -ESRCH;
	read_identity(leader, &run.probe);
	if (run.probe.start_ns != victim->start_ns)
		result = -ESTALE;
	else if (lmk_refusal_of(policy, &run.probe, floor) != LMK_REFUSE_NONE)
		result = -EPERM;
	else
		victim->tid = run.probe.tid;
	task_drop(leader);
	return result;
}

static __always_inline void note_kill(__u64 id, const struct lmk_process *victim, __u64 now,
				      __u32 dry_run, __u32 proposed)
{
	struct lmk_pending *kill = kill_of(id);
	struct kill_note *note = note_of(id);

	note->tid = victim->tid;
	note->dry_run = dry_run;
	note->given_up = 0;
	note->proposed = proposed;
	note->told = 0;
	note->left_kb = 0;
	kill->kill_id = id;
	kill->start_ns = victim->start_ns;
	kill->mm = dry_run ? 0 : victim->mm;
	kill->signalled_ns = now;
	kill->last_signal_ns = now;
	kill->exited_ns = 0;
	kill->memory_back_ns = 0;
	kill->footprint_kb = lmk_footprint_kb(victim);
	kill->pid = victim->pid;
	kill->attempts = 1;
	kill->released = 0;
}

/*
 * Closes the gate for a kill of run.event.victim, which gets the next id: it is in kill_of() before
 * anything can happen to it. False: somebody else has closed it. `proposed`: user space signals.
 */
static __always_inline bool close_gate(__u32 dry_run, __u32 proposed)
{
	__u64 id = state.last_kill_id + 1, now = bpf_ktime_get_boot_ns();

	note_kill(id, &run.event.victim, now, dry_run, proposed);
	if (__sync_val_compare_and_swap(&state.gate, 0, id))
		return false;
	state.last_kill_id = id;
	run.event.kill_id = id;
	run.event.decided_ns = now;
	run.event.dry_run = dry_run;
	run.event.sharers = run.sharers;
	run.event.signalled_ns = 0;
	run.event.kill_result = 0;
	if (dry_run)
		state.pressed_ns = now;
	return true;
}

/* Nobody was hit: the kill call said `result`. enum lmk_outcome. */
static __always_inline __u32 reopen_gate(__u64 id, int result)
{
	kill_of(id)->pid = 0;
	note_of(id)->proposed = 0;
	__sync_val_compare_and_swap(&state.gate, id, 0);
	if (result == -EBUSY)
		return LMK_OUT_BUSY;
	return result == -ESTALE || result == -ESRCH ? LMK_OUT_STALE : LMK_OUT_REFUSED;
}

#endif
