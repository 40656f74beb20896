/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The assisted path's run, in stages: BPF senses, decides and chooses, user space sends the signal.
 *
 *   LMK_OP_RUN -> [LMK_OUT_WALK -> LMK_OP_WALKED ->] LMK_OUT_PROPOSED -> LMK_OP_CONFIRM
 *              -> LMK_OP_SIGNALLED -> LMK_OUT_KILLED, or the next candidate
 *
 * The claim goes to the caller with LMK_OUT_WALK and LMK_OUT_PROPOSED and comes back as the token.
 * A caller that dies in between loses it after CLAIM_BREAK_NS; the gate it closed is then found
 * with nobody exiting behind it, and the same process is proposed again.
 *
 * The walk over all processes is made by the open-coded iterator (6.7) where there is one, else by
 * the caller, who reads the iterator program `lmk_walk`. Both visit the same tasks in the same way.
 */
#ifndef LMK_STAGES_BPF_H
#define LMK_STAGES_BPF_H

#include "judge.bpf.h"

/* What a walk is for. */
enum stage {
	STAGE_NONE,
	STAGE_CHOOSE,
	STAGE_CHOOSE_AGAIN, /* who shares memory with somebody that may not die is known now */
	STAGE_SHARERS,	    /* of the candidate */
	STAGE_RETRY,	    /* sharers of a victim that is to be signalled again */
};

/* Choosing, choosing again, and a walk for the sharers of each candidate. */
#define WALKS_MAX (KEEP + 2)

struct {
	__u64 walker; /* pid and tid of who walks */
	__u64 leader; /* address of the process that is visited */
	__u64 sharer_mm;
	__s32 sharer_but;
	__s32 sharers_failed;
	__u32 stage;
	__u32 op; /* enum lmk_op that it all is for */
	__s32 floor;
	__u32 candidate; /* place in run.order */
	__u32 look;	 /* run.look of the proposal */
	__u32 pad;
} stages;

/* The kill that user space has been asked for. Whoever has closed the gate owns it. */
struct lmk_kill_event proposal;

static __always_inline int want_walk(__u32 stage)
{
	stages.stage = stage;
	stages.walker = bpf_get_current_pid_tgid();
	return LMK_OUT_WALK;
}

static __always_inline int want_choice_walk(__u32 stage)
{
	begin_walk();
	if (!bpf_ksym_exists(bpf_iter_task_new)) {
		/* The iterator is past init by then. */
		run.event.processes_seen = 1;
		run.refusals[LMK_REFUSE_INIT] = 1;
	}
	return want_walk(stage);
}

static __always_inline int want_choice(__u32 op, __s32 floor)
{
	stages.op = op;
	stages.floor = floor;
	run.barred = 0;
	return want_choice_walk(STAGE_CHOOSE);
}

static __always_inline int want_sharers(__u64 mm, __s32 but_pid, __u32 stage)
{
	stages.sharer_mm = mm;
	stages.sharer_but = but_pid;
	stages.sharers_failed = 0;
	run.sharers = 0;
	return want_walk(stage);
}

/* stages.leader: a subprogram that is verified once takes no kernel pointer. */
__noinline int visit(void)
{
	const struct lmk_policy *policy = current_policy();
	struct task_struct *task = (struct task_struct *)stages.leader;

	if (!policy)
		return -EINVAL;
	if (stages.stage == STAGE_CHOOSE || stages.stage == STAGE_CHOOSE_AGAIN)
		consider(policy, task, stages.floor);
	else if (!stages.sharers_failed)
		stages.sharers_failed = note_if_sharer(task, stages.sharer_mm, stages.sharer_but);
	return 0;
}

/*
 * The walk where the kernel has no open-coded iterator: in the task that reads, once for each task.
 * The first (init) only gives a byte: with a read of one byte the kernel allocates what it reads
 * with, ahead of the need. Anybody else's read finds nothing to do.
 */
SEC("iter/task")
int lmk_walk(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	char byte = 0;

	if (!task)
		return 0;
	if (!ctx->meta->seq_num) {
		bpf_seq_write(ctx->meta->seq, &byte, sizeof(byte));
		return 0;
	}
	if (!stages.stage || stages.walker != bpf_get_current_pid_tgid() || task->pid != task->tgid)
		return 0;
	stages.leader = (__u64)task;
	visit();
	return 0;
}

