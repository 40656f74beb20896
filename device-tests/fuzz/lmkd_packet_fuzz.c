// SPDX-License-Identifier: Apache-2.0
/*
 * libFuzzer: packets of lmkd's socket, from bytes to records and back to bytes. What comes in is
 * a conversation: for each packet a byte of who sends it, one of its length, and its bytes. A
 * table of few records (LMKD_RECORDS, tools/fuzz) is full soon.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lmkd_packet.h"
#include "lmkd_registry.h"

#define OWNERS	4
#define LENGTHS (LMKD_PACKET_MAX + 8)
#define ALWAYS(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			abort();                                                                   \
	} while (0)

static struct lmkd_registry registry;
static __u64 now_ticks; /* of a world in which each pid is another process every few packets */

static __u64 start_of(__s32 pid)
{
	return (now_ticks + (__u64)pid) / 8 + 1;
}

static bool is_alive(const struct lmkd_record *record, void *context)
{
	(void)context;
	return record->start_ticks == start_of(record->pid);
}

static void check_adj(__s32 adj)
{
	ALWAYS(adj >= LMKD_ADJ_MIN && adj <= LMKD_ADJ_MAX);
}

static bool is_of_others(__s32 owner, __s32 pid, __u64 start_ticks)
{
	const struct lmkd_record *record = lmkd_find(&registry, pid);

	return record && record->owner != owner && record->owner != LMKD_NOBODY &&
	       (!start_ticks || record->start_ticks == start_ticks);
}

static void put(__s32 owner, const struct lmkd_process *process)
{
	__u64 start_ticks = start_of(process->pid);
	bool others = is_of_others(owner, process->pid, start_ticks);
	enum lmkd_refusal refusal;
	struct lmkd_record *record;

	check_adj(process->adj);
	ALWAYS(lmkd_may_put(&registry, owner, process->pid, start_ticks) != others);
	refusal = lmkd_put(&registry, owner, process, start_ticks, is_alive, NULL);
	ALWAYS(others == (refusal == LMKD_REFUSE_OWNER));
	record = lmkd_find(&registry, process->pid);
	if (refusal == LMKD_TAKEN)
		ALWAYS(record && record->owner == owner && record->adj == process->adj &&
		       record->uid == process->uid && record->start_ticks == start_ticks);
	else if (refusal == LMKD_REFUSE_OWNER)
		ALWAYS(record && record->owner != owner);
	else
		ALWAYS(refusal == LMKD_REFUSE_FULL && !record);
}

/* One of a LMKD_PROCS_PRIO: the others are put whatever it is. */
static void put_or_refuse(__s32 owner, const struct lmkd_process *process)
{
	bool good = process->pid > 0 && process->adj >= LMKD_ADJ_MIN &&
		    process->adj <= LMKD_ADJ_MAX && process->type <= LMKD_SERVICE;

	if (!process->refusal) {
		ALWAYS(good);
		put(owner, process);
		return;
	}
	ALWAYS(process->refusal == LMKD_REFUSE_FLAG ||
	       (!good && process->refusal >= LMKD_REFUSE_PID &&
		process->refusal <= LMKD_REFUSE_TYPE));
}

/* Of exactly the promised sizes, on the heap: the sanitizer sees a byte too many. */
static __u8 *reply, *killed, *stat_kill, *request;

static void allocate(void)
{
	reply = malloc(LMKD_REPLY_BYTES);
	killed = malloc(LMKD_KILLED_BYTES);
	stat_kill = malloc(LMKD_STAT_BYTES);
	request = malloc(LENGTHS);
	ALWAYS(reply && killed && stat_kill && request);
}

