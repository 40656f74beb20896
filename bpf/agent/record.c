// SPDX-License-Identifier: Apache-2.0
#include "record.h"

#include <pb_encode.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "policy/rank.h"
#include "rules.h"
#include "spool.h"

static lmk_v1_Record message;

static void begin(__u32 run, __u64 seq, pb_size_t which)
{
	memset(&message, 0, sizeof(message));
	message.seq = seq;
	message.run = run;
	message.time_ns = boottime_ns();
	message.which_body = which;
}

static size_t encode(__u8 *out)
{
	pb_ostream_t stream = pb_ostream_from_buffer(out, lmk_v1_Record_size);

	return pb_encode(&stream, lmk_v1_Record_fields, &message) ? stream.bytes_written : 0;
}

/*
 * Proto strings must be UTF-8, names of processes need not be: bytes that do not decode
 * become '?'. Cuts at `size` - 1 bytes, never inside a character.
 */
static void copy_text(char *out, size_t size, const char *text)
{
	size_t length = 0;

	while (*text) {
		unsigned char lead = (unsigned char)*text;
		size_t bytes = lead < 0x80   ? 1
			       : lead < 0xc2 ? 0
			       : lead < 0xe0 ? 2
			       : lead < 0xf0 ? 3
			       : lead < 0xf5 ? 4
					     : 0;

		for (size_t i = 1; i < bytes; i++) {
			if (((unsigned char)text[i] & 0xc0) != 0x80)
				bytes = 0;
		}
		/* Overlong forms, surrogates and what lies beyond U+10FFFF. */
		if ((lead == 0xe0 && (unsigned char)text[1] < 0xa0) ||
		    (lead == 0xed && (unsigned char)text[1] >= 0xa0) ||
		    (lead == 0xf0 && (unsigned char)text[1] < 0x90) ||
		    (lead == 0xf4 && (unsigned char)text[1] >= 0x90))
			bytes = 0;
		if (length + (bytes ? bytes : 1) >= size)
			break;
		if (!bytes) {
			out[length++] = '?';
			text++;
			continue;
		}
		memcpy(out + length, text, bytes);
		length += bytes;
		text += bytes;
	}
	out[length] = 0;
}

void record_sample(lmk_v1_Sample *out, const struct lmk_sample *sample)
{
	memset(out, 0, sizeof(*out));
	out->time_ns = sample->time_ns;
	out->mem_total_kb = sample->total_kb;
	out->mem_free_kb = sample->free_kb;
	out->has_mem_available_kb = sample->known & LMK_KNOWN_AVAILABLE;
	out->mem_available_kb = sample->available_kb;
	out->watermark_min_kb = sample->wmark_min_kb;
	out->watermark_low_kb = sample->wmark_low_kb;
	out->watermark_high_kb = sample->wmark_high_kb;
	out->has_swap_total_kb = out->has_swap_free_kb = sample->known & LMK_KNOWN_SWAP;
	out->swap_total_kb = sample->swap_total_kb;
	out->swap_free_kb = sample->swap_free_kb;
	out->file_kb = sample->file_kb;
	out->anon_kb = sample->anon_kb;
	out->shmem_kb = sample->shmem_kb;
	out->slab_reclaimable_kb = sample->slab_reclaimable_kb;
	out->has_psi_some_total_us = out->has_psi_full_total_us = out->has_psi_some_window_us =
		out->has_psi_full_window_us = sample->known & LMK_KNOWN_PSI;
	out->psi_some_total_us = sample->psi_some_total_us;
	out->psi_full_total_us = sample->psi_full_total_us;
	out->psi_some_window_us = sample->psi_some_window_us;
	out->psi_full_window_us = sample->psi_full_window_us;
	out->direct_reclaimers = sample->direct_reclaimers;
	out->kswapd_awake = sample->kswapd_awake;
	out->has_workingset_refault_file = out->has_workingset_refault_anon =
		sample->known & LMK_KNOWN_REFAULTS;
	out->workingset_refault_file = sample->refault_file;
	out->workingset_refault_anon = sample->refault_anon;
	out->cma_free_kb = sample->cma_free_kb;
	out->inactive_file_kb = sample->inactive_file_kb;
	out->dirty_kb = sample->dirty_kb;
	out->anon_lru_kb = sample->anon_lru_kb;
	out->has_reclaim_foreground_us = out->has_reclaim_background_us =
		out->has_reclaim_longest_us = sample->known & LMK_KNOWN_RECLAIM;
	out->reclaim_foreground_us = sample->reclaim_foreground_us;
	out->reclaim_background_us = sample->reclaim_background_us;
	out->reclaim_longest_us = sample->reclaim_longest_us;
	out->has_psi_full_avg10_pct100 = sample->known & LMK_KNOWN_PSI;
	out->psi_full_avg10_pct100 = sample->full_avg10_pct100;
	out->has_compression_pct = sample->known & LMK_KNOWN_COMPRESSION;
	out->compression_pct = sample->compression_pct;
}

