/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lmkd leaves of a kill beside its socket, for a phone's own tools: the line and the
 * `killinfo` event in the log (logcat, bugreport), the mark in a trace (Perfetto), and
 * its properties.
 */
#ifndef LMK_AGENT_LMKD_TRACES_H
#define LMK_AGENT_LMKD_TRACES_H

#include "android_log.h"
#include "kill.h"
#include "lmkd_packet.h"

#define LMKD_LOG_TAG	  "lowmemorykiller"
#define LMKD_KILLINFO_TAG 10195355
#define LMKD_TRACE_BYTES  160

/*
 * The line. No trailing words for what has no reason of lmkd's: `reason` NULL leaves them out.
 * Tools look for its beginning, up to "kB swap".
 */
void lmkd_log_kill(struct android_log *log, const struct lmkd_killed *killed, const char *reason);

/* What came of the victim's memory: both lines are what lmkd says when it is debugged. */
void lmkd_log_end(struct android_log *log, const struct kill *kill);

/*
 * `killinfo`, 38 values. Of /proc/meminfo what the decision saw, and for what it did not look at,
 * `meminfo`, the file's text as of now; of the pressure files avg10 as of now. What has no
 * counterpart here (wake-ups of lmkd, Ion heaps, GPU) is 0.
 */
void lmkd_log_killinfo(struct android_log *log, const struct kill *kill,
		       const struct lmkd_killed *killed, const char *meminfo,
		       const char *const pressure[3]);

/* The mark of ATRACE_INSTANT_FOR_TRACK, of process `pid`. Its length. */
size_t lmkd_trace_mark(char out[LMKD_TRACE_BYTES], __s32 pid, const struct lmkd_killed *killed);

/* Value of sys.lmk.minfree_levels: whole pairs, as many as fit. */
void lmkd_minfree_levels(const struct lmkd_target *targets, __u32 count, char *value, size_t size);

/* Half a sentence about a reason (enum lmk_reason). */
const char *lmkd_reason_text(__u32 reason);

/*
 * All of it, when the signal is sent; and the last line, when the kill is over. Nothing is waited
 * for, and nobody is told of a failure.
 */
void lmkd_leave_traces(const struct kill *kill, const struct lmkd_killed *killed);
void lmkd_trace_end(const struct kill *kill);

#endif
