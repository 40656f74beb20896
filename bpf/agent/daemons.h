/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system's own daemons, adbd and lmkd, known by their executable and their parent, never
 * by name: an app called `adbd` is an app.
 */
#ifndef LMK_AGENT_DAEMONS_H
#define LMK_AGENT_DAEMONS_H

#include <linux/types.h>
#include <stdbool.h>
#include <sys/types.h>

#define DAEMONS_MAX 4

struct daemon_process {
	pid_t pid;
	__u64 start_ticks;
	bool adbd; /* else lmkd */
};

/* All that run, at most DAEMONS_MAX. Returns how many. */
unsigned int daemons_find(struct daemon_process found[DAEMONS_MAX]);

/* The lmkd that runs; false: none does. */
bool daemons_find_lmkd(struct daemon_process *lmkd);

#endif
