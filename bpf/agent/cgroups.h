/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which directories of cgroup2 a policy's rules are for, and when there are new ones. For the main
 * thread.
 */
#ifndef LMK_AGENT_CGROUPS_H
#define LMK_AGENT_CGROUPS_H

#include <linux/types.h>
#include <stdbool.h>

#include "lmk/v1/policy.pb.h"

/*
 * Calls `found` for each directory that a rule is for, with its inode (what the kernel calls its
 * id) and the rule's place, from 1; not for those below it, unless an earlier rule is for them.
 * What was looked through is watched before it is read, for SOURCE_CGROUPS. 0 or -errno; where no
 * cgroup2 is mounted none is found.
 */
int cgroups_find(const lmk_v1_Policy *policy, int epoll_fd,
		 void (*found)(__u64 id, __u32 place, void *context), void *context);

/* After SOURCE_CGROUPS: are there new ones, or may there be? */
bool cgroups_changed(void);

/* No rule is for any. */
void cgroups_unwatch(void);

#endif
