// SPDX-License-Identifier: Apache-2.0
#include "others.h"

#include <stdio.h>
#include <string.h>

#include "names.h"
#include "process.h"
#include "protect.h"
#include "shared.h"

static bool same(const struct lmk_other_event *a, const struct lmk_other_event *b)
{
	return a->head.time_ns == b->head.time_ns && a->victim.pid == b->victim.pid;
}

static bool is_spooled(const struct shared *shared, const struct lmk_other_event *event)
{
	return event->head.time_ns == shared->last_other_ns &&
	       event->victim.pid == shared->last_other_pid;
}

static bool is_same_process(const struct lmk_other_event *a, const struct lmk_other_event *b)
{
	return a->victim.pid == b->victim.pid && a->victim.start_ns == b->victim.start_ns;
}

/* It was the OOM killer, as it turns out; too late where it is in the spool. */
static void correct(struct shared *shared, const struct lmk_other_event *event)
{
	for (int i = 0; i < OTHER_SLOTS; i++) {
		struct other *other = &shared->others[i];

		if (atomic_load_explicit(&other->taken, memory_order_acquire) &&
		    is_same_process(&other->event, event))
			other->event.cause = event->cause;
	}
}

bool others_take(struct shared *shared, const struct lmk_other_event *event)
{
	struct other *free_slot = NULL;

	if (event->told == LMK_TOLD_AGAIN) {
		correct(shared, event);
		return true;
	}
	/* A dead agent may have taken it without telling the ring so. */
	if (is_spooled(shared, event))
		return true;
	for (int i = 0; i < OTHER_SLOTS; i++) {
		struct other *other = &shared->others[i];

		if (!atomic_load_explicit(&other->taken, memory_order_acquire))
			free_slot = other;
		else if (same(&other->event, event))
			return true;
	}
	if (!free_slot)
		return false;
	free_slot->event = *event;
	/* Its own memory is gone by now: what was read ahead, or nothing. */
	names_find(event->victim.pid, process_ticks(event->victim.start_ns),
		   free_slot->victim_name);
	free_slot->sender_name[0] = 0;
	atomic_store_explicit(&free_slot->taken, 1, memory_order_release);
	return true;
}

/* It may run another program by now: then it is known by the name that it killed under. */
static bool is_still_called(pid_t pid, const char comm[LMK_COMM])
{
	char path[32], now[LMK_COMM + 1];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	length = read_small_file(path, now, sizeof(now));
	if (length > 0 && now[length - 1] == '\n')
		now[length - 1] = 0;
	return length <= 0 || !strncmp(now, comm, LMK_COMM);
}

/* The sender's whole name, or an empty one. It mostly lives on: a daemon, a shell. */
static void name_sender(const struct lmk_other_event *event, __u64 ticks, char name[PROCESS_NAME])
{
	bool lives = process_is(event->sender_pid, ticks);

	if ((!lives || is_still_called(event->sender_pid, event->sender_comm)) &&
	    (names_find(event->sender_pid, ticks, name) ||
	     (lives && !process_command(event->sender_pid, name))))
		return;
	name[0] = 0;
}

static void find_sender(struct other *other)
{
	struct lmk_other_event *event = &other->event;
	__u64 ticks = process_ticks(event->sender_start_ns);

	if (!event->sender_pid)
		return;
	name_sender(event, ticks, other->sender_name);
	if (event->cause == LMK_OTHER_PROCESS && protect_is_lmkd(event->sender_pid, ticks))
		event->cause = LMK_OTHER_LMKD;
}

/* With many to spool nobody waits: slots are for the next. */
static bool has_room(struct shared *shared)
{
	int taken = 0;

	for (int i = 0; i < OTHER_SLOTS; i++)
		taken += atomic_load_explicit(&shared->others[i].taken, memory_order_acquire) != 0;
	return taken < OTHER_SLOTS / 2;
}

static bool is_unsure(const struct other *other)
{
	return other->event.cause == LMK_OTHER_KERNEL;
}

__u64 others_due_ns(struct shared *shared)
{
	__u64 due_ns = 0;

	for (int i = 0; i < OTHER_SLOTS; i++) {
		const struct other *other = &shared->others[i];
		__u64 its_ns = other->event.head.time_ns + OTHERS_HOLD_NS;

		if (atomic_load_explicit(&other->taken, memory_order_acquire) && is_unsure(other) &&
		    (!due_ns || its_ns < due_ns))
			due_ns = its_ns;
	}
	return due_ns;
}

struct other *others_first(struct shared *shared, __u64 now_ns)
{
	struct other *first = NULL;
	bool hold = has_room(shared);

	for (int i = 0; i < OTHER_SLOTS; i++) {
		struct other *other = &shared->others[i];

		if (!atomic_load_explicit(&other->taken, memory_order_acquire))
			continue;
		if (is_spooled(shared, &other->event)) {
			/* A dead agent spooled it and did not live to free it. */
			atomic_store_explicit(&other->taken, 0, memory_order_release);
			continue;
		}
		if (hold && is_unsure(other) && now_ns < other->event.head.time_ns + OTHERS_HOLD_NS)
			continue;
		if (!first || other->event.head.time_ns < first->event.head.time_ns)
			first = other;
	}
	if (first)
		find_sender(first);
	return first;
}

void others_spooled(struct shared *shared, struct other *other)
{
	shared->last_other_pid = other->event.victim.pid;
	shared->last_other_ns = other->event.head.time_ns;
	atomic_store_explicit(&other->taken, 0, memory_order_release);
}
