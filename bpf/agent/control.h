/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket: ControlRequest in, ControlReply out, one after the other. */
#ifndef LMK_AGENT_CONTROL_H
#define LMK_AGENT_CONTROL_H

#include <linux/types.h>
#include <stddef.h>

#include "agent.h"

/* The request's payload. May drop the client; a Detach sets agent->give_back. */
void control_request(struct agent *agent, struct client *client, const __u8 *bytes, size_t length);

#endif
