// SPDX-License-Identifier: Apache-2.0
#include "lmkd_traces.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "process.h"

#define MEMINFO_BYTES  4096
#define PRESSURE_BYTES 256

/* -- the log -------------------------------------------------------------------------------- */

const char *lmkd_reason_text(__u32 reason)
{
	static const char *const texts[] = {
		[LMK_REASON_PRESSURE_AFTER_KILL] = "pressure goes on after a kill",
		[LMK_REASON_NOT_RESPONDING] = "nothing responds",
		[LMK_REASON_LOW_SWAP_AND_THRASHING] = "little swap and thrashing",
		[LMK_REASON_LOW_MEM_AND_SWAP] = "little memory and little swap",
		[LMK_REASON_LOW_MEM_AND_THRASHING] = "little memory and thrashing",
		[LMK_REASON_DIRECT_RECL_AND_THRASHING] = "direct reclaim and thrashing",
		[LMK_REASON_LOW_MEM_AND_SWAP_UTIL] = "little memory and much in swap",
		[LMK_REASON_LOW_FILECACHE_AFTER_THRASHING] = "little file cache after thrashing",
		[LMK_REASON_LOW_MEM] = "little memory",
		[LMK_REASON_DIRECT_RECL_STUCK] = "direct reclaim is stuck",
	};

	if (reason == LMK_REASON_PARTIAL_STALL)
		return "work waits for memory";
	if (reason >= LMK_REASON_VENDOR)
		return "asked for";
	return reason < sizeof(texts) / sizeof(texts[0]) ? texts[reason] : NULL;
}

void lmkd_log_kill(struct android_log *log, const struct lmkd_killed *killed, const char *reason)
{
	android_log_text(
		log, ANDROID_LOG_INFO, LMKD_LOG_TAG,
		"Kill '%s' (%d), uid %d, oom_score_adj %d to free %dkB rss, %lldkB swap%s%s",
		killed->name, killed->pid, (int)killed->uid, killed->adj, killed->rss_kb,
		killed->swap_bytes / 1024, reason ? "; reason: " : "", reason ? reason : "");
}

void lmkd_log_end(struct android_log *log, const struct kill *kill)
{
	const struct lmk_kill_event *event = &kill->event;

	if (kill->mrelease_begin_ns && kill->mrelease_result)
		android_log_text(log, ANDROID_LOG_ERROR, LMKD_LOG_TAG,
				 "process_mrelease %d failed: %s", event->victim.pid,
				 strerror(-kill->mrelease_result));
	else
		android_log_text(log, ANDROID_LOG_DEBUG, LMKD_LOG_TAG,
				 "Process %d was reaped in %lldms", event->victim.pid,
				 kill->memory_back_ns > event->signalled_ns
					 ? (__s64)((kill->memory_back_ns - event->signalled_ns) /
						   NSEC_PER_MSEC)
					 : 0LL);
}

/* Kilobytes of a line of /proc/meminfo; 0 where there is none. */
static __s32 of_meminfo(const char *meminfo, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = meminfo; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, name, length) && line[length] == ':')
			return (__s32)strtoll(line + length + 1, NULL, 10);
	}
	return 0;
}

/* avg10 of the line that begins with `kind`; 0 where there is none. */
static float of_pressure(const char *pressure, const char *kind)
{
	const char *line = strstr(pressure, kind);
	const char *average = line ? strstr(line, "avg10=") : NULL;

	return average ? strtof(average + strlen("avg10="), NULL) : 0;
}

static void add_memory(struct android_log *log, const struct lmk_sample *sample,
		       const char *meminfo)
{
	__u64 active_file_kb = sample->file_kb > sample->inactive_file_kb
				       ? sample->file_kb - sample->inactive_file_kb
				       : 0;
	const __s32 values[] = {
		(__s32)sample->free_kb,
		of_meminfo(meminfo, "Cached"),
		of_meminfo(meminfo, "SwapCached"),
		of_meminfo(meminfo, "Buffers"),
		(__s32)sample->shmem_kb,
		of_meminfo(meminfo, "Unevictable"),
		(__s32)sample->swap_total_kb,
		(__s32)sample->swap_free_kb,
		of_meminfo(meminfo, "Active(anon)"),
		of_meminfo(meminfo, "Inactive(anon)"),
		(__s32)active_file_kb,
		(__s32)sample->inactive_file_kb,
		(__s32)sample->slab_reclaimable_kb,
		of_meminfo(meminfo, "SUnreclaim"),
		of_meminfo(meminfo, "KernelStack"),
		of_meminfo(meminfo, "PageTables"),
		0, /* Ion heap */
		0, /* pool of it */
		(__s32)sample->cma_free_kb,
	};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		android_log_add_int(log, values[i]);
}

