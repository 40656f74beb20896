/* SPDX-License-Identifier: Apache-2.0 */
/* The record socket: one StreamRequest in, then Hello, spooled records, heartbeats out. */
#ifndef LMK_AGENT_STREAM_H
#define LMK_AGENT_STREAM_H

#include <linux/types.h>
#include <stddef.h>

#include "agent.h"

#define HEARTBEAT_NS NSEC_PER_SEC

/* The request's payload. May drop the client. */
void stream_request(struct agent *agent, struct client *client, const __u8 *bytes, size_t length);

/* Sends from the spool until the client is up to date or takes no more. */
void stream_pump(struct agent *agent, struct client *client);

/* One heartbeat to everybody who follows and is up to date; renews the lease if one was read. */
void stream_beat(struct agent *agent);

#endif
