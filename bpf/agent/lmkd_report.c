// SPDX-License-Identifier: Apache-2.0
#include "lmkd_report.h"

#include <stdio.h>

/* lmkd counts its reasons from 0, the atom that ActivityManager makes of them, and we, from 1. */
static __s32 reason_of(__u32 reason)
{
	if (reason >= LMK_REASON_VENDOR)
		return (__s32)reason; /* VENDOR_KILL_REASON_BASE of lmkd is the same */
	return reason <= LMK_REASON_DIRECT_RECL_STUCK ? (__s32)reason - 1 : LMKD_NO_REASON;
}

bool lmkd_report(const struct kill *kill, struct lmkd_killed *killed, char name[LMKD_NAME_MAX + 1])
{
	const struct lmk_kill_event *event = &kill->event;
	const struct lmk_process *victim = &event->victim;
	__u64 rss_kb = victim->anon_kb + victim->file_kb + victim->shmem_kb;

	if (event->dry_run || event->kill_result)
		return false;
	if (kill->victim_name[0])
		snprintf(name, LMKD_NAME_MAX + 1, "%.*s", PROCESS_NAME, kill->victim_name);
	else
		snprintf(name, LMKD_NAME_MAX + 1, "%.*s", LMK_COMM, victim->comm);
	*killed = (struct lmkd_killed){
		.pid = victim->pid,
		.uid = victim->uid,
		.page_faults = (__s64)victim->min_flt,
		.major_page_faults = (__s64)victim->maj_flt,
		.rss_bytes = (__s64)rss_kb * 1024,
		.cache_bytes = LMKD_NO_STAT, /* of a memory cgroup, which is not read */
		.swap_bytes = (__s64)victim->swap_kb * 1024,
		.start_time_ns = (__s64)victim->start_ns,
		.rss_kb = (__s32)rss_kb,
		.adj = victim->adj,
		.min_adj = event->verdict.floor,
		.free_kb = (__s32)event->sample.free_kb,
		.free_swap_kb = (__s32)event->verdict.swap_free_kb,
		.reason = reason_of(event->verdict.reason),
		.thrashing_pct = (__s32)event->verdict.thrashing_pct,
		.max_thrashing_pct = (__s32)event->verdict.thrashing_max_pct,
		.name = name,
		.signalled_ns = event->signalled_ns,
	};
	return true;
}
