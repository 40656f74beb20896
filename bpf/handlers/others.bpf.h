/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kills by others: who was ended by a SIGKILL that was not ours, and who sent it. The signal is
 * noted when it is sent, while the victim still has its memory, and told when the victim exits.
 *
 * Without the claim; nothing here decides anything. No open-coded iterator either: these programs
 * load where the kernel has none.
 */
#ifndef LMK_OTHERS_BPF_H
#define LMK_OTHERS_BPF_H

#include "follow.bpf.h"

/* include/trace/events/signal.h: the signal is on its way, and is the first of its kind. */
#define TRACE_SIGNAL_DELIVERED 0
/* include/linux/sched/signal.h: instead of a siginfo, "by the kernel". */
#define SEND_SIG_PRIV	  1
#define BPF_RB_AVAIL_DATA 0
#define BPF_NOEXIST	  1

/* Signals sent, and whether the exit was told; the oldest make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, __s32);
	__type(value, struct lmk_other_event);
} other_kills SEC(".maps");

/* What the signal's program did not see; on the stack it would be too much for 6.12. */
const struct lmk_other_event unnoted = {};

/* By the kill under way, or one before, or because it shares the memory of its victim. */
static __always_inline bool is_ours(__s32 pid, __u64 start_ns, __u64 mm)
{
	bool ours = false;

	for (__u32 i = 0; i < KILLS; i++) {
		const struct lmk_pending *kill = &kills[i];

		if (kill_notes[i].dry_run)
			continue;
		if (kill->pid == pid && kill->start_ns == start_ns)
			ours = true;
		if (kill->pid && mm && kill->mm == mm && !kill->memory_back_ns)
			ours = true;
	}
	return ours;
}

static __always_inline bool sent_by_kernel(const struct kernel_siginfo *info)
{
	if ((__u64)info <= SEND_SIG_PRIV)
		return (__u64)info == SEND_SIG_PRIV;
	/* SI_USER, SI_TKILL, SI_QUEUE are 0 and below. */
	return BPF_CORE_READ(info, si_code) > 0;
}

static __always_inline void note_sender(struct lmk_other_event *event)
{
	struct task_struct *sender = bpf_get_current_task_btf();

	event->sender_pid = sender->tgid;
	event->sender_uid = (__u32)bpf_get_current_uid_gid();
	event->sender_start_ns = sender->group_leader->start_boottime;
	BPF_CORE_READ_STR_INTO(&event->sender_comm, sender, group_leader, comm);
}

static __always_inline void note_victim(struct lmk_other_event *event, struct task_struct *leader)
{
	read_identity(leader, &event->victim);
	BPF_CORE_READ_STR_INTO(&event->victim.comm, leader, comm);
	if (event->victim.mm)
		read_memory(&event->victim);
}

/* In whoever sends, the target's siglock held and interrupts off; also in interrupts. */
SEC("tp_btf/signal_generate")
int BPF_PROG(lmk_on_signal, int signal, struct kernel_siginfo *info, struct task_struct *task,
	     int type, int result)
{
	struct task_struct *leader;
	struct lmk_other_event event = {};
	__s32 pid;

	if (signal != SIGKILL || result != TRACE_SIGNAL_DELIVERED || task->flags & PF_KTHREAD)
		return 0;
	leader = task->group_leader;
	pid = task->tgid;
	event.signalled_ns = bpf_ktime_get_boot_ns();
	if (is_ours(pid, leader->start_boottime, mm_of(task))) {
		event.cause = LMK_OTHER_OURS;
		event.victim.start_ns = leader->start_boottime;
	} else {
		event.cause = sent_by_kernel(info) ? LMK_OTHER_KERNEL : LMK_OTHER_PROCESS;
		note_sender(&event);
		note_victim(&event, leader);
	}
	bpf_map_update_elem(&other_kills, &pid, &event, 0);
	return 0;
}

/*
 * In the task whose allocation found no memory, under oom_lock, just after the signal. Who was
 * dying already is marked too: only a signal of the kernel's is turned into a kill for memory.
 *
 * The tracepoint's argument is a pid up to 6.8, then a task.
 */
SEC("tp_btf/mark_victim")
int BPF_PROG(lmk_on_oom_victim, __u64 victim)
{
	struct lmk_other_event *event, again;
	__s32 pid;

	if (bpf_core_field_exists(((struct trace_event_raw_mark_victim *)0)->uid))
		pid = BPF_CORE_READ((struct task_struct *)victim, tgid);
	else
		pid = (__s32)victim;
	event = bpf_map_lookup_elem(&other_kills, &pid);
	if (!event || event->cause != LMK_OTHER_KERNEL)
		return 0;
	event->cause = LMK_OTHER_KERNEL_OOM;
	if (event->told) {
		/* It was gone before it was marked: the agent waits for this. */
		again = *event;
		again.told = LMK_TOLD_AGAIN;
		emit(&again, LMK_EVENT_OTHER, sizeof(again));
	}
	return 0;
}

/* Kills of our own come first: others are told while half of the ring is free. */
static __always_inline void tell_other(struct lmk_other_event *event)
{
	struct lmk_counters *all = current_counters();

	if (!all)
		return;
	count(&all->other_kills);
	if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > EVENTS_BYTES / 2)
		count(&all->ring_lost);
	else
		emit(event, LMK_EVENT_OTHER, sizeof(*event));
}

/* What was noted of this process; what was noted of one that had its pid before is forgotten. */
static __always_inline struct lmk_other_event *noted_of(__s32 pid, __u64 start_ns)
{
	struct lmk_other_event *noted = bpf_map_lookup_elem(&other_kills, &pid);

	if (!noted || noted->victim.start_ns == start_ns)
		return noted;
	bpf_map_delete_elem(&other_kills, &pid);
	return NULL;
}

/* Who changes `told` tells. */
static __always_inline void tell_once(struct lmk_other_event *noted)
{
	if (noted && noted->cause != LMK_OTHER_OURS &&
	    !__sync_val_compare_and_swap(&noted->told, 0, 1))
		tell_other(noted);
}

/*
 * In each exiting thread. Two threads that exit at once may both be the last one here.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(lmk_on_other_exit, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	struct lmk_other_event *noted;
	__u64 start_ns = leader->start_boottime;
	__s32 pid = task->tgid;

	if (task->signal->live.counter > 0 || task->flags & PF_KTHREAD ||
	    (task->exit_code & 0x7f) != SIGKILL || is_ours(pid, start_ns, 0))
		return 0;
	noted = noted_of(pid, start_ns);
	if (!noted) {
		bpf_map_update_elem(&other_kills, &pid, &unnoted, BPF_NOEXIST);
		noted = bpf_map_lookup_elem(&other_kills, &pid);
		if (noted && !noted->victim.start_ns)
			note_victim(noted, leader);
	}
	tell_once(noted);
	return 0;
}

/*
 * When a process that was reaped is given up: an exit that preempts another one in the program
 * above is not seen there (the kernel runs no program inside itself). Here is a callback of RCU,
 * which nothing of its kind preempts.
 */
SEC("tp_btf/sched_process_free")
int BPF_PROG(lmk_on_other_free, struct task_struct *task)
{
	__s32 pid = task->tgid;

	if (task->pid == pid && (task->exit_code & 0x7f) == SIGKILL)
		tell_once(noted_of(pid, task->start_boottime));
	return 0;
}

#endif
