/* SPDX-License-Identifier: Apache-2.0 */
/* lmkd's socket served on the agent's loop, and our kills told to those who are connected. */
#ifndef LMK_AGENT_LMKD_SERVE_H
#define LMK_AGENT_LMKD_SERVE_H

#include "agent.h"

/*
 * Serves the path that the session was started with (`shared->lmkd_socket`). What a dead agent left
 * there is replaced, and its clients come again. 0 or -errno: -EADDRINUSE: somebody serves it.
 */
int lmkd_serve(struct agent *agent);

/* Tells who is connected of a kill, if the socket is served. */
void lmkd_tell(struct agent *agent, const struct kill *kill);
/* What is left of it for a phone's tools: reads files, so it comes after the record is safe. */
void lmkd_trace(const struct agent *agent, const struct kill *kill);

/*
 * No more: who is connected finds itself dropped, and comes again. The file stays: init replaces
 * it when it starts lmkd, and so does the next session.
 */
void lmkd_leave(struct agent *agent);

#endif
