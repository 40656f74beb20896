// SPDX-License-Identifier: Apache-2.0
#include "names.h"

#include <stdatomic.h>
#include <string.h>

/* Two ways of a hash by pid: pids in use rarely collide, and a lost name is read again. */
#define SETS 256
#define WAYS 2

struct entry {
	_Atomic __u32 version; /* odd: being written */
	pid_t pid;
	__u64 start_ticks;
	char name[PROCESS_NAME];
};

static struct entry entries[SETS][WAYS];

static struct entry *set_of(pid_t pid)
{
	return entries[(unsigned int)pid % SETS];
}

static void store(struct entry *entry, pid_t pid, __u64 start_ticks, const char *name)
{
	__u32 version = atomic_load_explicit(&entry->version, memory_order_relaxed);

	atomic_store_explicit(&entry->version, version + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	entry->pid = pid;
	entry->start_ticks = start_ticks;
	memcpy(entry->name, name, PROCESS_NAME);
	atomic_store_explicit(&entry->version, version + 2, memory_order_release);
}

int names_find(pid_t pid, __u64 start_ticks, char name[PROCESS_NAME])
{
	struct entry *set = set_of(pid);

	for (int way = 0; way < WAYS; way++) {
		struct entry *entry = &set[way];
		__u32 before = atomic_load_explicit(&entry->version, memory_order_acquire);
		int match;

		if (before & 1)
			continue;
		match = entry->pid == pid && entry->start_ticks == start_ticks;
		memcpy(name, entry->name, PROCESS_NAME);
		atomic_thread_fence(memory_order_acquire);
		if (match &&
		    atomic_load_explicit(&entry->version, memory_order_relaxed) == before &&
		    name[0])
			return 1;
	}
	name[0] = 0;
	return 0;
}

/* The entry to overwrite: this pid's, an empty one, one whose process is gone, the second. */
static struct entry *place_for(pid_t pid)
{
	struct entry *set = set_of(pid);

	for (int way = 0; way < WAYS; way++) {
		if (set[way].pid == pid || !set[way].pid)
			return &set[way];
	}
	for (int way = 0; way < WAYS; way++) {
		if (!process_is(set[way].pid, set[way].start_ticks))
			return &set[way];
	}
	return &set[WAYS - 1];
}

static int refresh_one(pid_t pid, void *context)
{
	struct process_stat stat;
	char name[PROCESS_NAME];

	(void)context;
	/* Kernel threads and what may never die need no name; the cheapest test comes first. */
	if (process_oom_score_adj(pid) < 0 || process_command(pid, name) || !name[0] ||
	    process_stat(pid, &stat))
		return 0;
	store(place_for(pid), pid, stat.start_ticks, name);
	return 0;
}

void names_refresh(void)
{
	process_each(refresh_one, NULL);
}

void names_read(pid_t pid, __u64 start_ticks)
{
	char name[PROCESS_NAME];

	if (!names_find(pid, start_ticks, name))
		names_read_again(pid, start_ticks);
}

void names_read_again(pid_t pid, __u64 start_ticks)
{
	char name[PROCESS_NAME];

	if (process_command(pid, name) || !name[0] || !process_is(pid, start_ticks))
		return;
	store(place_for(pid), pid, start_ticks, name);
}
