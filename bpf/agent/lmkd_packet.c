// SPDX-License-Identifier: Apache-2.0
#include "lmkd_packet.h"

#include <string.h>

#define WORD 4

static __u32 word_at(const __u8 *bytes, size_t word)
{
	const __u8 *at = bytes + WORD * word;

	return (__u32)at[0] << 24 | (__u32)at[1] << 16 | (__u32)at[2] << 8 | at[3];
}

static bool is_adj(__s32 adj)
{
	return adj >= LMKD_ADJ_MIN && adj <= LMKD_ADJ_MAX;
}

static enum lmkd_refusal parse_targets(const __u8 *words, size_t count, struct lmkd_packet *packet)
{
	if (!count || count % 2 || count / 2 > LMKD_TARGETS_MAX)
		return LMKD_REFUSE_LENGTH;
	packet->count = (__u32)(count / 2);
	for (__u32 i = 0; i < packet->count; i++) {
		struct lmkd_target *target = &packet->targets[i];

		target->minfree_pages = (__s32)word_at(words, 2 * i);
		target->adj = (__s32)word_at(words, 2 * i + 1);
		if (target->minfree_pages < 0)
			return LMKD_REFUSE_MINFREE;
		if (!is_adj(target->adj))
			return LMKD_REFUSE_ADJ;
	}
	return LMKD_TAKEN;
}

/* A process of `count` words: pid, uid, adj, and from two Android releases type and flag. */
static enum lmkd_refusal parse_process(const __u8 *words, size_t count,
				       struct lmkd_process *process)
{
	__u32 flag = count > 4 ? word_at(words, 4) : 0;

	process->pid = (__s32)word_at(words, 0);
	process->uid = word_at(words, 1);
	process->adj = (__s32)word_at(words, 2);
	process->type = count > 3 ? word_at(words, 3) : LMKD_APP;
	process->for_us_only = flag;
	if (process->pid <= 0)
		return LMKD_REFUSE_PID;
	if (!is_adj(process->adj))
		return LMKD_REFUSE_ADJ;
	if (process->type > LMKD_SERVICE)
		return LMKD_REFUSE_TYPE;
	return flag > 1 ? LMKD_REFUSE_FLAG : LMKD_TAKEN;
}

static enum lmkd_refusal parse_procprio(const __u8 *words, size_t count, struct lmkd_packet *packet)
{
	if (count < 3 || count > 5)
		return LMKD_REFUSE_LENGTH;
	packet->count = 1;
	return parse_process(words, count, &packet->processes[0]);
}

static enum lmkd_refusal parse_procs_prio(const __u8 *words, size_t count,
					  struct lmkd_packet *packet)
{
	/* Up to three records there is no number of words that could be both. */
	size_t each = count % 4 ? 5 : 4;

	if (!count || count % each || count / each > LMKD_PROCESSES_MAX)
		return LMKD_REFUSE_LENGTH;
	packet->count = (__u32)(count / each);
	for (__u32 i = 0; i < packet->count; i++) {
		struct lmkd_process *process = &packet->processes[i];

		process->refusal = parse_process(words + WORD * each * i, each, process);
	}
	return LMKD_TAKEN;
}

static enum lmkd_refusal parse_remove(const __u8 *words, size_t count, struct lmkd_packet *packet)
{
	if (count != 1)
		return LMKD_REFUSE_LENGTH;
	packet->pid = (__s32)word_at(words, 0);
	return packet->pid > 0 ? LMKD_TAKEN : LMKD_REFUSE_PID;
}

static enum lmkd_refusal parse_kill_count(const __u8 *words, size_t count,
					  struct lmkd_packet *packet)
{
	if (count != 2)
		return LMKD_REFUSE_LENGTH;
	packet->min_adj = (__s32)word_at(words, 0);
	packet->max_adj = (__s32)word_at(words, 1);
	return LMKD_TAKEN;
}

static enum lmkd_refusal parse_subscribe(const __u8 *words, size_t count,
					 struct lmkd_packet *packet)
{
	if (count != 1)
		return LMKD_REFUSE_LENGTH;
	packet->subscription = word_at(words, 0);
	return packet->subscription > LMKD_SUBSCRIBE_STAT ? LMKD_REFUSE_SUBSCRIPTION : LMKD_TAKEN;
}

enum lmkd_refusal lmkd_parse(const __u8 *bytes, size_t length, struct lmkd_packet *packet)
{
	const __u8 *words = bytes + WORD;
	size_t count = length / WORD - 1;

	memset(packet, 0, sizeof(*packet));
	if (length < WORD)
		return LMKD_REFUSE_SHORT;
	if (length > LMKD_PACKET_MAX)
		return LMKD_REFUSE_LONG;
	if (length % WORD)
		return LMKD_REFUSE_UNALIGNED;
	packet->command = word_at(bytes, 0);
	switch (packet->command) {
	case LMKD_TARGET:
		return parse_targets(words, count, packet);
	case LMKD_PROCPRIO:
		return parse_procprio(words, count, packet);
	case LMKD_PROCREMOVE:
		return parse_remove(words, count, packet);
	case LMKD_GETKILLCNT:
		return parse_kill_count(words, count, packet);
	case LMKD_SUBSCRIBE:
		return parse_subscribe(words, count, packet);
	case LMKD_PROCPURGE:
	case LMKD_UPDATE_PROPS:
	case LMKD_START_MONITORING:
	case LMKD_BOOT_COMPLETED:
		return count ? LMKD_REFUSE_LENGTH : LMKD_TAKEN;
	case LMKD_PROCKILL:
	case LMKD_STAT_KILL_OCCURRED:
		return LMKD_REFUSE_DIRECTION;
	case LMKD_PROCS_PRIO:
		return parse_procs_prio(words, count, packet);
	default:
		return LMKD_REFUSE_COMMAND;
	}
}