void record_process(lmk_v1_Process *out, const struct lmk_process *process, const char *name,
		    const lmk_v1_Policy *policy)
{
	char comm[LMK_COMM + 1], match[160] = "";

	memset(out, 0, sizeof(*out));
	out->pid = process->pid;
	out->tid = process->tid;
	out->uid = process->uid;
	out->oom_score_adj = process->adj;
	out->start_time_ns = process->start_ns;
	memcpy(comm, process->comm, LMK_COMM);
	comm[LMK_COMM] = 0;
	copy_text(out->comm, sizeof(out->comm), comm);
	copy_text(out->name, sizeof(out->name), name && *name ? name : comm);
	out->anon_kb = process->anon_kb;
	out->file_kb = process->file_kb;
	out->shmem_kb = process->shmem_kb;
	out->swap_kb = process->swap_kb;
	out->page_tables_kb = process->pgtables_kb;
	out->threads = process->threads;
	out->has_minor_faults = out->has_major_faults = true;
	out->minor_faults = process->min_flt;
	out->major_faults = process->maj_flt;
	out->service = process->flags & LMK_PROC_SERVICE;
	out->oom_score_adj_told = process->flags & LMK_PROC_TOLD_ADJ;
	out->rule = process->rule;
	if (policy)
		rules_describe(policy, process->rule, match, sizeof(match));
	copy_text(out->rule_match, sizeof(out->rule_match), match);
}

static void add_signal(lmk_v1_Signal *out, pb_size_t *count, lmk_v1_Signal_Kind kind, __u64 value,
		       __u64 limit, __u32 breached)
{
	out[(*count)++] = (lmk_v1_Signal){
		.kind = kind, .value = value, .limit = limit, .breached = breached != 0};
}

pb_size_t record_signals(lmk_v1_Signal out[RECORD_SIGNALS], const struct lmk_sample *sample,
			 const struct lmk_verdict *verdict)
{
	__u32 breached = verdict->breached;
	pb_size_t count = 0;

	add_signal(out, &count, lmk_v1_Signal_Kind_FREE_KB, verdict->free_kb,
		   verdict->free_limit_kb, breached & LMK_SIGNAL_FREE);
	add_signal(out, &count, lmk_v1_Signal_Kind_AVAILABLE_KB, lmk_available_kb(sample),
		   verdict->available_limit_kb, breached & LMK_SIGNAL_AVAILABLE);
	if (sample->known & LMK_KNOWN_SWAP)
		add_signal(out, &count, lmk_v1_Signal_Kind_SWAP_FREE_KB, verdict->swap_free_kb,
			   verdict->swap_limit_kb, breached & LMK_SIGNAL_SWAP);
	if (sample->known & LMK_KNOWN_PSI) {
		add_signal(out, &count, lmk_v1_Signal_Kind_SOME_STALL_US, verdict->some_us,
			   verdict->some_limit_us, breached & LMK_SIGNAL_SOME);
		add_signal(out, &count, lmk_v1_Signal_Kind_FULL_STALL_US, verdict->full_us,
			   verdict->full_limit_us, breached & LMK_SIGNAL_FULL);
	}
	if (sample->known & LMK_KNOWN_REFAULTS)
		add_signal(out, &count, lmk_v1_Signal_Kind_THRASHING_PCT, verdict->thrashing_pct,
			   verdict->thrashing_limit_pct, breached & LMK_SIGNAL_THRASHING);
	if (verdict->swap_util_limit_pct < 100)
		add_signal(out, &count, lmk_v1_Signal_Kind_SWAP_UTIL_PCT, verdict->swap_util_pct,
			   verdict->swap_util_limit_pct, breached & LMK_SIGNAL_SWAP_UTIL);
	if (sample->known & LMK_KNOWN_RECLAIM && verdict->reclaim_limit_us)
		add_signal(out, &count, lmk_v1_Signal_Kind_DIRECT_RECLAIM_US,
			   sample->reclaim_longest_us, verdict->reclaim_limit_us,
			   breached & LMK_SIGNAL_RECLAIM);
	if (verdict->filecache_limit_kb)
		add_signal(out, &count, lmk_v1_Signal_Kind_FILE_CACHE_KB, sample->file_kb,
			   verdict->filecache_limit_kb, breached & LMK_SIGNAL_FILECACHE);
	return count;
}

