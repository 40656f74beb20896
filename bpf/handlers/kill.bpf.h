/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The gate, and the kill call. Under the claim, preemption off.
 *
 * bpf_send_signal_task() (6.13) returns 0 when the signal is queued; with preemption off that
 * goes by the CPU's one irq_work, which runs at once where interrupts are on. -EBUSY means
 * nobody was hit: the gate is opened again and a later run chooses anew. While the gate is
 * closed nobody else is chosen, so a signal that is on its way can never cost a second process.
 */
#ifndef LMK_KILL_BPF_H
#define LMK_KILL_BPF_H

#include "choose.bpf.h"

static __always_inline struct lmk_pending *kill_of(__u64 id)
{
	return &kills[id & (KILLS - 1)];
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
	event->head.time_ns = bpf_ktime_get_boot_ns();
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
	struct task_struct *leader = bpf_task_from_pid(kill->pid);
	int found = LMK_VICTIM_ALIVE;

	if (!leader)
		return VICTIM_GONE;
	if (leader->start_boottime != kill->start_ns)
		found = VICTIM_GONE;
	else if (leader->signal->live.counter <= 0)
		/* A zombie leader with no other thread left: its parent has been told. */
		found = leader->exit_state && leader->signal->nr_threads <= 1 ? LMK_VICTIM_ENDED
									      : LMK_VICTIM_EXITING;
	else if (leader->flags & PF_EXITING && kill_notes[id & (KILLS - 1)].tid == kill->pid)
		found = LMK_VICTIM_EXITING;
	bpf_task_release(leader);
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
	dry = kill_notes[id & (KILLS - 1)].dry_run;
	at = (__u32)victim_state(id);
	if (dry) {
		gate = at == VICTIM_GONE
			       ? LMK_GATE_OPEN
			       : lmk_shadow_gate_of(policy, kill, now, at, state.pressed_ns);
	} else {
		if (at == VICTIM_GONE) {
			if (memory_is_back(kill, now))
				emit_end(id, LMK_EVENT_MEMORY_BACK, 0);
			gate = LMK_GATE_OPEN;
		} else {
			gate = lmk_gate_of(policy, kill, now, at);
		}
	}
	if (gate == LMK_GATE_TIMEOUT && !dry) {
		kill_notes[id & (KILLS - 1)].given_up = 1;
		count_outcome(LMK_OUT_TIMEOUT);
	}
	if (gate == LMK_GATE_TIMEOUT || gate == LMK_GATE_OPEN)
		__sync_val_compare_and_swap(&state.gate, id, 0);
	return (int)gate;
}

/* 0 or -errno; the target is who it was when it was chosen, or -ESTALE. */
__noinline int send_signal(__s32 tid, __s32 pid, __u64 start_ns, int sig)
{
	struct task_struct *task = bpf_task_from_pid(tid);
	int result;

	if (!task)
		return -ESRCH;
	if (task->tgid != pid || task->group_leader->start_boottime != start_ns)
		result = -ESTALE;
	else
		result = bpf_send_signal_task(task, sig, PIDTYPE_TGID, 0);
	bpf_task_release(task);
	return result;
}

/* A process that shares the victim's memory; one that meanwhile left it (exec) is let be. */
__noinline int send_to_sharer(__s32 tid, __u64 mm)
{
	struct task_struct *task = bpf_task_from_pid(tid);
	int result = 0;

	if (!task)
		return 0;
	if ((__u64)task->mm == mm)
		result = bpf_send_signal_task(task, SIGKILL, PIDTYPE_TGID, 0);
	bpf_task_release(task);
	return result;
}

__noinline int signal_sharers(__u64 mm)
{
	__u32 i;

	bpf_for (i, 0, LMK_SHARERS_MAX) {
		if (i >= run.sharers)
			break;
		send_to_sharer(run.sharer_tid[i & (LMK_SHARERS_MAX - 1)], mm);
	}
	return 0;
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
	leader = bpf_task_from_pid(victim->pid);
	if (!leader)
		return -ESRCH;
	read_identity(leader, &run.probe);
	if (run.probe.start_ns != victim->start_ns)
		result = -ESTALE;
	else if (lmk_refusal_of(policy, &run.probe, floor) != LMK_REFUSE_NONE)
		result = -EPERM;
	else
		victim->tid = run.probe.tid;
	bpf_task_release(leader);
	return result;
}

