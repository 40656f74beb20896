// SPDX-License-Identifier: GPL-2.0-only
/*
 * The handlers with one more SYSCALL program, `lmk_trap`: it brings them to places that are met
 * once in a million runs, and lets a test stop between choosing and killing. What decides and
 * kills there is the handlers' own code, and what refuses is the kernel.
 */
#include "handlers/lmk.bpf.c"

/* 6.14 */
extern void bpf_local_irq_save(unsigned long *flags) __ksym __weak;
extern void bpf_local_irq_restore(unsigned long *flags) __ksym __weak;

enum trap {
	/* Decides with interrupts off while this CPU's one deferred signal is taken (by signal 0
	 * to call->pid): the kill call says -EBUSY. */
	TRAP_BUSY = 100,
	/* Decides twice with interrupts off: the first signal is not yet delivered. */
	TRAP_TWICE = 101,
	/* Senses and chooses as a decision does, and no more. */
	TRAP_CHOOSE = 102,
	/* Kills the best of those chosen before, if it still may. */
	TRAP_KILL_CHOSEN = 103,
	/* Signals the thread that was chosen before, whatever became of it. */
	TRAP_STRIKE = 104,
};

static __always_inline int signal_nothing(__s32 pid)
{
	struct task_struct *task = bpf_task_from_pid(pid);
	int result = -ESRCH;

	if (task) {
		result = bpf_send_signal_task(task, 0, PIDTYPE_TGID, 0);
		bpf_task_release(task);
	}
	return result;
}

static __always_inline int choose_only(void)
{
	if (sense_and_judge(false) || !run.event.verdict.reason)
		return LMK_OUT_CALM;
	return choose(run.event.verdict.floor) > 0 ? LMK_OUT_KILLED : LMK_OUT_NO_VICTIM;
}

/* result: of what came first, outcome: of what came second (of the only thing, where there is one).
 */
SEC("syscall")
int lmk_trap(struct lmk_call *call)
{
	int first = 0, second = LMK_OUT_ERROR;
	unsigned long flags;
	__u64 token;

	bpf_preempt_disable();
	token = take_claim();
	if (token) {
		switch (call->op) {
		case TRAP_BUSY:
			bpf_local_irq_save(&flags);
			first = signal_nothing(call->pid);
			second = decide(LMK_CARRIER_SYSCALL);
			bpf_local_irq_restore(&flags);
			break;
		case TRAP_TWICE:
			bpf_local_irq_save(&flags);
			first = decide(LMK_CARRIER_SYSCALL);
			second = decide(LMK_CARRIER_SYSCALL);
			bpf_local_irq_restore(&flags);
			break;
		case TRAP_CHOOSE:
			second = choose_only();
			run.event.victim = run.slot[run.order[0] & 7];
			break;
		case TRAP_STRIKE:
			second = strike(0);
			first = run.event.kill_result;
			break;
		case TRAP_KILL_CHOSEN:
			second = kill_best(LMK_CARRIER_SYSCALL);
			break;
		}
		call->victim_pid = run.event.victim.pid;
		drop_claim(token);
	}
	bpf_preempt_enable();
	call->result = first;
	call->outcome = (__u32)second;
	return 0;
}
