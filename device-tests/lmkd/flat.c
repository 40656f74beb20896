// SPDX-License-Identifier: Apache-2.0
/*
 * lmkd_packet.c, lmkd_registry.c and lmkd_report.c for ctypes: structs as arrays. No logic here.
 */
#include <string.h>

#include "lmkd_packet.h"
#include "lmkd_registry.h"
#include "lmkd_report.h"

/*
 * What was read: command, count, 15 words of its arguments, then the refusal of each process.
 * Returns the packet's.
 */
int flat_parse(const __u8 *bytes, size_t length, __s32 out[20])
{
	struct lmkd_packet packet;
	enum lmkd_refusal refusal = lmkd_parse(bytes, length, &packet);
	__s32 *refusals = out + 17;

	memset(out, 0, 20 * sizeof(*out));
	out[0] = (__s32)packet.command;
	out[1] = (__s32)packet.count;
	out += 2;
	if (refusal)
		return refusal;
	switch (packet.command) {
	case LMKD_TARGET:
		memcpy(out, packet.targets, packet.count * sizeof(packet.targets[0]));
		break;
	case LMKD_PROCPRIO:
	case LMKD_PROCS_PRIO:
		for (__u32 i = 0; i < packet.count; i++) {
			const struct lmkd_process *process = &packet.processes[i];

			*out++ = process->pid;
			*out++ = (__s32)process->uid;
			*out++ = process->adj;
			*out++ = (__s32)process->type;
			*out++ = process->for_us_only;
			*refusals++ = (__s32)process->refusal;
		}
		break;
	case LMKD_PROCREMOVE:
		out[0] = packet.pid;
		break;
	case LMKD_GETKILLCNT:
		out[0] = packet.min_adj;
		out[1] = packet.max_adj;
		break;
	case LMKD_SUBSCRIBE:
		out[0] = (__s32)packet.subscription;
		break;
	default:
		break;
	}
	return LMKD_TAKEN;
}

const char *flat_text(int refusal)
{
	return lmkd_refusal_text((enum lmkd_refusal)refusal);
}

int flat_reply(__u8 *out, int command, int value)
{
	return (int)lmkd_encode_reply(out, (enum lmkd_command)command, value);
}

static struct lmkd_killed killed_of(const __s64 fields[16], const char *name)
{
	return (struct lmkd_killed){
		.pid = (__s32)fields[0],
		.uid = (__u32)fields[1],
		.rss_kb = (__s32)fields[2],
		.page_faults = fields[3],
		.major_page_faults = fields[4],
		.rss_bytes = fields[5],
		.cache_bytes = fields[6],
		.swap_bytes = fields[7],
		.start_time_ns = fields[8],
		.adj = (__s32)fields[9],
		.min_adj = (__s32)fields[10],
		.free_kb = (__s32)fields[11],
		.free_swap_kb = (__s32)fields[12],
		.reason = (__s32)fields[13],
		.thrashing_pct = (__s32)fields[14],
		.max_thrashing_pct = (__s32)fields[15],
		.name = name,
	};
}

int flat_killed(__u8 *out, const __s64 fields[16], const char *name, int with_rss_kb)
{
	struct lmkd_killed killed = killed_of(fields, name);

	return (int)lmkd_encode_killed(out, &killed, with_rss_kb);
}

int flat_stat(__u8 *out, const __s64 fields[16], const char *name)
{
	struct lmkd_killed killed = killed_of(fields, name);

	return (int)lmkd_encode_stat(out, &killed);
}

/* What is told of a kill of ours, as LMKD_STAT_KILL_OCCURRED; 0: nothing. */
int flat_report(__u8 *out, const __s64 fields[17], const char *name, const char *comm)
{
	char told_name[LMKD_NAME_MAX + 1];
	struct lmkd_killed killed;
	struct kill kill = {.event = {
				    .victim = {.pid = (__s32)fields[0],
					       .uid = (__u32)fields[1],
					       .adj = (__s32)fields[2],
					       .start_ns = (__u64)fields[3],
					       .anon_kb = (__u64)fields[4],
					       .file_kb = (__u64)fields[5],
					       .shmem_kb = (__u64)fields[6],
					       .swap_kb = (__u64)fields[7],
					       .min_flt = (__u64)fields[8],
					       .maj_flt = (__u64)fields[9]},
				    .verdict = {.reason = (__u32)fields[10],
						.floor = (__s32)fields[11],
						.swap_free_kb = (__u64)fields[12],
						.thrashing_pct = (__u32)fields[13],
						.thrashing_max_pct = (__u32)fields[14]},
				    .sample = {.free_kb = (__u64)fields[15]},
				    .dry_run = fields[16] == 1,
				    .kill_result = fields[16] < 0 ? (__s32)fields[16] : 0,
			    }};

	memcpy(kill.victim_name, name, strnlen(name, sizeof(kill.victim_name) - 1));
	memcpy(kill.event.victim.comm, comm, strnlen(comm, LMK_COMM));
	return lmkd_report(&kill, &killed, told_name) ? (int)lmkd_encode_stat(out, &killed) : 0;
}

size_t flat_registry_size(void)
{
	return sizeof(struct lmkd_registry);
}

int flat_records(void)
{
	return LMKD_RECORDS;
}

int flat_reclaim_steps(void)
{
	return LMKD_RECLAIM_STEPS;
}

typedef int (*flat_alive)(int pid);

static bool ask_alive(const struct lmkd_record *record, void *context)
{
	return ((flat_alive)context)(record->pid);
}

int flat_put(struct lmkd_registry *registry, int owner, int pid, __u32 uid, int adj,
	     __u64 start_ticks, flat_alive alive)
{
	struct lmkd_process process = {.pid = pid, .uid = uid, .adj = adj};

	return lmkd_put(registry, owner, &process, start_ticks, ask_alive, (void *)alive);
}

/* pid, uid, adj, owner and start time; false: none. */
int flat_find(struct lmkd_registry *registry, int pid, __s64 out[5])
{
	const struct lmkd_record *record = lmkd_find(registry, pid);

	if (!record)
		return 0;
	out[0] = record->pid;
	out[1] = record->uid;
	out[2] = record->adj;
	out[3] = record->owner;
	out[4] = (__s64)record->start_ticks;
	return 1;
}

int flat_may_put(struct lmkd_registry *registry, int owner, int pid, __u64 start_ticks)
{
	return lmkd_may_put(registry, owner, pid, start_ticks);
}

int flat_remove(struct lmkd_registry *registry, int owner, int pid)
{
	return lmkd_remove(registry, owner, pid);
}

void flat_purge(struct lmkd_registry *registry, int owner)
{
	lmkd_purge(registry, owner);
}

void flat_release(struct lmkd_registry *registry, int owner)
{
	lmkd_release(registry, owner);
}

void flat_note_kill(struct lmkd_registry *registry, int pid, __u64 start_ticks, int adj)
{
	lmkd_note_kill(registry, pid, start_ticks, adj);
}

int flat_kill_count(struct lmkd_registry *registry, int min_adj, int max_adj)
{
	return lmkd_kill_count(registry, min_adj, max_adj);
}

int flat_count(const struct lmkd_registry *registry)
{
	return registry->count;
}