/* The walk in place (6.7). */
__noinline int walk_here(void)
{
	struct task_struct *leader;

	if (!bpf_ksym_exists(bpf_iter_task_new) || !bpf_ksym_exists(bpf_rcu_read_lock))
		return -EOPNOTSUPP;
	bpf_rcu_read_lock();
	bpf_for_each (task, leader, NULL, BPF_TASK_ITER_ALL_PROCS) {
		stages.leader = (__u64)leader;
		visit();
	}
	bpf_rcu_read_unlock();
	return 0;
}

/* An evaluation is over: what it came to is remembered. */
__noinline int finish(int outcome)
{
	note_choice(outcome);
	conclude(outcome == LMK_OUT_KILLED || outcome == LMK_OUT_DRY_RUN);
	return outcome;
}

/* Has user space signal run.event.victim. LMK_OUT_PROPOSED, LMK_OUT_DRY_RUN or LMK_OUT_CLAIMED. */
__noinline int propose_victim(void)
{
	const struct lmk_policy *policy = current_policy();
	__u32 dry_run;

	if (!policy)
		return LMK_OUT_ERROR;
	dry_run = policy->dry_run;
	if (!close_gate(dry_run, !dry_run))
		return LMK_OUT_CLAIMED;
	fill_candidates(stages.candidate + 1);
	finish_report(LMK_CARRIER_SYSCALL);
	bpf_probe_read_kernel(&proposal, sizeof(proposal), &run.event);
	stages.look = run.look;
	if (!dry_run)
		return LMK_OUT_PROPOSED;
	count_verdict(proposal.verdict.reason);
	emit(&proposal, LMK_EVENT_KILL, sizeof(proposal));
	return LMK_OUT_DRY_RUN;
}

static __always_inline void pass_over(__u32 outcome)
{
	count_outcome(outcome);
	stages.candidate++;
	stages.stage = STAGE_CHOOSE;
}

/* The best that may still die; enum lmk_outcome. LMK_OUT_WALK: its sharers first. */
__noinline int propose(void)
{
	struct lmk_process *victim = &run.event.victim;
	__u32 i;

	lmk_for (i, 0, KEEP) {
		__u32 at = stages.candidate;

		if (at >= run.kept || at >= KEEP)
			break;
		*victim = *kept_at(at);
		if (!(victim->flags & LMK_PROC_SHARED_MM))
			run.sharers = 0;
		else if (stages.stage != STAGE_SHARERS)
			return want_sharers(victim->mm, victim->pid, STAGE_SHARERS);
		else if (stages.sharers_failed) {
			run.refusals[LMK_REFUSE_SHARER]++;
			pass_over(LMK_OUT_REFUSED);
			continue;
		}
		if (check_again(run.event.verdict.floor)) {
			pass_over(LMK_OUT_STALE);
			continue;
		}
		return propose_victim();
	}
	return LMK_OUT_NO_VICTIM;
}

static __always_inline bool is_kept_waiting(int outcome)
{
	return outcome == LMK_OUT_WALK || outcome == LMK_OUT_PROPOSED;
}

static __always_inline int propose_and_finish(void)
{
	int outcome = propose();

	return is_kept_waiting(outcome) ? outcome : finish(outcome);
}

/* After a walk. enum lmk_outcome; LMK_OUT_CALM where nothing but the choice was asked for. */
__noinline int after_walk(void)
{
	if (stages.stage == STAGE_RETRY) {
		stages.stage = STAGE_NONE;
		return LMK_OUT_PROPOSED;
	}
	if (stages.stage == STAGE_SHARERS)
		return propose_and_finish();
	if (stages.stage == STAGE_CHOOSE && kept_one_barred())
		return want_choice_walk(STAGE_CHOOSE_AGAIN);
	if (stages.op == LMK_OP_STATUS)
		fill_candidates(0);
	if (stages.op == LMK_OP_STATUS || stages.op == LMK_OP_SELF_TEST)
		return LMK_OUT_CALM;
	count_refusals();
	stages.candidate = 0;
	stages.stage = STAGE_CHOOSE;
	return propose_and_finish();
}

/* Goes on as far as it goes without user space. */
__noinline int go_on(int outcome)
{
	__u32 i;

	if (!bpf_ksym_exists(bpf_iter_task_new))
		return outcome;
	lmk_for (i, 0, WALKS_MAX) {
		if (outcome != LMK_OUT_WALK)
			break;
		walk_here();
		outcome = after_walk();
	}
	return outcome;
}

