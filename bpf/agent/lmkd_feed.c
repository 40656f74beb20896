// SPDX-License-Identifier: Apache-2.0
#include "lmkd_feed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "bpf_sys.h"
#include "clock.h"
#include "exit_code.h"
#include "process.h"

#define TICK_NS 10000000ULL
/* Before the map is searched again for those who are gone. */
#define SWEEP_NS NSEC_PER_SEC

static struct lmkd_feed feed = {.entries = -1, .count = -1};
static __u32 count;

bool lmkd_feed_entry(const struct lmkd_record *record, __u32 uid, struct lmk_registered *entry)
{
	*entry = (struct lmk_registered){
		.start_ns = record->start_ticks * TICK_NS,
		.uid = record->uid,
		.adj = record->adj,
		.flags = (record->for_us_only ? LMK_REGISTERED_ADJ : 0U) |
			 (record->type == LMKD_SERVICE ? LMK_REGISTERED_SERVICE : 0U),
	};
	return record->uid != uid || entry->flags;
}

/* First how many there are, then one more: at no time are there more than the handlers are told. */
static int set_count(__u32 wanted)
{
	__u32 zero = 0;
	int error = bpf_map_set(feed.count, &zero, &wanted);

	if (!error)
		count = wanted;
	return error;
}

static void remove_entry(__s32 pid)
{
	int error = bpf_map_remove(feed.entries, &pid);

	if (!error && count)
		error = set_count(count - 1);
	if (error && error != -ENOENT)
		log_line("lmkd socket: map registered: %s", strerror(-error));
}

static void forget(struct lmkd_record *record)
{
	record->feeding = false;
	remove_entry(record->pid);
}

static int put_entry(struct lmkd_record *record, const struct lmk_registered *entry)
{
	int error = 0;

	if (!record->feeding)
		error = set_count(count + 1);
	if (!error)
		error = bpf_map_set(feed.entries, &record->pid, entry);
	if (error && !record->feeding)
		set_count(count - 1);
	record->feeding |= !error;
	return error;
}

static bool is_there(const struct lmkd_record *record)
{
	return process_is(record->pid, record->start_ticks);
}

/* Who is gone makes room. They are looked for now and then: a flood must not hold up the loop. */
static bool make_room(struct lmkd_registry *registry)
{
	static __u64 swept_ns;
	__u64 now_ns = boottime_ns();

	if (swept_ns && now_ns - swept_ns < SWEEP_NS)
		return false;
	swept_ns = now_ns;
	return lmkd_drop_fed(registry, is_there) != 0;
}

/*
 * What `pid` runs as. The owner of the directory, which is that also of one whose other files are
 * root's as it may not be dumped.
 */
static int read_uid(__s32 pid, __u32 *uid)
{
	struct stat stat_of;
	char path[24];

	snprintf(path, sizeof(path), "/proc/%d", pid);
	if (stat(path, &stat_of))
		return -errno;
	*uid = stat_of.st_uid;
	return 0;
}

enum lmkd_refusal lmkd_feed_put(struct lmkd_registry *registry, struct lmkd_record *record)
{
	struct lmk_registered entry;
	__u32 uid = 0;
	int error;

	if (feed.entries < 0 || (record->known && !record->for_us_only))
		return LMKD_TAKEN;
	if (read_uid(record->pid, &uid))
		return LMKD_REFUSE_GONE;
	if (!lmkd_feed_entry(record, uid, &entry)) {
		if (record->feeding)
			forget(record);
		record->known = true;
		return LMKD_TAKEN;
	}
	entry.since_ns = boottime_ns();
	error = put_entry(record, &entry);
	if (error == -E2BIG && make_room(registry))
		error = put_entry(record, &entry);
	record->known = !error;
	if (error && error != -E2BIG)
		log_line("lmkd socket: map registered: %s", strerror(-error));
	return error ? LMKD_REFUSE_FULL : LMKD_TAKEN;
}

/* Of a dead agent. What it says of a process that is gone is of no account, and goes. */
static void adopt(struct lmkd_registry *registry, __s32 pid, const struct lmk_registered *entry)
{
	struct lmkd_process process = {
		.pid = pid,
		.uid = entry->uid,
		.adj = entry->adj,
		.type = entry->flags & LMK_REGISTERED_SERVICE ? LMKD_SERVICE : LMKD_APP,
		.for_us_only = entry->flags & LMK_REGISTERED_ADJ,
	};
	__u64 start_ticks = process_ticks(entry->start_ns);
	struct lmkd_record *record;

	count++;
	if (!process_is(pid, start_ticks) ||
	    lmkd_put(registry, LMKD_NOBODY, &process, start_ticks, NULL, NULL)) {
		remove_entry(pid);
		return;
	}
	record = lmkd_find(registry, pid);
	record->feeding = record->known = true;
}

int lmkd_feed_open(struct lmkd_registry *registry, const struct lmkd_feed *maps)
{
	struct lmk_registered entry;
	__s32 pid, next;
	int end;

	feed = *maps;
	registry->forget = forget;
	count = 0;
	end = bpf_map_next(feed.entries, NULL, &next);
	while (!end) {
		pid = next;
		/* What follows is asked before the key goes: afterwards it has no place. */
		end = bpf_map_next(feed.entries, &pid, &next);
		if (!bpf_map_get(feed.entries, &pid, &entry))
			adopt(registry, pid, &entry);
	}
	return set_count(count);
}
