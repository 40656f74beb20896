// SPDX-License-Identifier: Apache-2.0
#include "leftovers.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bpf_sys.h"
#include "clock.h"
#include "follow.h"
#include "give_back.h"
#include "lmkd_serve.h"
#include "ring.h"
#include "session_file.h"
#include "spool.h"

/* Opened when something has to be written: most leftovers fit into the slots. */
static struct spool spool;
static bool spool_is_open;

static int open_spool(struct shared *shared)
{
	char boot_id[40];
	int error;

	if (spool_is_open)
		return 0;
	error = read_boot_id(boot_id);
	if (!error)
		error = spool_open(&spool, shared->dir, boot_id, shared->spool_limit_kb);
	if (error)
		return error;
	spool_begin_run(&spool, shared->run);
	spool_is_open = true;
	return 0;
}

/* And not in the spool. */
static bool is_left(const struct shared *shared, const struct kill *kill)
{
	return kill->state != KILL_FREE && kill->event.kill_id != shared->last_kill_id;
}

/* Frees every slot: what is in one is over, or nobody is left to follow it. */
static int spool_kills(struct shared *shared)
{
	__u8 payload[lmk_v1_Record_size];
	struct kill *first;
	int error = open_spool(shared);

	if (error)
		return error;
	while ((first = first_kill(shared, is_left))) {
		lmkd_keep(shared, first);
		spool_append(&spool, payload,
			     record_kill(payload, spool.run, spool.next_seq, first, NULL));
		shared->last_kill_id = first->event.kill_id;
		first->state = KILL_FREE;
	}
	return 0;
}

static int spool_others(struct shared *shared)
{
	__u8 payload[lmk_v1_Record_size];
	struct other *first;
	int error = open_spool(shared);

	if (error)
		return error;
	while ((first = others_first(shared, OTHERS_ALL))) {
		spool_append(&spool, payload,
			     record_other(payload, spool.run, spool.next_seq, first));
		others_spooled(shared, first);
	}
	return 0;
}

static int spool_all(struct shared *shared)
{
	int error = spool_kills(shared);

	return error ? error : spool_others(shared);
}

static void done(void *context)
{
	struct shared *shared = context;

	shared->leftover_kills++;
}

static bool take_event(const void *data, size_t size, void *context)
{
	const struct lmk_event_head *head = data;

	if (size < sizeof(*head) || head->size > size)
		return true;
	if (head->type == LMK_EVENT_KILL && size >= sizeof(struct lmk_kill_event))
		return follow_kill(context, data);
	if (head->type == LMK_EVENT_OTHER && size >= sizeof(struct lmk_other_event))
		return others_take(((struct follower *)context)->shared, data);
	if (head->type != LMK_EVENT_PRESSURE && size >= sizeof(struct lmk_end_event))
		follow_end(context, data);
	return true;
}

/* All that is in the ring, however much more than the slots that is. */
static void take_ring(struct follower *follower, struct ring *ring)
{
	bool all_taken;

	do {
		all_taken = ring_consume(ring, take_event, follower);
		follow_due(follower, boottime_ns());
		follow_stop(follower);
	} while (!all_taken && !spool_all(follower->shared));
}

void leftovers_take(struct shared *shared)
{
	static struct follower follower;
	struct lmk_counters counters;
	const char *missing;
	struct pins pins;
	struct ring ring;
	__u32 zero = 0;

	/* First nobody else may die: then the ring holds all there is. */
	note_could_kill(shared, false);
	bpf_dry_run();
	bpf_stop();
	if (pins_open(&pins, &missing))
		return; /* half-loaded: nothing was decided by them */
	shared->leftovers_found = 1;
	follower.shared = shared;
	follower.pins = &pins;
	follower.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	follower.started_ns = boottime_ns();
	follower.done = done;
	follower.context = shared;
	follow_start(&follower);
	if (!ring_open(&ring, pins.events, pins.events_bytes)) {
		take_ring(&follower, &ring);
		ring_close(&ring);
	}
	if (!bpf_map_get(pins.counters, &zero, &counters))
		shared->leftover_ring_lost = counters.ring_lost;
	if (follower.epoll_fd >= 0)
		close(follower.epoll_fd);
	pins_close(&pins);
}

static int spool_lmkd(struct shared *shared)
{
	const struct lmkd_gaps *gaps = &shared->lmkd_gaps;
	__u8 payload[lmk_v1_Record_size];
	char text[160];

	if (gaps->socket_known)
		snprintf(text, sizeof(text), "lmkd answers; its socket was empty for %u ms",
			 gaps->socket_ms);
	else
		snprintf(text, sizeof(text), "lmkd answers; since when nobody did is not known");
	shared->lmkd_restored = 0;
	return spool_append(&spool, payload,
			    record_lmkd(payload, spool.run, spool.next_seq,
					lmk_v1_Lifecycle_Kind_LMKD_RESTORED, gaps, text));
}

/* By their agent they killed as long as it lived. */
static int spool_end(struct shared *shared)
{
	struct lmkd_gaps gaps = {.answered_ns = shared->lmkd_answered_ns,
				 .could_kill_ns = shared->could_kill_ns};
	__u8 payload[lmk_v1_Record_size];
	char text[96];

	if (!gaps.could_kill_ns && !kills_without_agent(shared))
		gaps.could_kill_ns = shared->agent_ended_ns;
	gaps.killer_known = gaps.could_kill_ns != 0;
	gaps.killer_ms = gaps.killer_known ? lmkd_gap_ms(gaps.could_kill_ns, gaps.answered_ns) : 0;
	if (gaps.killer_known)
		snprintf(text, sizeof(text), "lmk kills no more: %u ms without a killer",
			 gaps.killer_ms);
	else
		snprintf(text, sizeof(text), "lmk kills no more; until when it did is not known");
	shared->lmkd_answered_ns = 0;
	return spool_append(&spool, payload,
			    record_lmkd(payload, spool.run, spool.next_seq,
					lmk_v1_Lifecycle_Kind_HANDLERS_ENDED, &gaps, text));
}

/* Into the run that is open. */
static int spool_restored(struct shared *shared)
{
	__u8 payload[lmk_v1_Record_size];
	int error = shared->lmkd_restored ? spool_lmkd(shared) : 0;
	char text[224];

	if (error || !shared->units_restored[0])
		return error;
	snprintf(text, sizeof(text), "started again, and ready: %s", shared->units_restored);
	shared->units_restored[0] = 0;
	return spool_append(&spool, payload,
			    record_lifecycle(payload, spool.run, spool.next_seq,
					     lmk_v1_Lifecycle_Kind_OTHER_KILLER_RESTORED, NULL,
					     NULL, text));
}

static void close_spool(struct shared *shared)
{
	shared->run = spool.run;
	spool_close(&spool);
	spool_is_open = false;
}

int leftovers_spool(struct shared *shared, lmk_v1_Lifecycle_Kind kind, const char *text)
{
	const __u64 *lost = shared->leftovers_found ? &shared->leftover_ring_lost : NULL;
	__u8 payload[lmk_v1_Record_size];
	int error = spool_all(shared);

	if (error)
		return error;
	error = spool_append(
		&spool, payload,
		record_lifecycle(payload, spool.run, spool.next_seq, kind, NULL, lost, text));
	if (!error)
		error = spool_restored(shared);
	close_spool(shared);
	return error;
}

int leftovers_spool_restored(struct shared *shared)
{
	int error = open_spool(shared);

	if (error)
		return error;
	error = spool_restored(shared);
	if (!error && shared->lmkd_answered_ns)
		error = spool_end(shared);
	close_spool(shared);
	return error;
}