/* A victim that shows no sign of exit: the same again. */
static __always_inline int propose_again(void)
{
	const struct lmk_pending *kill = kill_of(state.gate);

	run.sharers = 0;
	if (proposal.kill_id == state.gate && proposal.sharers)
		return want_sharers(kill->mm, kill->pid, STAGE_RETRY);
	return LMK_OUT_PROPOSED;
}

static __always_inline int find_victim(void)
{
	if (is_barren()) {
		conclude(false);
		return LMK_OUT_NO_VICTIM;
	}
	state.barren_ns = 0;
	return want_choice(LMK_OP_RUN, run.event.verdict.floor);
}

/* Under the claim. enum lmk_outcome, not yet counted. */
__noinline int evaluate(void)
{
	int outcome = LMK_OUT_CALM;

	state.look_now = 0;
	if (!state.running || sense_and_judge(false))
		return LMK_OUT_ERROR;
	if (state.gate_state == LMK_GATE_WAIT)
		return run.event.verdict.reason ? LMK_OUT_PENDING : LMK_OUT_CALM;
	if (state.gate_state == LMK_GATE_RETRY)
		return run.event.verdict.reason ? propose_again() : LMK_OUT_CALM;
	if (run.event.verdict.reason && state.gate_state != LMK_GATE_BUDGET)
		return find_victim();
	if (run.event.verdict.reason)
		outcome = LMK_OUT_BUDGET;
	conclude(false);
	return outcome;
}

/* take_request(), and the search. */
__noinline int evaluate_for(__u32 reason, __s32 floor)
{
	int outcome = take_request(reason, floor);

	return outcome == LMK_OUT_CALM ? find_victim() : outcome;
}

/* A process that shares the victim's memory; one that meanwhile left it (exec) is let be. */
__noinline int confirm_sharer(__s32 pid)
{
	__u64 mm = kill_of(state.gate)->mm, its_mm;
	struct task_struct *leader = task_hold(pid);

	if (!leader)
		return -ESRCH;
	its_mm = mm_of(leader);
	if (!its_mm || task_read(leader, flags) & PF_EXITING)
		its_mm = mm_of((void *)find_live_thread(signal_of(leader)));
	return mm && its_mm == mm ? 0 : -ESTALE;
}

/* May `pid`, of which the caller holds a pidfd, still be signalled? 0 or -errno. */
__noinline int confirm(__s32 pid)
{
	const struct lmk_pending *kill = kill_of(state.gate);
	struct task_struct *leader;

	if (pid != kill->pid)
		return confirm_sharer(pid);
	if (note_of(state.gate)->proposed && run.event.kill_id == state.gate)
		return check_again(run.event.verdict.floor);
	leader = task_hold(pid);
	if (!leader)
		return -ESRCH;
	return task_read(leader, start_boottime) == kill->start_ns ? 0 : -ESTALE;
}

static __always_inline void note_signalled(__u64 id, __u64 when)
{
	struct lmk_pending *kill = kill_of(id);

	kill->signalled_ns = when;
	kill->last_signal_ns = when;
	if (proposal.kill_id == id) {
		proposal.signalled_ns = when;
		count_verdict(proposal.verdict.reason);
		emit(&proposal, LMK_EVENT_KILL, sizeof(proposal));
	}
	__sync_lock_test_and_set(&note_of(id)->proposed, 0);
	if (*(volatile __u64 *)&kill->exited_ns)
		tell_exited(id);
	if (*(volatile __u64 *)&kill->memory_back_ns)
		tell_memory_back(id);
}

/* The caller has signalled the victim of `id`, or could not. Under the claim. enum lmk_outcome. */
__noinline int settle(__u64 id, int result, __u64 when)
{
	struct lmk_pending *kill = kill_of(id);
	__u64 now = bpf_ktime_get_boot_ns();

	if (!id || state.gate != id || kill->kill_id != id || !kill->pid)
		return LMK_OUT_STALE;
	if (!when || when > now)
		when = now;
	if (!note_of(id)->proposed) {
		kill->last_signal_ns = when;
		if (result)
			return LMK_OUT_REFUSED;
		kill->attempts++;
		emit_end(id, LMK_EVENT_RETRY, 0);
		return LMK_OUT_RETRIED;
	}
	if (result) {
		pass_over(reopen_gate(id, result));
		return propose_and_finish();
	}
	note_signalled(id, when);
	return finish(LMK_OUT_KILLED);
}

#endif
