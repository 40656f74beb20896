/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guardian: a process of its own that keeps the promise that the device has exactly one
 * killer. It restarts a dead agent onto the existing pins and gives the device back at the
 * end. It sleeps in poll(2) otherwise.
 */
#ifndef LMK_AGENT_GUARDIAN_H
#define LMK_AGENT_GUARDIAN_H

#include "shared.h"

/* Tries in a row to bring back an agent; one that lived for a minute resets the count. */
#define AGENT_TRIES	 3
#define AGENT_HEALTHY_NS (60 * NSEC_PER_SEC)

/* Process of the subcommand `guardian`. Exit code. */
int guardian_main(void);

/*
 * Starts this program again as `role` ("agent" or "guardian") with the inherited
 * descriptors; `ready`: FD_READY too. Its pid, or -errno.
 */
int spawn_role(const char *role, bool ready);

/* What both daemons are: not a victim of the kernel's OOM killer, never paged out. */
void become_daemon(const char *name, const char *dir);

#endif