static void kill_times(lmk_v1_KillTimes *out, const struct kill *kill)
{
	const struct lmk_kill_event *event = &kill->event;

	out->seen_ns = event->seen_ns;
	out->gated_ns = event->gated_ns;
	out->decided_ns = event->decided_ns;
	out->has_signalled_ns = event->signalled_ns != 0;
	out->signalled_ns = event->signalled_ns;
	out->has_exited_ns = kill->exited_ns != 0;
	out->exited_ns = kill->exited_ns;
	out->has_memory_back_ns = kill->memory_back_ns != 0;
	out->memory_back_ns = kill->memory_back_ns;
	out->has_mrelease_begin_ns = out->has_mrelease_end_ns = kill->mrelease_begin_ns != 0;
	out->mrelease_begin_ns = kill->mrelease_begin_ns;
	out->mrelease_end_ns = kill->mrelease_end_ns;
}

static __s64 change(__u64 before, __u64 after)
{
	return (__s64)after - (__s64)before;
}

static void kill_effects(lmk_v1_KillReport *out, const struct kill *kill)
{
	const struct lmk_sample *before = &kill->event.sample, *after = &kill->after;
	__u32 known = before->known & after->known;

	out->has_freed_kb = kill->left_known;
	out->freed_kb = change(kill->left_kb, lmk_footprint_kb(&kill->event.victim));
	if (!kill->after_known)
		return;
	out->has_after = true;
	record_sample(&out->after, after);
	out->has_mem_free_delta_kb = true;
	out->mem_free_delta_kb = change(before->free_kb, after->free_kb);
	out->has_mem_available_delta_kb = known & LMK_KNOWN_AVAILABLE;
	out->mem_available_delta_kb = change(before->available_kb, after->available_kb);
	out->has_swap_free_delta_kb = known & LMK_KNOWN_SWAP;
	out->swap_free_delta_kb = change(before->swap_free_kb, after->swap_free_kb);
	out->has_psi_some_delta_us = out->has_psi_full_delta_us = known & LMK_KNOWN_PSI;
	out->psi_some_delta_us = change(before->psi_some_total_us, after->psi_some_total_us);
	out->psi_full_delta_us = change(before->psi_full_total_us, after->psi_full_total_us);
}

size_t record_kill(__u8 *out, __u32 run, __u64 seq, const struct kill *kill,
		   const lmk_v1_Policy *policy)
{
	const struct lmk_kill_event *event = &kill->event;
	lmk_v1_KillReport *report = &message.body.kill;

	begin(run, seq, lmk_v1_Record_kill_tag);
	report->kill_id = event->kill_id;
	report->has_victim = true;
	record_process(&report->victim, &event->victim, kill->victim_name, policy);
	report->victim.address_space_sharers = event->sharers;
	report->reason = (lmk_v1_Reason)event->verdict.reason;
	report->min_oom_score_adj = event->verdict.floor;
	report->signals_count = record_signals(report->signals, &event->sample, &event->verdict);
	report->has_before = true;
	record_sample(&report->before, &event->sample);
	for (__u32 i = 0; i < event->n_candidates && i < LMK_CANDIDATES; i++)
		record_process(&report->candidates[report->candidates_count++],
			       &event->candidates[i], kill->candidate_names[i], policy);
	report->processes_seen = event->processes_seen;
	report->processes_eligible = event->processes_eligible;
	report->has_times = true;
	kill_times(&report->times, kill);
	report->memory_back = (lmk_v1_KillReport_MemoryBack)kill->memory_back;
	kill_effects(report, kill);
	report->path = (lmk_v1_KillPath)event->path;
	report->carrier = (lmk_v1_Carrier)event->carrier;
	report->dry_run = event->dry_run;
	report->attempts = kill->attempts;
	report->has_mrelease_result = kill->mrelease_begin_ns != 0;
	report->mrelease_result = kill->mrelease_result;
	report->agent_absent = kill->agent_absent;
	report->has_thrashing_pct = report->has_max_thrashing_pct =
		event->sample.known & LMK_KNOWN_REFAULTS;
	report->thrashing_pct = event->verdict.thrashing_pct;
	report->max_thrashing_pct = event->verdict.thrashing_max_pct;
	return encode(out);
}