static void encode(__s32 owner, const struct lmkd_packet *packet, const __u8 *bytes, size_t length)
{
	char name[2 * LMKD_NAME_MAX];
	struct lmkd_killed report = {.pid = owner, .name = name};
	size_t stat_length;

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = 0;
	name[bytes[length - 1] % sizeof(name)] = 0;
	if (length > sizeof(report.rss_bytes))
		memcpy(&report.rss_bytes, bytes, sizeof(report.rss_bytes));
	ALWAYS(lmkd_encode_reply(reply, LMKD_GETKILLCNT,
				 lmkd_kill_count(&registry, packet->min_adj, packet->max_adj)) ==
	       LMKD_REPLY_BYTES);
	ALWAYS(lmkd_encode_killed(killed, &report, true) == 16);
	ALWAYS(lmkd_encode_killed(killed, &report, false) == 12);
	stat_length = lmkd_encode_stat(stat_kill, &report);
	ALWAYS(stat_length >= 87 && stat_length <= LMKD_STAT_BYTES && !stat_kill[stat_length - 1]);
}

static void remove_record(__s32 owner, __s32 pid)
{
	bool others = is_of_others(owner, pid, 0);

	ALWAYS(others == (lmkd_remove(&registry, owner, pid) == LMKD_REFUSE_OWNER));
	ALWAYS(others == (lmkd_find(&registry, pid) != NULL));
}

static void apply(__s32 owner, const struct lmkd_packet *packet)
{
	switch (packet->command) {
	case LMKD_TARGET:
		ALWAYS(packet->count >= 1 && packet->count <= LMKD_TARGETS_MAX);
		for (__u32 i = 0; i < packet->count; i++)
			check_adj(packet->targets[i].adj);
		break;
	case LMKD_PROCPRIO:
		ALWAYS(packet->count == 1 && !packet->processes[0].refusal);
		put(owner, &packet->processes[0]);
		break;
	case LMKD_PROCS_PRIO:
		ALWAYS(packet->count >= 1 && packet->count <= LMKD_PROCESSES_MAX);
		for (__u32 i = 0; i < packet->count; i++)
			put_or_refuse(owner, &packet->processes[i]);
		break;
	case LMKD_PROCREMOVE:
		remove_record(owner, packet->pid);
		break;
	case LMKD_PROCPURGE:
		lmkd_purge(&registry, owner);
		break;
	case LMKD_GETKILLCNT: /* a kill, for the count to have something to count */
		lmkd_note_kill(&registry, packet->max_adj, start_of(packet->max_adj),
			       packet->min_adj);
		break;
	case LMKD_START_MONITORING: /* its connection closes */
		lmkd_release(&registry, owner);
		break;
	default:
		break;
	}
}

static void take(__u8 sender, const __u8 *bytes, size_t length)
{
	__s32 owner = 1 + sender % OWNERS;
	struct lmkd_packet packet;
	/* At the end of the memory that there is: a read beyond is seen. */
	__u8 *copy = request + LENGTHS - length;
	enum lmkd_refusal refusal;

	memcpy(copy, bytes, length);
	refusal = lmkd_parse(copy, length, &packet);
	ALWAYS(refusal < LMKD_REFUSE_SENDER && lmkd_refusal_text(refusal));
	if (!refusal) {
		ALWAYS(packet.command < LMKD_COMMANDS && length % 4 == 0 &&
		       length <= LMKD_PACKET_MAX);
		apply(owner, &packet);
		encode(owner, &packet, bytes, length);
	} else {
		ALWAYS(packet.command != LMKD_PROCS_PRIO || refusal == LMKD_REFUSE_LENGTH);
	}
	ALWAYS(registry.count <= LMKD_RECORDS && registry.used <= LMKD_RECORDS);
	now_ticks++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!request)
		allocate();
	while (size >= 2) {
		size_t length = data[1] % LENGTHS;

		if (length > size - 2)
			length = size - 2;
		take(data[0], data + 2, length);
		data += 2 + length;
		size -= 2 + length;
	}
	/* Each conversation begins with an empty table; that it can be emptied is part of the test.
	 */
	for (__s32 owner = 1; owner <= OWNERS; owner++)
		lmkd_release(&registry, owner);
	lmkd_purge(&registry, LMKD_NOBODY);
	ALWAYS(registry.count == 0);
	for (int i = 0; i < LMKD_BUCKETS; i++)
		ALWAYS(!registry.buckets[i]);
	registry = (struct lmkd_registry){0};
	now_ticks = 0;
	return 0;
}
