/* SPDX-License-Identifier: Apache-2.0 */
/* Everything a Status reply says. */
#ifndef LMK_AGENT_STATUS_H
#define LMK_AGENT_STATUS_H

#include <stdbool.h>

#include "agent.h"

void status_fill(struct agent *agent, lmk_v1_Status *status, bool with_candidates);

/* An enum lmk_outcome as counters call it. */
const char *status_outcome(__u32 outcome);

#endif