size_t record_other(__u8 *out, __u32 run, __u64 seq, const struct other *other)
{
	const struct lmk_other_event *event = &other->event;
	lmk_v1_OtherKill *report = &message.body.other_kill;
	char comm[LMK_COMM + 1];

	begin(run, seq, lmk_v1_Record_other_kill_tag);
	report->has_victim = true;
	record_process(&report->victim, &event->victim, other->victim_name, NULL);
	/* Who died for something else was not worth a second walk over its threads. */
	report->victim.has_minor_faults = report->victim.has_major_faults = false;
	report->cause = (lmk_v1_OtherKill_Cause)event->cause;
	report->exited_ns = event->head.time_ns;
	report->has_signalled_ns = event->signalled_ns != 0;
	report->signalled_ns = event->signalled_ns;
	report->has_sender = event->sender_pid != 0;
	report->sender.pid = event->sender_pid;
	report->sender.uid = event->sender_uid;
	memcpy(comm, event->sender_comm, LMK_COMM);
	comm[LMK_COMM] = 0;
	copy_text(report->sender.comm, sizeof(report->sender.comm), comm);
	copy_text(report->sender.name, sizeof(report->sender.name),
		  other->sender_name[0] ? other->sender_name : comm);
	return encode(out);
}

size_t record_lifecycle(__u8 *out, __u32 run, __u64 seq, lmk_v1_Lifecycle_Kind kind,
			const struct record_peer *peer, const __u64 *ring_lost, const char *text)
{
	begin(run, seq, lmk_v1_Record_lifecycle_tag);
	message.body.lifecycle.kind = kind;
	copy_text(message.body.lifecycle.text, sizeof(message.body.lifecycle.text), text);
	if (peer) {
		message.body.lifecycle.has_uid = true;
		message.body.lifecycle.uid = peer->uid;
		message.body.lifecycle.has_pid = true;
		message.body.lifecycle.pid = peer->pid;
	}
	if (ring_lost) {
		message.body.lifecycle.has_ring_lost = true;
		message.body.lifecycle.ring_lost = *ring_lost;
	}
	return encode(out);
}

size_t record_lmkd(__u8 *out, __u32 run, __u64 seq, lmk_v1_Lifecycle_Kind kind,
		   const struct lmkd_gaps *gaps, const char *text)
{
	lmk_v1_Lifecycle *lifecycle = &message.body.lifecycle;

	begin(run, seq, lmk_v1_Record_lifecycle_tag);
	lifecycle->kind = kind;
	copy_text(lifecycle->text, sizeof(lifecycle->text), text);
	lifecycle->has_killer_gap_ms = gaps->killer_known;
	lifecycle->killer_gap_ms = gaps->killer_ms;
	lifecycle->has_socket_gap_ms = gaps->socket_known;
	lifecycle->socket_gap_ms = gaps->socket_ms;
	lifecycle->has_lmkd_answered_ns = gaps->answered_ns != 0;
	lifecycle->lmkd_answered_ns = gaps->answered_ns;
	lifecycle->has_could_kill_until_ns = gaps->could_kill_ns != 0;
	lifecycle->could_kill_until_ns = gaps->could_kill_ns;
	return encode(out);
}

size_t record_lost(__u8 *out, lmk_v1_Lost_Where where, __u32 run, __u64 from, __u64 count)
{
	begin(run, 0, lmk_v1_Record_lost_tag);
	message.body.lost.where = where;
	message.body.lost.from = from;
	message.body.lost.count = count;
	message.body.lost.run = run;
	return encode(out);
}

size_t record_hello(__u8 *out, const lmk_v1_Hello *hello)
{
	begin(hello->run, 0, lmk_v1_Record_hello_tag);
	message.body.hello = *hello;
	return encode(out);
}

size_t record_heartbeat(__u8 *out, __u32 run, const lmk_v1_Heartbeat *heartbeat)
{
	begin(run, 0, lmk_v1_Record_heartbeat_tag);
	message.body.heartbeat = *heartbeat;
	return encode(out);
}

size_t record_frame(__u8 *out, const __u8 *payload, size_t length)
{
	size_t head;

	out[0] = SPOOL_RECORD_TAG;
	head = 1 + varint_put(out + 1, length);
	memcpy(out + head, payload, length);
	return head + length;
}