void lmkd_log_killinfo(struct android_log *log, const struct kill *kill,
		       const struct lmkd_killed *killed, const char *meminfo,
		       const char *const pressure[3])
{
	const struct lmk_kill_event *event = &kill->event;
	__u64 since_ns =
		event->decided_ns > event->seen_ns ? event->decided_ns - event->seen_ns : 0;

	android_log_event(log, LMKD_KILLINFO_TAG);
	android_log_add_int(log, killed->pid);
	android_log_add_int(log, (__s32)killed->uid);
	android_log_add_int(log, killed->adj);
	android_log_add_int(log, killed->min_adj);
	android_log_add_int(log, killed->rss_kb);
	android_log_add_int(log, killed->reason);
	add_memory(log, &event->sample, meminfo);
	android_log_add_int(log, (__s32)(since_ns / NSEC_PER_MSEC));
	android_log_add_int(log, 0); /* since the wake-up before */
	android_log_add_int(log, 0); /* wake-ups since the event */
	android_log_add_int(log, 0); /* skipped wake-ups */
	android_log_add_int(log, (__s32)(killed->swap_bytes / 1024));
	android_log_add_int(log, 0); /* GPU */
	android_log_add_int(log, killed->thrashing_pct);
	android_log_add_int(log, killed->max_thrashing_pct);
	android_log_add_float(log, of_pressure(pressure[0], "some"));
	android_log_add_float(log, of_pressure(pressure[0], "full"));
	android_log_add_float(log, of_pressure(pressure[1], "some"));
	android_log_add_float(log, of_pressure(pressure[1], "full"));
	android_log_add_float(log, of_pressure(pressure[2], "some"));
}

static void leave_in_log(const struct kill *kill, const struct lmkd_killed *killed)
{
	static const char *const files[3] = {"/proc/pressure/memory", "/proc/pressure/io",
					     "/proc/pressure/cpu"};
	char meminfo[MEMINFO_BYTES], texts[3][PRESSURE_BYTES];
	struct android_log log;
	int error;

	lmkd_log_kill(&log, killed, lmkd_reason_text(kill->event.verdict.reason));
	error = android_log_send(&log, ANDROID_LOG_SOCKET);
	if (error == -ENOENT || error == -ECONNREFUSED)
		return;
	if (read_small_file("/proc/meminfo", meminfo, sizeof(meminfo)) < 0)
		meminfo[0] = 0;
	for (int i = 0; i < 3; i++) {
		if (read_small_file(files[i], texts[i], sizeof(texts[i])) < 0)
			texts[i][0] = 0;
	}
	lmkd_log_killinfo(&log, kill, killed, meminfo,
			  (const char *const[3]){texts[0], texts[1], texts[2]});
	android_log_send(&log, ANDROID_LOG_SOCKET);
}

/* -- the trace ------------------------------------------------------------------------------ */

size_t lmkd_trace_mark(char out[LMKD_TRACE_BYTES], __s32 pid, const struct lmkd_killed *killed)
{
	return (size_t)snprintf(out, LMKD_TRACE_BYTES, "N|%d|" LMKD_LOG_TAG "|lmk,%d,%d,%d,%d,%d",
				pid, killed->pid, killed->reason, killed->adj, killed->min_adj,
				killed->max_thrashing_pct);
}

/* Nobody traces, nobody pays: what is written while tracing is off is dropped by the kernel. */
static void mark_trace(const struct lmkd_killed *killed)
{
	static const char *const paths[] = {"/sys/kernel/tracing/trace_marker",
					    "/sys/kernel/debug/tracing/trace_marker"};
	char mark[LMKD_TRACE_BYTES];
	size_t length = lmkd_trace_mark(mark, getpid(), killed);

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int fd = open(paths[i], O_WRONLY | O_CLOEXEC);
		ssize_t written;

		if (fd < 0)
			continue;
		written = write(fd, mark, length);
		close(fd);
		if (written >= 0)
			return;
	}
}

/* -- properties ----------------------------------------------------------------------------- */

void lmkd_minfree_levels(const struct lmkd_target *targets, __u32 count, char *value, size_t size)
{
	size_t used = 0;

	value[0] = 0;
	for (__u32 i = 0; i < count; i++) {
		int length = snprintf(value + used, size - used, "%s%d:%d", i ? "," : "",
				      targets[i].minfree_pages, targets[i].adj);

		if (length < 0 || (size_t)length >= size - used) {
			value[used] = 0;
			return;
		}
		used += (size_t)length;
	}
}

void lmkd_leave_traces(const struct kill *kill, const struct lmkd_killed *killed)
{
	mark_trace(killed);
	leave_in_log(kill, killed);
}

void lmkd_trace_end(const struct kill *kill)
{
	struct android_log log;

	/* Where nobody saw its end there is nothing to say of it. */
	if (!kill->memory_back_ns && !kill->mrelease_begin_ns)
		return;
	lmkd_log_end(&log, kill);
	android_log_send(&log, ANDROID_LOG_SOCKET);
}
