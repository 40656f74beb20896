/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of one process to swap: what process_madvise(2) and /proc/PID make of it. */
#ifndef LMK_AGENT_MOVE_OUT_H
#define LMK_AGENT_MOVE_OUT_H

#include <linux/types.h>
#include <stdbool.h>
#include <sys/types.h>

/* A process with less in private memory is not worth the walk over its mappings. */
#define MOVE_OUT_LEAST_KB 1024

/*
 * Moves the private memory of the process that has been `pid` since `start_ticks`, for as long as
 * `go_on` says so: it is asked every 64 KiB, and with `thoroughly` every MiB. KiB that it then had
 * less in memory, or -EPERM, -ENOSYS: this kernel does not let us.
 */
__s64 move_out(pid_t pid, __u64 start_ticks, bool (*go_on)(pid_t pid, bool thoroughly));

#endif
