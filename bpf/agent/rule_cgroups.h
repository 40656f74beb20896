/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for cgroups and units: the directories that they are for (cgroups.h), in the map. */
#ifndef LMK_AGENT_RULE_CGROUPS_H
#define LMK_AGENT_RULE_CGROUPS_H

#include "rule_map.h"

/* Puts those there are into the map, and watches for new ones. 0 or -errno, also in `scope`. */
int rule_cgroups_find(struct rule_scope *scope, int epoll_fd);
/* The same, and what is gone is removed. */
void rule_cgroups_refresh(struct rule_scope *scope, int epoll_fd);
/* After SOURCE_CGROUPS: has a look become due? `wanted`: there are rules for cgroups. */
void rule_cgroups_hear(bool wanted);
/* When the next look is due; 0: nothing is new. */
__u64 rule_cgroups_due_ns(void);
/* No rule is for any. */
void rule_cgroups_forget(void);

#endif
