// SPDX-License-Identifier: Apache-2.0
#include "leftovers.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "bpf_sys.h"
#include "clock.h"
#include "follow.h"
#include "ring.h"
#include "session_file.h"
#include "spool.h"

static void done(void *context)
{
	++*(unsigned int *)context;
}

static void take_event(const void *data, size_t size, void *context)
{
	const struct lmk_event_head *head = data;

	if (size < sizeof(*head) || head->size > size)
		return;
	if (head->type == LMK_EVENT_KILL && size >= sizeof(struct lmk_kill_event))
		follow_kill(context, data);
	else if (head->type != LMK_EVENT_PRESSURE && size >= sizeof(struct lmk_end_event))
		follow_end(context, data);
}

unsigned int leftovers_take(struct shared *shared)
{
	static struct follower follower;
	unsigned int count = 0;
	const char *missing;
	struct pins pins;
	struct ring ring;

	/* First nobody else may die: then the ring holds all there is. */
	bpf_dry_run();
	bpf_stop();
	if (pins_open(&pins, &missing))
		return 0; /* half-loaded: nothing was decided by them */
	follower.shared = shared;
	follower.pins = &pins;
	follower.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	follower.started_ns = boottime_ns();
	follower.done = done;
	follower.context = &count;
	follow_start(&follower);
	if (!ring_open(&ring, pins.events, pins.events_bytes)) {
		ring_consume(&ring, take_event, &follower);
		follow_due(&follower, boottime_ns());
		follow_stop(&follower);
		ring_close(&ring);
	}
	if (follower.epoll_fd >= 0)
		close(follower.epoll_fd);
	pins_close(&pins);
	return count;
}

/* The kill made first of those not in the spool; NULL: none is left. */
static struct kill *first_kill(struct shared *shared)
{
	struct kill *first = NULL;

	for (int i = 0; i < KILL_SLOTS; i++) {
		struct kill *kill = &shared->kills[i];

		if (kill->state != KILL_FREE && kill->event.kill_id != shared->last_kill_id &&
		    (!first || kill->event.kill_id < first->event.kill_id))
			first = kill;
	}
	return first;
}

int leftovers_spool(struct shared *shared, lmk_v1_Lifecycle_Kind kind, const char *text)
{
	__u8 payload[lmk_v1_Record_size];
	static struct spool spool;
	struct kill *first;
	char boot_id[40];
	int error;

	error = read_boot_id(boot_id);
	if (!error)
		error = spool_open(&spool, shared->dir, boot_id, shared->spool_limit_kb);
	if (error)
		return error;
	spool_begin_run(&spool, shared->run);
	shared->run = spool.run;
	while ((first = first_kill(shared))) {
		spool_append(&spool, payload,
			     record_kill(payload, spool.run, spool.next_seq, first));
		shared->last_kill_id = first->event.kill_id;
		first->state = KILL_FREE;
	}
	error = spool_append(
		&spool, payload,
		record_lifecycle(payload, spool.run, spool.next_seq, kind, NULL, text));
	spool_close(&spool);
	return error;
}
