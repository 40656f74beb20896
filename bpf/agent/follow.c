// SPDX-License-Identifier: Apache-2.0
#include "follow.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"
#include "event_source.h"
#include "exit_code.h"
#include "names.h"
#include "policy/rank.h"
#include "swap.h"

/* process_mrelease(2) said EAGAIN (its mmap lock is taken), or EINVAL (a sharer lives on). */
#define RELEASE_RETRY_NS (5 * NSEC_PER_MSEC)
/* After exit and release: exit_mmap's event may still come, with an earlier time. */
#define EXIT_MMAP_WAIT_NS (20 * NSEC_PER_MSEC)

/* How long after memory back a sample still tells of it. */
#define PROMPT_NS (20 * NSEC_PER_MSEC)
/* Status calls while another CPU decides (tens of microseconds each). */
#define SAMPLE_TRIES 20

static void finish(struct follower *follower, __u32 index)
{
	struct kill *kill = &follower->shared->kills[index];

	if (follower->pidfds[index] >= 0)
		close(follower->pidfds[index]);
	follower->pidfds[index] = -1;
	atomic_store_explicit(&kill->state, KILL_DONE, memory_order_release);
	follower->done(follower->context);
}

/* The whole system now, for `after`. False: another CPU is deciding, and goes on doing so. */
static bool sample_now(struct follower *follower, struct kill *kill)
{
	for (int i = 0; i < SAMPLE_TRIES; i++) {
		struct lmk_call call = {.op = LMK_OP_STATUS};

		swap_fill(&call);
		if (bpf_run(follower->pins->call, &call))
			return false;
		if (call.result == -EBUSY)
			continue;
		if (call.result)
			return false;
		kill->after = call.sample;
		kill->after_known = 1;
		return true;
	}
	return false;
}

/* What is left of the victim; `released` tells the handlers that the next kill may come. */
static void measure(struct follower *follower, struct kill *kill, bool released)
{
	struct lmk_call call = {
		.op = LMK_OP_MEASURE,
		.pid = kill->event.victim.pid,
		.start_ns = kill->event.victim.start_ns,
		.released = released,
	};

	if (bpf_run(follower->pins->call, &call))
		return;
	/* -ESRCH: no such process any more, so nothing of it is left. */
	if (call.result && call.result != -ESRCH)
		return;
	kill->left_kb = call.result ? 0 : call.left_kb;
	kill->left_known = 1;
}

/*
 * Releasing memory takes a CPU for milliseconds to tens of them, and what was woken there would
 * wait for the end of it: ten kills cost an app in front 100 ms more under SCHED_FIFO.
 */
static void yield_realtime(bool yield)
{
	struct sched_param priority = {.sched_priority = yield ? 0 : 1};

	/* Not allowed where SCHED_FIFO was not either: then nothing is to be given up. */
	if (yield)
		(void)setpriority(PRIO_PROCESS, (id_t)gettid(), -20);
	(void)sched_setscheduler(0, (yield ? SCHED_OTHER : SCHED_FIFO) | SCHED_RESET_ON_FORK,
				 &priority);
}

static void release(struct follower *follower, __u32 index)
{
	struct kill *kill = &follower->shared->kills[index];
	__u64 begin_ns = boottime_ns();

	yield_realtime(true);
	kill->mrelease_result = pidfd_release_memory(follower->pidfds[index]);
	yield_realtime(false);
	kill->mrelease_end_ns = boottime_ns();
	kill->mrelease_begin_ns = begin_ns; /* of the last call, where a busy one was repeated */
	if (kill->mrelease_result == -EAGAIN || kill->mrelease_result == -EINVAL) {
		follower->retry_ns = kill->mrelease_end_ns + RELEASE_RETRY_NS;
		return;
	}
	if (kill->mrelease_result)
		return;
	if (!kill->memory_back_ns || kill->mrelease_end_ns < kill->memory_back_ns) {
		kill->memory_back = MEMORY_BACK_MRELEASE;
		kill->memory_back_ns = kill->mrelease_end_ns;
		measure(follower, kill, true);
		sample_now(follower, kill);
	}
}

