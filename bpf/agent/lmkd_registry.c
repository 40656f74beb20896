// SPDX-License-Identifier: Apache-2.0
#include "lmkd_registry.h"

#include <stddef.h>
#include <string.h>

_Static_assert(LMKD_RECORDS < 65536, "places are 16 bits wide");

static __u16 *bucket_of(struct lmkd_registry *registry, __s32 pid)
{
	/* pids are given out one after the other: their low bits spread by themselves */
	return &registry->buckets[(__u32)pid % LMKD_BUCKETS];
}

/* Where the place of that pid's record is noted: in its bucket or in the record before. */
static __u16 *link_of(struct lmkd_registry *registry, __s32 pid)
{
	__u16 *link = bucket_of(registry, pid);

	while (*link && registry->records[*link - 1].pid != pid)
		link = &registry->records[*link - 1].next;
	return link;
}

static void remove_at(struct lmkd_registry *registry, __u16 *link)
{
	__u16 place = *link;
	struct lmkd_record *record = &registry->records[place - 1];

	if (record->feeding && registry->forget)
		registry->forget(record);
	*link = record->next;
	memset(record, 0, sizeof(*record));
	record->next = registry->free;
	registry->free = place;
	registry->count--;
}

static struct lmkd_record *insert(struct lmkd_registry *registry, __s32 pid)
{
	__u16 *bucket = bucket_of(registry, pid);
	struct lmkd_record *record;
	__u16 place;

	if (registry->free) {
		place = registry->free;
		registry->free = registry->records[place - 1].next;
	} else if (registry->used < LMKD_RECORDS) {
		place = ++registry->used;
	} else {
		return NULL;
	}
	record = &registry->records[place - 1];
	record->pid = pid;
	record->next = *bucket;
	*bucket = place;
	registry->count++;
	return record;
}

/*
 * One record of a process that is gone makes room. It goes on where it stopped the last time, and
 * looks at a bounded number: a client that fills the table does not hold up everybody else.
 */
static bool reclaim(struct lmkd_registry *registry, lmkd_is_alive alive, void *context)
{
	for (int step = 0; step < LMKD_RECLAIM_STEPS && step < LMKD_RECORDS; step++) {
		struct lmkd_record *record = &registry->records[registry->reclaim_at];

		registry->reclaim_at = (__u16)((registry->reclaim_at + 1) % LMKD_RECORDS);
		if (record->pid && !alive(record, context)) {
			remove_at(registry, link_of(registry, record->pid));
			return true;
		}
	}
	return false;
}

/* Its registrant's, and anybody's once that one is gone. */
static bool owns(const struct lmkd_record *record, __s32 owner)
{
	return record->owner == owner || record->owner == LMKD_NOBODY;
}

struct lmkd_record *lmkd_find(struct lmkd_registry *registry, __s32 pid)
{
	__u16 place = *link_of(registry, pid);

	return place ? &registry->records[place - 1] : NULL;
}

bool lmkd_may_put(struct lmkd_registry *registry, __s32 owner, __s32 pid, __u64 start_ticks)
{
	const struct lmkd_record *record = lmkd_find(registry, pid);

	return !record || record->start_ticks != start_ticks || owns(record, owner);
}

enum lmkd_refusal lmkd_put(struct lmkd_registry *registry, __s32 owner,
			   const struct lmkd_process *process, __u64 start_ticks,
			   lmkd_is_alive alive, void *context)
{
	struct lmkd_record *record = lmkd_find(registry, process->pid);

	if (record && record->start_ticks == start_ticks && !owns(record, owner))
		return LMKD_REFUSE_OWNER;
	if (!record)
		record = insert(registry, process->pid);
	if (!record && reclaim(registry, alive, context))
		record = insert(registry, process->pid);
	if (!record)
		return LMKD_REFUSE_FULL;
	if (record->start_ticks != start_ticks)
		record->named = false;
	if (record->start_ticks != start_ticks || record->uid != process->uid ||
	    record->type != process->type || record->for_us_only != process->for_us_only)
		record->known = false;
	record->for_us_only = process->for_us_only;
	record->uid = process->uid;
	record->owner = owner;
	record->adj = (__s16)process->adj;
	record->type = process->type;
	record->start_ticks = start_ticks;
	return LMKD_TAKEN;
}

enum lmkd_refusal lmkd_remove(struct lmkd_registry *registry, __s32 owner, __s32 pid)
{
	__u16 *link = link_of(registry, pid);

	if (!*link)
		return LMKD_TAKEN;
	if (!owns(&registry->records[*link - 1], owner))
		return LMKD_REFUSE_OWNER;
	remove_at(registry, link);
	return LMKD_TAKEN;
}

void lmkd_purge(struct lmkd_registry *registry, __s32 owner)
{
	for (__u16 i = 0; i < registry->used; i++) {
		struct lmkd_record *record = &registry->records[i];

		if (record->pid && owns(record, owner))
			remove_at(registry, link_of(registry, record->pid));
	}
}

__u32 lmkd_drop_fed(struct lmkd_registry *registry, bool (*there)(const struct lmkd_record *record))
{
	__u16 before = registry->count;

	for (__u16 i = 0; i < registry->used; i++) {
		struct lmkd_record *record = &registry->records[i];

		if (record->pid && record->feeding && !there(record))
			remove_at(registry, link_of(registry, record->pid));
	}
	return (__u32)(before - registry->count);
}

void lmkd_release(struct lmkd_registry *registry, __s32 owner)
{
	for (__u16 i = 0; i < registry->used; i++) {
		if (registry->records[i].pid && registry->records[i].owner == owner)
			registry->records[i].owner = LMKD_NOBODY;
	}
}

void lmkd_note_kill(struct lmkd_registry *registry, __s32 pid, __u64 start_ticks, __s32 adj)
{
	__u16 *link = link_of(registry, pid);

	if (*link && registry->records[*link - 1].start_ticks == start_ticks)
		remove_at(registry, link);
	registry->kills_total++;
	if (adj >= LMKD_ADJ_MIN && adj <= LMKD_ADJ_MAX)
		registry->kills[adj - LMKD_ADJ_MIN]++;
}

__s32 lmkd_kill_count(const struct lmkd_registry *registry, __s32 min_adj, __s32 max_adj)
{
	__u32 count = 0;

	if (min_adj > LMKD_ADJ_MAX)
		return (__s32)registry->kills_total;
	if (min_adj < LMKD_ADJ_MIN)
		min_adj = LMKD_ADJ_MIN;
	if (max_adj > LMKD_ADJ_MAX)
		max_adj = LMKD_ADJ_MAX;
	for (__s32 adj = min_adj; adj <= max_adj; adj++)
		count += registry->kills[adj - LMKD_ADJ_MIN];
	return (__s32)count;
}