const char *lmkd_refusal_text(enum lmkd_refusal refusal)
{
	static const char *const texts[LMKD_REFUSALS] = {
		[LMKD_TAKEN] = "taken",
		[LMKD_REFUSE_SHORT] = "shorter than a command",
		[LMKD_REFUSE_LONG] = "longer than 64 bytes",
		[LMKD_REFUSE_UNALIGNED] = "not of whole words",
		[LMKD_REFUSE_COMMAND] = "no such command",
		[LMKD_REFUSE_DIRECTION] = "a command that is only sent by the daemon",
		[LMKD_REFUSE_LENGTH] = "not a length of that command",
		[LMKD_REFUSE_PID] = "not a pid",
		[LMKD_REFUSE_ADJ] = "an oom_score_adj outside of -1000..1000",
		[LMKD_REFUSE_TYPE] = "no such type of process",
		[LMKD_REFUSE_FLAG] = "for_lmkd_only is neither 0 nor 1",
		[LMKD_REFUSE_MINFREE] = "a negative number of pages",
		[LMKD_REFUSE_SUBSCRIPTION] = "no such subscription",
		[LMKD_REFUSE_SENDER] = "its sender is neither root nor system",
		[LMKD_REFUSE_GONE] = "the process is gone",
		[LMKD_REFUSE_THREAD] = "a thread, not a process",
		[LMKD_REFUSE_KERNEL] = "a kernel thread",
		[LMKD_REFUSE_OWNER] = "registered by another client",
		[LMKD_REFUSE_FULL] = "the table of processes is full",
		[LMKD_REFUSE_SOON] = "less than a second after the one before",
		[LMKD_REFUSE_WRITE] = "oom_score_adj cannot be written",
	};

	return refusal < LMKD_REFUSALS ? texts[refusal] : "unknown";
}

const char *lmkd_refusal_name(enum lmkd_refusal refusal)
{
	static const char *const names[LMKD_REFUSALS] = {
		[LMKD_TAKEN] = "taken",
		[LMKD_REFUSE_SHORT] = "short",
		[LMKD_REFUSE_LONG] = "long",
		[LMKD_REFUSE_UNALIGNED] = "unaligned",
		[LMKD_REFUSE_COMMAND] = "command",
		[LMKD_REFUSE_DIRECTION] = "direction",
		[LMKD_REFUSE_LENGTH] = "length",
		[LMKD_REFUSE_PID] = "pid",
		[LMKD_REFUSE_ADJ] = "adj",
		[LMKD_REFUSE_TYPE] = "type",
		[LMKD_REFUSE_FLAG] = "flag",
		[LMKD_REFUSE_MINFREE] = "minfree",
		[LMKD_REFUSE_SUBSCRIPTION] = "subscription",
		[LMKD_REFUSE_SENDER] = "sender",
		[LMKD_REFUSE_GONE] = "gone",
		[LMKD_REFUSE_THREAD] = "thread",
		[LMKD_REFUSE_KERNEL] = "kernel_thread",
		[LMKD_REFUSE_OWNER] = "owner",
		[LMKD_REFUSE_FULL] = "full",
		[LMKD_REFUSE_SOON] = "soon",
		[LMKD_REFUSE_WRITE] = "write",
	};

	return refusal < LMKD_REFUSALS ? names[refusal] : "unknown";
}

static __u8 *put16(__u8 *out, __u16 value)
{
	out[0] = (__u8)(value >> 8);
	out[1] = (__u8)value;
	return out + 2;
}

static __u8 *put32(__u8 *out, __u32 value)
{
	return put16(put16(out, (__u16)(value >> 16)), (__u16)value);
}

static __u8 *put64(__u8 *out, __s64 value)
{
	return put32(put32(out, (__u32)((__u64)value >> 32)), (__u32)value);
}

size_t lmkd_encode_reply(__u8 out[LMKD_REPLY_BYTES], enum lmkd_command command, __s32 value)
{
	return (size_t)(put32(put32(out, command), (__u32)value) - out);
}

size_t lmkd_encode_killed(__u8 out[LMKD_KILLED_BYTES], const struct lmkd_killed *killed,
			  bool with_rss_kb)
{
	__u8 *end = put32(put32(put32(out, LMKD_PROCKILL), (__u32)killed->pid), killed->uid);

	if (with_rss_kb)
		end = put32(end, (__u32)killed->rss_kb);
	return (size_t)(end - out);
}

size_t lmkd_encode_stat(__u8 out[LMKD_STAT_BYTES], const struct lmkd_killed *killed)
{
	const __s64 wide[] = {
		killed->page_faults, killed->major_page_faults, killed->rss_bytes,
		killed->cache_bytes, killed->swap_bytes,	killed->start_time_ns,
	};
	const __s32 narrow[] = {
		(__s32)killed->uid,    killed->adj,
		killed->min_adj,       killed->free_kb,
		killed->free_swap_kb,  killed->reason,
		killed->thrashing_pct, killed->max_thrashing_pct,
	};
	size_t length = strnlen(killed->name, LMKD_NAME_MAX);
	__u8 *end = put32(out, LMKD_STAT_KILL_OCCURRED);

	for (size_t i = 0; i < sizeof(wide) / sizeof(*wide); i++)
		end = put64(end, wide[i]);
	for (size_t i = 0; i < sizeof(narrow) / sizeof(*narrow); i++)
		end = put32(end, (__u32)narrow[i]);
	end = put16(end, (__u16)length);
	memcpy(end, killed->name, length);
	end[length] = 0;
	return (size_t)(end - out) + length + 1;
}
