/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc says about one process, without allocation; and the pidfd system calls. */
#ifndef LMK_AGENT_PROCESS_H
#define LMK_AGENT_PROCESS_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PROCESS_NAME 96 /* bytes of a cached name, NUL included: Process.name of record.proto */

struct process_stat {
	pid_t ppid;
	__u32 flags;	   /* field 9: PF_ bits of the task */
	__u64 start_ticks; /* field 22: clock ticks of 1/100 s since boot */
	char state;
};

/* 0, or -errno: -ENOENT and -ESRCH when there is no such process. */
int process_stat(pid_t pid, struct process_stat *stat);

/* Clock ticks of a start time in nanoseconds, as field 22 has it (USER_HZ is 100 everywhere). */
static inline __u64 process_ticks(__u64 start_ns)
{
	return start_ns / 10000000ULL;
}

/* Is `pid` still the process that started at `start_ticks`? */
bool process_is(pid_t pid, __u64 start_ticks);

/*
 * First word of the command line (package names of Android and program paths alike), or
 * an empty string: kernel threads, zombies. Returns 0 or -errno.
 */
int process_command(pid_t pid, char name[PROCESS_NAME]);

/* oom_score_adj of `pid`, or -errno - 10000 (an adj reaches down to -1000). */
int process_oom_score_adj(pid_t pid);

/* Resident memory of `pid` that is not shared, in KiB; 0 where it cannot be read. */
__u64 process_private_kb(pid_t pid);

/* Calls `each` for every process until it returns non-zero. Returns that, 0, or -errno. */
int process_each(int (*each)(pid_t pid, void *context), void *context);

int pidfd_open(pid_t pid);
int pidfd_kill(int pidfd, int signal_number);
/* process_mrelease(2): 0 or -errno. */
int pidfd_release_memory(int pidfd);

/* At most `size` - 1 bytes of a small file, NUL-terminated. Bytes read, or -errno. */
ssize_t read_small_file(const char *path, char *text, size_t size);
/* Writes a file of root's that others see as it was or whole, never in part. 0 or -errno. */
int replace_file(const char *path, const char *text, size_t length);
/* Replaces what a small existing file holds (procfs, sysfs). 0 or -errno. */
int write_small_file(const char *path, const char *text);

#endif
