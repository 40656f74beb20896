/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kill call. Under the claim, preemption off.
 *
 * bpf_send_signal_task() (6.13) returns 0 when the signal is queued; with preemption off that
 * goes by the CPU's one irq_work, which runs at once where interrupts are on. -EBUSY means
 * nobody was hit: the gate is opened again and a later run chooses anew. While the gate is
 * closed nobody else is chosen, so a signal that is on its way can never cost a second process.
 */
#ifndef LMK_KILL_BPF_H
#define LMK_KILL_BPF_H

#include "gate.bpf.h"
#include "walk.bpf.h"

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

/* Closes the gate and signals run.event.victim, as it is; enum lmk_outcome. */
__noinline int strike(__u32 dry_run)
{
	struct lmk_process *victim = &run.event.victim;
	struct lmk_pending *kill;
	__u64 id, now;
	int result;

	if (!close_gate(dry_run, 0))
		return LMK_OUT_CLAIMED;
	if (dry_run)
		return LMK_OUT_DRY_RUN;
	id = run.event.kill_id;
	result = send_signal(victim->tid, victim->pid, victim->start_ns, SIGKILL);
	now = bpf_ktime_get_boot_ns();
	run.event.kill_result = result;
	if (result)
		return (int)reopen_gate(id, result);
	run.event.signalled_ns = now;
	kill = kill_of(id);
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
