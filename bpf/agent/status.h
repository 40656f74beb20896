/* SPDX-License-Identifier: Apache-2.0 */
/* Everything a Status reply says. */
#ifndef LMK_AGENT_STATUS_H
#define LMK_AGENT_STATUS_H

#include <stdbool.h>

#include "agent.h"
#include "clock.h"

#define COSTS_NS (10 * NSEC_PER_SEC)

void status_fill(struct agent *agent, lmk_v1_Status *status, bool with_candidates);

/* Has the kernel count what programs cost, from now until nobody has asked for COSTS_NS. */
void status_count_costs(struct agent *agent);
/* Ends that when it is time. Returns when to call again (CLOCK_BOOTTIME ns); 0: no need. */
__u64 status_expire_costs(struct agent *agent, __u64 now_ns);

/* An enum lmk_outcome as counters call it. */
const char *status_outcome(__u32 outcome);

#endif
