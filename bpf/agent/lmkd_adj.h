/* SPDX-License-Identifier: Apache-2.0 */
/* Which process a client of lmkd's socket means, and giving it its oom_score_adj. */
#ifndef LMK_AGENT_LMKD_ADJ_H
#define LMK_AGENT_LMKD_ADJ_H

#include <linux/types.h>
#include <stdbool.h>

#include "lmkd_registry.h"

/*
 * Checks the process, has it written to /proc/PID/oom_score_adj what it gets, and registers it for
 * `owner`. The process must live, be no thread and no kernel thread, and not be registered by
 * somebody else. LMKD_TAKEN or why not; nothing is written then, except with LMKD_REFUSE_FULL:
 * the process has its adj, only who it belongs to is not noted.
 */
enum lmkd_refusal lmkd_set_adj(struct lmkd_registry *registry, __s32 owner,
			       const struct lmkd_process *process);

#endif
