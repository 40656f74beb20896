/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of processes, read ahead of any kill: a victim's own pages may be swapped out or
 * already taken away when its name is wanted. The main thread writes (at start, once a
 * minute, when pressure begins, and for the next candidates after each kill); the deciding
 * thread reads without ever waiting for it.
 */
#ifndef LMK_AGENT_NAMES_H
#define LMK_AGENT_NAMES_H

#include <linux/types.h>

#include "process.h"

#define NAMES_REFRESH_NS (60 * NSEC_PER_SEC)

/* Reads the names of all user processes. */
void names_refresh(void);
/* Reads the name of one process, unless it is known. */
void names_read(pid_t pid, __u64 start_ticks);
/* Reads it anew: it may have been known by another one. */
void names_read_again(pid_t pid, __u64 start_ticks);
/* True and `name`: known, of exactly this process. Any thread. */
int names_find(pid_t pid, __u64 start_ticks, char name[PROCESS_NAME]);

#endif
