// SPDX-License-Identifier: Apache-2.0
/*
 * lmkd_feed.c over a registry, for ctypes. The handlers' two maps are a table here that holds as
 * much as a test wants: a kernel's would ask for root, and be full only after thousands.
 */
#include <errno.h>
#include <string.h>

#include "bpf_sys.h"
#include "lmkd_feed.h"
#include "process.h"

#define ENTRIES 64

enum { MAP_ENTRIES = 1, MAP_COUNT = 2 };

static struct {
	__s32 pid; /* 0: free */
	struct lmk_registered entry;
} table[ENTRIES];
static int room = ENTRIES;
static __u32 told_count;
static struct lmkd_registry registry;

static int place_of(__s32 pid)
{
	for (int i = 0; i < ENTRIES; i++) {
		if (table[i].pid == pid)
			return i;
	}
	return -ENOENT;
}

static int used(void)
{
	int count = 0;

	for (int i = 0; i < ENTRIES; i++)
		count += table[i].pid != 0;
	return count;
}

int bpf_map_set(int map, const void *key, const void *value)
{
	__s32 pid = *(const __s32 *)key;
	int at;

	if (map == MAP_COUNT) {
		told_count = *(const __u32 *)value;
		return 0;
	}
	at = place_of(pid);
	if (at < 0 && used() >= room)
		return -E2BIG;
	if (at < 0)
		at = place_of(0);
	table[at].pid = pid;
	table[at].entry = *(const struct lmk_registered *)value;
	/* At no time are there more than the handlers are told. */
	return used() > (int)told_count ? -EPROTO : 0;
}

int bpf_map_get(int map, const void *key, void *value)
{
	int at = place_of(*(const __s32 *)key);

	(void)map;
	if (at < 0)
		return at;
	*(struct lmk_registered *)value = table[at].entry;
	return 0;
}

int bpf_map_remove(int map, const void *key)
{
	int at = place_of(*(const __s32 *)key);

	(void)map;
	if (at < 0)
		return at;
	table[at].pid = 0;
	return 0;
}

int bpf_map_next(int map, const void *key, void *next)
{
	int at = key ? place_of(*(const __s32 *)key) + 1 : 0;

	(void)map;
	while (at < ENTRIES && !table[at].pid)
		at++;
	if (at == ENTRIES)
		return -ENOENT;
	*(__s32 *)next = table[at].pid;
	return 0;
}

/* An agent begins: its registry is empty, the map is as the last one left it. */
int feed_begin(int holds)
{
	const struct lmkd_feed maps = {.entries = MAP_ENTRIES, .count = MAP_COUNT};

	room = holds;
	memset(&registry, 0, sizeof(registry));
	return lmkd_feed_open(&registry, &maps);
}

void feed_clear(void)
{
	memset(table, 0, sizeof(table));
	told_count = 0;
}

static bool is_alive(const struct lmkd_record *record, void *context)
{
	(void)context;
	return process_is(record->pid, record->start_ticks);
}

int feed_put(int owner, int pid, __u32 uid, int adj, __u32 type, int for_us_only, int earlier)
{
	struct lmkd_process process = {
		.pid = pid, .uid = uid, .adj = adj, .type = type, .for_us_only = for_us_only};
	struct process_stat stat;
	int refusal;

	if (process_stat(pid, &stat))
		return LMKD_REFUSE_GONE;
	refusal = lmkd_put(&registry, owner, &process, stat.start_ticks - (__u64)earlier, is_alive,
			   NULL);
	return refusal ? refusal : (int)lmkd_feed_put(&registry, lmkd_find(&registry, pid));
}

/* uid, adj, flags and start in ticks; false: there is none. */
int feed_entry(int pid, __s64 out[4])
{
	int at = place_of(pid);

	if (at < 0)
		return 0;
	out[0] = table[at].entry.uid;
	out[1] = table[at].entry.adj;
	out[2] = table[at].entry.flags;
	out[3] = (__s64)process_ticks(table[at].entry.start_ns);
	return 1;
}

int feed_entries(void)
{
	return used();
}

int feed_told(void)
{
	return (int)told_count;
}

int feed_records(void)
{
	return registry.count;
}

int feed_owner(int pid)
{
	const struct lmkd_record *record = lmkd_find(&registry, pid);

	return record ? record->owner : -1;
}

int feed_remove(int owner, int pid)
{
	return (int)lmkd_remove(&registry, owner, pid);
}

void feed_purge(int owner)
{
	lmkd_purge(&registry, owner);
}

void feed_release(int owner)
{
	lmkd_release(&registry, owner);
}

void feed_note_kill(int pid)
{
	struct process_stat stat;

	if (!process_stat(pid, &stat))
		lmkd_note_kill(&registry, pid, stat.start_ticks, 0);
}