static int watch(struct follower *follower, __u32 index)
{
	struct kill *kill = &follower->shared->kills[index];
	const struct lmk_process *victim = &kill->event.victim;
	struct epoll_event event = {.events = EPOLLIN,
				    .data.u64 = event_source(SOURCE_VICTIM, index)};
	int fd = pidfd_open(victim->pid);

	if (fd < 0)
		return fd;
	/* The pid may be somebody else's by now: the descriptor is only good for this process. */
	if (!process_is(victim->pid, process_ticks(victim->start_ns))) {
		close(fd);
		return -ESRCH;
	}
	if (epoll_ctl(follower->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		int error = -errno;

		close(fd);
		return error;
	}
	follower->pidfds[index] = fd;
	return 0;
}

static void take_names(struct follower *follower, struct kill *kill)
{
	const struct lmk_process *victim = &kill->event.victim;
	__u64 ticks = process_ticks(victim->start_ns);

	/* Not read ahead: the process is still there, but may be about to lose its pages. */
	if (!names_find(victim->pid, ticks, kill->victim_name) && !kill->agent_absent)
		process_command(victim->pid, kill->victim_name);
	for (__u32 i = 0; i < kill->event.n_candidates && i < LMK_CANDIDATES; i++)
		names_find(kill->event.candidates[i].pid,
			   process_ticks(kill->event.candidates[i].start_ns),
			   kill->candidate_names[i]);
	atomic_store_explicit(&kill->named, 1, memory_order_release);
	/* Where lmkd's socket is served: it is told now, not when it is over. */
	if (follower->named && follower->shared->lmkd_socket[0])
		follower->named(follower->context);
}

static __u32 free_slot(struct follower *follower)
{
	for (__u32 i = 0; i < KILL_SLOTS; i++) {
		if (atomic_load_explicit(&follower->shared->kills[i].state, memory_order_acquire) ==
		    KILL_FREE)
			return i;
	}
	return KILL_SLOTS;
}

static bool already_known(struct follower *follower, __u64 kill_id)
{
	for (__u32 i = 0; i < KILL_SLOTS; i++) {
		struct kill *kill = &follower->shared->kills[i];

		if (kill->state != KILL_FREE && kill->event.kill_id == kill_id)
			return true;
	}
	return false;
}

bool follow_kill(struct follower *follower, const struct lmk_kill_event *event)
{
	__u64 timeout_ns = (__u64)follower->shared->kill_timeout_ms * NSEC_PER_MSEC;
	struct kill *kill;
	__u32 index;

	/* A dead agent may have taken it over without telling the ring so. */
	if (already_known(follower, event->kill_id) ||
	    event->kill_id == follower->shared->last_kill_id)
		return true;
	index = free_slot(follower);
	if (index == KILL_SLOTS)
		return false;
	kill = &follower->shared->kills[index];
	memset(kill, 0, sizeof(*kill));
	kill->event = *event;
	kill->attempts = event->dry_run ? 0 : 1;
	kill->agent_absent = event->head.time_ns < follower->started_ns;
	if (event->dry_run) {
		take_names(follower, kill);
		finish(follower, index);
		return true;
	}
	kill->deadline_ns = event->signalled_ns + timeout_ns;
	atomic_store_explicit(&kill->state, KILL_FOLLOWED, memory_order_release);
	take_names(follower, kill);
	/*
	 * Gone already is well: its events say when. A victim that gets no CPU gives nothing back
	 * by itself (5 s and more), with process_mrelease in a tenth of a second.
	 */
	if (watch(follower, index) == 0)
		release(follower, index);
	return true;
}

static struct kill *followed(struct follower *follower, __u64 kill_id, __u32 *index)
{
	for (__u32 i = 0; i < KILL_SLOTS; i++) {
		struct kill *kill = &follower->shared->kills[i];

		if (kill->state == KILL_FOLLOWED && kill->event.kill_id == kill_id) {
			*index = i;
			return kill;
		}
	}
	return NULL;
}

void follow_end(struct follower *follower, const struct lmk_end_event *event)
{
	__u32 index;
	struct kill *kill = followed(follower, event->kill_id, &index);

	if (!kill)
		return;
	if (event->attempts > kill->attempts)
		kill->attempts = event->attempts;
	if (event->head.type == LMK_EVENT_EXITED) {
		kill->exited_ns = event->head.time_ns;
		return;
	}
	if (event->head.type != LMK_EVENT_MEMORY_BACK)
		return;
	kill->mm_gone = 1;
	/* Our own release may have been first, and LMK_OP_MEASURE says so to the handlers. */
	if (kill->memory_back != MEMORY_BACK_MRELEASE ||
	    event->head.time_ns < kill->memory_back_ns) {
		kill->memory_back = MEMORY_BACK_EXIT_MMAP;
		kill->memory_back_ns = event->head.time_ns;
		kill->left_kb = event->left_kb;
		kill->left_known = 1;
		/* Heard at once, the whole system is looked at; the event's own sample has no PSI.
		 */
		if (boottime_ns() - event->head.time_ns < PROMPT_NS && sample_now(follower, kill))
			return;
		kill->after = event->sample;
		kill->after_known = event->sample.time_ns != 0;
	}
}

void follow_exit(struct follower *follower, __u32 index)
{
	struct kill *kill = &follower->shared->kills[index];

	if (index >= KILL_SLOTS || follower->pidfds[index] < 0)
		return;
	close(follower->pidfds[index]);
	follower->pidfds[index] = -1;
	if (kill->state == KILL_FOLLOWED && !kill->exit_heard_ns)
		kill->exit_heard_ns = boottime_ns();
}

/* Is there nothing left to wait for? */
static bool complete(const struct kill *kill, __u64 now_ns)
{
	if (!kill->exited_ns && !kill->exit_heard_ns)
		return false;
	if (kill->mm_gone)
		return kill->exited_ns || now_ns >= kill->exit_heard_ns + EXIT_MMAP_WAIT_NS;
	return kill->memory_back_ns && kill->exit_heard_ns &&
	       now_ns >= kill->exit_heard_ns + EXIT_MMAP_WAIT_NS;
}

static void give_up(struct follower *follower, __u32 index)
{
	struct kill *kill = &follower->shared->kills[index];

	if (!kill->after_known)
		sample_now(follower, kill);
	/* What was not seen to come back is not called freed. */
	if (kill->memory_back == MEMORY_BACK_NOT_SEEN)
		kill->left_known = 0;
	finish(follower, index);
}

__u64 follow_due(struct follower *follower, __u64 now_ns)
{
	bool retry = follower->retry_ns && now_ns >= follower->retry_ns;
	__u64 next_ns = 0;

	if (retry)
		follower->retry_ns = 0;
	for (__u32 i = 0; i < KILL_SLOTS; i++) {
		struct kill *kill = &follower->shared->kills[i];
		__u64 due_ns;

		if (kill->state != KILL_FOLLOWED)
			continue;
		if (retry && follower->pidfds[i] >= 0 &&
		    (kill->mrelease_result == -EAGAIN || kill->mrelease_result == -EINVAL))
			release(follower, i);
		if (complete(kill, now_ns)) {
			/* The pidfd heard of the exit later than it was, but heard of it. */
			if (!kill->exited_ns)
				kill->exited_ns = kill->exit_heard_ns;
			finish(follower, i);
			continue;
		}
		if (now_ns >= kill->deadline_ns) {
			give_up(follower, i);
			continue;
		}
		due_ns = kill->deadline_ns;
		if (kill->exit_heard_ns && kill->exit_heard_ns + EXIT_MMAP_WAIT_NS > now_ns &&
		    kill->exit_heard_ns + EXIT_MMAP_WAIT_NS < due_ns)
			due_ns = kill->exit_heard_ns + EXIT_MMAP_WAIT_NS;
		if (!next_ns || due_ns < next_ns)
			next_ns = due_ns;
	}
	if (follower->retry_ns && (!next_ns || follower->retry_ns < next_ns))
		next_ns = follower->retry_ns;
	return next_ns;
}

void follow_start(struct follower *follower)
{
	for (__u32 i = 0; i < KILL_SLOTS; i++) {
		struct kill *kill = &follower->shared->kills[i];

		follower->pidfds[i] = -1;
		if (kill->state != KILL_FOLLOWED)
			continue;
		if (!kill->named)
			take_names(follower, kill);
		/* Still there: go on with it. Else its end went by unseen. */
		if (watch(follower, i) == 0)
			release(follower, i);
		else if (!kill->memory_back_ns)
			kill->deadline_ns = 0;
	}
}

void follow_stop(struct follower *follower)
{
	for (__u32 i = 0; i < KILL_SLOTS; i++) {
		if (follower->shared->kills[i].state == KILL_FOLLOWED)
			give_up(follower, i);
	}
}
