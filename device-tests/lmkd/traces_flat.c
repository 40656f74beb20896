// SPDX-License-Identifier: Apache-2.0
/* lmkd_traces.c and android_log.c for ctypes: structs as arrays. No logic here. */
#include <string.h>

#include "lmkd_traces.h"

/* pid, uid, adj, min_adj, rss_kb, swap_bytes, reason, thrashing and its maximum. */
static struct lmkd_killed killed_of(const __s64 fields[9], const char *name)
{
	return (struct lmkd_killed){
		.pid = (__s32)fields[0],
		.uid = (__u32)fields[1],
		.adj = (__s32)fields[2],
		.min_adj = (__s32)fields[3],
		.rss_kb = (__s32)fields[4],
		.swap_bytes = fields[5],
		.reason = (__s32)fields[6],
		.thrashing_pct = (__s32)fields[7],
		.max_thrashing_pct = (__s32)fields[8],
		.name = name,
	};
}

static int put(const struct android_log *log, __u8 *out)
{
	memcpy(out, log->bytes, log->length);
	return (int)log->length;
}

int flat_log_kill(__u8 *out, const __s64 fields[9], const char *name, __u32 reason)
{
	struct lmkd_killed killed = killed_of(fields, name);
	struct android_log log;

	lmkd_log_kill(&log, &killed, lmkd_reason_text(reason));
	return put(&log, out);
}

/* signalled and memory back in ns, result of process_mrelease, whether it was called. */
int flat_log_end(__u8 *out, const __s64 fields[4])
{
	struct kill kill = {.memory_back_ns = (__u64)fields[1],
			    .mrelease_result = (__s32)fields[2],
			    .mrelease_begin_ns = (__u64)fields[3],
			    .event = {.signalled_ns = (__u64)fields[0], .victim = {.pid = 77}}};
	struct android_log log;

	lmkd_log_end(&log, &kill);
	return put(&log, out);
}

/* KiB: free, shmem, swap total, swap free, file, inactive file, reclaimable slab, CMA free. */
int flat_log_killinfo(__u8 *out, const __s64 fields[9], const __u64 sample[8], __u64 seen_ns,
		      __u64 decided_ns, const char *meminfo, const char *const pressure[3])
{
	struct lmkd_killed killed = killed_of(fields, "");
	struct kill kill = {.event = {.seen_ns = seen_ns,
				      .decided_ns = decided_ns,
				      .sample = {.free_kb = sample[0],
						 .shmem_kb = sample[1],
						 .swap_total_kb = sample[2],
						 .swap_free_kb = sample[3],
						 .file_kb = sample[4],
						 .inactive_file_kb = sample[5],
						 .slab_reclaimable_kb = sample[6],
						 .cma_free_kb = sample[7]}}};
	struct android_log log;

	lmkd_log_killinfo(&log, &kill, &killed, meminfo, pressure);
	return put(&log, out);
}

int flat_trace_mark(char out[LMKD_TRACE_BYTES], __s32 pid, const __s64 fields[9])
{
	struct lmkd_killed killed = killed_of(fields, "");

	return (int)lmkd_trace_mark(out, pid, &killed);
}

void flat_minfree_levels(const __s32 *words, __u32 count, char *value, size_t size)
{
	lmkd_minfree_levels((const struct lmkd_target *)words, count, value, size);
}

/* To `path`. 0 or -errno. */
int flat_send(const char *path, const char *text)
{
	struct android_log log;

	android_log_text(&log, ANDROID_LOG_INFO, "tag", "%s", text);
	return android_log_send(&log, path);
}
