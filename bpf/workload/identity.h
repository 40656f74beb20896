/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a process is to the kernel and to a low-memory killer: name, uid, oom_score_adj and
 * start time.
 */
#ifndef LMK_WORKLOAD_IDENTITY_H
#define LMK_WORKLOAD_IDENTITY_H

#include <stdint.h>
#include <sys/types.h>

#define NAME_MAX_LEN 127

/* Names go into JSON and into tables as they are: letters, digits and . _ : - only. */
int name_is_valid(const char *name);

/*
 * Give this process a command line that is `name` alone and a comm made of its last 15
 * characters, as Android's zygote does. The name must fit where argv lies: room_for_name()
 * first where the arguments are short.
 */
void set_name(int argc, char **argv, const char *name);

/* Execute this program again with a padded command line, once. Returns 0, or -errno. */
int room_for_name(int argc, char **argv);

/* Write the oom_score_adj of this process, or of another; 0 or -errno. */
int set_adj(int adj);
int set_adj_of(pid_t pid, int adj);

/* Become `uid` for good (groups dropped, gid the same number); 0 or -errno. */
int set_uid(uid_t uid);

/* /proc/PID/stat field 22, in clock ticks since boot: with the pid, an identity. */
int start_ticks(pid_t pid, uint64_t *ticks);

/* CLOCK_BOOTTIME now, ns. */
uint64_t boottime_ns(void);

#endif