static __always_inline void note_kill(__u64 id, const struct lmk_process *victim, __u64 now,
				      __u32 dry_run)
{
	struct lmk_pending *kill = kill_of(id);

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
	kill_notes[id & (KILLS - 1)].tid = victim->tid;
	kill_notes[id & (KILLS - 1)].dry_run = dry_run;
	kill_notes[id & (KILLS - 1)].given_up = 0;
}

/* Closes the gate and signals run.event.victim, as it is; enum lmk_outcome. */
__noinline int strike(__u32 dry_run)
{
	struct lmk_process *victim = &run.event.victim;
	__u64 id = state.last_kill_id + 1, now = bpf_ktime_get_boot_ns();
	struct lmk_pending *kill = kill_of(id);
	int result;

	note_kill(id, victim, now, dry_run);
	if (__sync_val_compare_and_swap(&state.gate, 0, id))
		return LMK_OUT_CLAIMED;
	state.last_kill_id = id;
	run.event.kill_id = id;
	run.event.decided_ns = now;
	run.event.dry_run = dry_run;
	run.event.sharers = run.sharers;
	run.event.signalled_ns = 0;
	run.event.kill_result = 0;
	if (dry_run) {
		state.pressed_ns = now;
		return LMK_OUT_DRY_RUN;
	}
	result = send_signal(victim->tid, victim->pid, victim->start_ns, SIGKILL);
	now = bpf_ktime_get_boot_ns();
	run.event.kill_result = result;
	if (result) {
		kill->pid = 0;
		__sync_val_compare_and_swap(&state.gate, id, 0);
		if (result == -EBUSY)
			return LMK_OUT_BUSY;
		return result == -ESTALE || result == -ESRCH ? LMK_OUT_STALE : LMK_OUT_REFUSED;
	}
	run.event.signalled_ns = now;
	kill->signalled_ns = now;
	kill->last_signal_ns = now;
	if (run.sharers)
		signal_sharers(victim->mm);
	return LMK_OUT_KILLED;
}

/* Kills run.event.victim, if it still may die; enum lmk_outcome. */
__noinline int kill_victim(__s32 floor)
{
	const struct lmk_policy *policy = current_policy();
	struct lmk_process *victim = &run.event.victim;

	if (!policy)
		return LMK_OUT_ERROR;
	run.sharers = 0;
	if (victim->flags & LMK_PROC_SHARED_MM && find_sharers(victim->mm, victim->pid) < 0) {
		run.refusals[LMK_REFUSE_SHARER]++;
		return LMK_OUT_REFUSED;
	}
	if (check_again(floor))
		return LMK_OUT_STALE;
	return strike(policy->dry_run);
}

/* Nobody of the victim's threads has begun to exit in retry_ms: the same again. */
__noinline int retry_kill(void)
{
	__u64 id = state.gate;
	struct lmk_pending *kill = kill_of(id);
	struct task_struct *leader;
	int result;

	leader = bpf_task_from_pid(kill->pid);
	if (!leader)
		return LMK_OUT_STALE;
	read_identity(leader, &run.probe);
	bpf_task_release(leader);
	if (run.probe.start_ns != kill->start_ns || !run.probe.tid)
		return LMK_OUT_STALE;
	find_sharers(kill->mm, kill->pid);
	result = send_signal(run.probe.tid, kill->pid, kill->start_ns, SIGKILL);
	if (result == -EBUSY)
		return LMK_OUT_BUSY;
	kill->last_signal_ns = bpf_ktime_get_boot_ns();
	if (result)
		return LMK_OUT_REFUSED;
	signal_sharers(kill->mm);
	kill->attempts++;
	emit_end(id, LMK_EVENT_RETRY, 0);
	return LMK_OUT_RETRIED;
}

#endif
